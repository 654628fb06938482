"""Bundles that try to run code, leave their folder or eat the machine: each is refused, nothing runs.

Python's audit hook watches: while a hostile bundle is listed, loaded, built and verified, nothing of it may
be executed, compiled (beyond parsing an expression), imported or unpickled, no process or socket may open,
and no file may be written.
"""

from __future__ import annotations

import codecs
import os
import pickle
import re
import shutil
import subprocess
import sys
import sysconfig
import time
import zipfile
from collections import OrderedDict
from contextlib import contextmanager
from pathlib import Path

import monai.bundle
import pytest
import torch

from medseg.bundle.bundle import load_bundle, resolve_parts
from medseg.bundle.store import list_bundles
from medseg.bundle.verify import verify_bundle
from medseg.errors import BundleError

MAX_SECONDS = 10.0
"""For listing, loading and verifying together; under 2 s on an idle core."""

_FORBIDDEN = re.compile(
    r"exec|compile|import|pickle\.find_class|marshal\..*|code\.__new__|os\.(?:system|exec|fork|forkpty|posix_spawn"
    r"|spawn|startfile|remove|rename|mkdir|rmdir|link|symlink|chmod|chown|putenv|truncate|kill)"
    r"|subprocess\.Popen|pty\.spawn|socket\..*|urllib\.Request|http\..*|ftplib\..*|ctypes\..*|shutil\..*"
    r"|tempfile\..*|glob\..*|webbrowser\.open|open"
)
_LIBRARIES = ("<frozen", sysconfig.get_path("stdlib"), sysconfig.get_path("purelib"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND


class _Watch:
    active = False
    secret = "?"
    seen = None


def _is_harmless(event, arguments):
    if event == "compile":
        return arguments[1] == "<bundle expression>"
    if event == "exec":
        return arguments[0].co_filename.startswith(_LIBRARIES)
    if event == "import":
        return arguments[0].split(".")[0] in ("torch", "monai", "numpy", "medseg", "encodings")
    if event == "open":
        path, mode, flags = arguments
        writes = (flags or 0) & _WRITES or any(letter in str(mode or "r") for letter in "wax+")
        return not writes and _Watch.secret not in str(path)
    return False


def _hook(event, arguments):
    if _Watch.active and _FORBIDDEN.fullmatch(event) and not _is_harmless(event, arguments):
        _Watch.seen.append((event, str(arguments)[:200]))


sys.addaudithook(_hook)


@contextmanager
def _watched():
    _Watch.seen = []
    _Watch.active = True
    try:
        yield _Watch.seen
    finally:
        _Watch.active = False


@pytest.fixture
def attack(trained_folder, tmp_path, monkeypatch):
    """The bundle that attacks use, with code beside it that leaves a mark where it runs."""
    canary = tmp_path / "canary"
    (tmp_path / "secret.yaml").write_text("network_def: {secret: 1}\n", encoding="utf-8")
    code = f"open({str(canary)!r}, 'w').write('ran')\n"
    for place in ("evil.py", "scripts/__init__.py", "configs/evil.py"):
        path = trained_folder.path / place
        path.parent.mkdir(exist_ok=True)
        path.write_text(code, encoding="utf-8")
    monkeypatch.chdir(trained_folder.path)
    _Watch.secret = "secret.yaml"
    trained_folder.canary = canary
    yield trained_folder
    assert not canary.exists(), "code of the bundle has run"


@pytest.fixture(autouse=True, scope="module")
def _warm(tmp_path_factory, new_bundle):
    """What torch and MONAI import late is imported before the watch begins."""
    folder = new_bundle(tmp_path_factory.mktemp("warm") / "boxes_mr_unet3d")
    folder.save(folder.network().state_dict())
    assert verify_bundle(folder.path).passed
    codecs.lookup("cp437")  # of names in old zip files


def _refused(folder):
    start = time.monotonic()
    with _watched() as seen:
        list_bundles([folder.path.parent])
        with pytest.raises(BundleError) as caught:
            resolve_parts(load_bundle(folder.path))
        result = verify_bundle(folder.path)
    assert seen == []
    assert not result.passed
    assert time.monotonic() - start < MAX_SECONDS
    message = str(caught.value)
    assert len(message) < 2_000
    assert message.isprintable()


def test_the_watch_sees_what_stock_monai_does(attack):
    parser = monai.bundle.ConfigParser({"x": "$__import__('os').getpid()", "y": "$open('evil.py').name"})
    parser.parse()
    with _watched() as seen:
        parser.get_parsed_content("x")
        subprocess.run([sys.executable, "-c", ""], check=True)
        Path("written").write_text("x", encoding="utf-8")
        pickle.loads(pickle.dumps(OrderedDict))
    assert {"exec", "compile", "subprocess.Popen", "open", "pickle.find_class"} <= {
        event for event, _ in seen
    }


def test_the_watch_sees_nothing_in_a_sound_bundle(attack):
    with _watched() as seen:
        list_bundles([attack.path.parent])
        resolve_parts(load_bundle(attack.path))
        assert verify_bundle(attack.path).passed
    assert seen == []


TARGETS = {
    "subprocess.check_output": {"args": ["touch", "canary"]},
    "subprocess.Popen": {"args": ["touch", "canary"]},
    "os.system": {"command": "touch canary"},
    "os.popen": {"cmd": "touch canary"},
    "os.execv": {"path": "/bin/sh", "argv": ["sh"]},
    "posix.system": {"command": "touch canary"},
    "pty.spawn": {"argv": ["sh"]},
    "builtins.eval": {"_args_": ["1"]},
    "builtins.exec": {"source": "import evil"},
    "builtins.open": {"file": "canary", "mode": "w"},
    "builtins.__import__": {"name": "evil"},
    "builtins.getattr": {"_args_": ["os", "system"]},
    "importlib.import_module": {"name": "evil"},
    "runpy.run_path": {"path_name": "evil.py"},
    "code.interact": {},
    "timeit.timeit": {"stmt": "import evil"},
    "pickle.loads": {"data": "x"},
    "shutil.rmtree": {"path": "/"},
    "shutil.copy": {"src": "evil.py", "dst": "canary"},
    "pathlib.Path.write_text": {"self": "canary", "data": "x"},
    "urllib.request.urlopen": {"url": "http://127.0.0.1/"},
    "socket.create_connection": {"address": ["127.0.0.1", 9]},
    "ctypes.CDLL": {"name": "libc.so.6"},
    "webbrowser.open": {"url": "http://127.0.0.1/"},
    "evil": {},
    "evil.run": {},
    "scripts": {},
    "scripts.net.Net": {},
    "configs.evil": {},
    "monai.utils.module.locate": {"path": "os.system"},
    "monai.utils.module.instantiate": {"path": "os.system"},
    "monai.utils.module.optional_import": {"module": "evil"},
    "monai.utils.misc.run_cmd": {"cmd_list": ["touch", "canary"]},
    "monai.utils.run_cmd": {"cmd_list": ["touch", "canary"]},
    "monai.apps.utils.download_url": {"url": "http://127.0.0.1/", "filepath": "canary"},
    "monai.apps.utils.extractall": {"filepath": "x.zip", "output_dir": "."},
    "monai.apps.download_and_extract": {"url": "http://127.0.0.1/"},
    "monai.bundle.run": {"config_file": "configs/inference.yaml"},
    "monai.bundle.load": {"name": "x"},
    "monai.bundle.download": {"name": "x"},
    "monai.bundle.ConfigParser": {"config": {"x": "$__import__('evil')"}},
    "monai.bundle.ConfigWorkflow": {"config_file": "configs/inference.yaml"},
    "monai.bundle.config_item.ConfigExpression": {"config": "$__import__('evil')"},
    "monai.data.NumpyReader": {"allow_pickle": True},
    "monai.data.image_reader.NumpyReader": {"allow_pickle": True},
    "monai.data.PersistentDataset": {"data": [1], "transform": None, "cache_dir": ".", "weights_only": False},
    "monai.data.load_net_with_metadata": {"filename_prefix_or_stream": "model.ts"},
    "monai.transforms.LoadImage": {"reader": "evil.Reader"},
    "monai.transforms.LoadImaged": {"keys": "image", "reader": "NumpyReader", "allow_pickle": True},
    "monai.transforms.SaveImage": {"output_dir": "."},
    "monai.transforms.SaveImaged": {"keys": "pred", "output_dir": "."},
    "monai.transforms.Lambda": {"func": "$lambda x: __import__('evil')"},
    "monai.transforms.Lambdad": {"keys": "image", "func": "@x"},
    "monai.transforms.TorchVision": {"name": "evil"},
    "monai.transforms.TorchIO": {"name": "evil"},
    "monai.networks.nets.ResNet": {"pretrained": True},
    "monai.networks.nets.FlexibleUNet": {"pretrained": True, "backbone": "efficientnet-b0"},
    "monai.networks.nets.TorchVisionFCModel": {"model_name": "resnet18", "pretrained": True},
    "monai.networks.nets.UNet.load_state_dict": {},
    "monai.networks.nets.unet.UNet": {},
    "monai.networks.layers.factories.Norm": {},
    "monai.handlers.CheckpointLoader": {"load_path": "models/model.pt", "load_dict": {}},
    "monai.handlers.MLFlowHandler": {"tracking_uri": "http://127.0.0.1/"},
    "monai.auto3dseg.utils.algo_from_pickle": {"pkl_filename": "x"},
    "monai.apps.nnunet.nnUNetV2Runner": {"input_config": "x"},
    "torch.load": {"f": "models/model.pt", "weights_only": False},
    "torch.jit.load": {"f": "models/model.pt"},
    "torch.hub.load": {"repo_or_dir": ".", "source": "local", "model": "evil"},
    "torch.utils.cpp_extension.load": {"name": "x", "sources": ["x.cpp"]},
    "torch.from_file": {"filename": "canary", "shared": True, "size": 10},
    "torch.ops.load_library": {"path": "x.so"},
    "numpy.load": {"file": "x.npy", "allow_pickle": True},
    "numpy.memmap": {"filename": "canary", "mode": "w+", "shape": 9},
    "pandas.read_pickle": {"filepath_or_buffer": "x"},
    "yaml.unsafe_load": {"stream": "!!python/object/apply:os.system [id]"},
    "medseg.bundle.allowlist.imported": {"source": "os:system"},
    "medseg.bundle.bundle.load_bundle": {"path": "."},
    "medseg.modeling.transforms.Applyd": {"keys": "image", "transform": "@x"},
    "monai.transforms.NormalizeIntensity.__init__.__globals__": {},
    "monai.transforms.NormalizeIntensity\n": {},
    "MONAI.transforms.NormalizeIntensity": {},
    "NormalizeIntensity": {},
    "": {},
    "$__import__('evil')": {},
    "@prepare": {},
    "x" * 100_000: {},
}


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target[:50].strip() or "empty")
@pytest.mark.parametrize("place", ["network_def", "prepare::transforms", "clean", "argument"])
def test_no_target_beyond_the_list(attack, target, place):
    node = {"_target_": target, **TARGETS[target]}
    if place == "prepare::transforms":
        attack.config["prepare"]["transforms"].append(node)
    elif place == "argument":
        attack.config["network_def"]["norm"] = ["INSTANCE", {"eps": node}]
    else:
        attack.config[place] = node
    _refused(attack.write())


EXPRESSIONS = [
    "import evil",
    "import os",
    "from os import system",
    "__import__('evil')",
    "__import__('os').system('touch canary')",
    "__builtins__",
    "__loader__.load_module('os')",
    "globals()",
    "locals()",
    "vars()",
    "dir()",
    "eval('1')",
    "exec('import evil')",
    "compile('1', 'x', 'eval')",
    "open('canary', 'w')",
    "open('../secret.yaml').read()",
    "input()",
    "breakpoint()",
    "getattr(@network_def, 'to')",
    "type('X', (), {})",
    "().__class__.__base__.__subclasses__()",
    "''.__class__.__mro__[1]",
    "[].append.__self__",
    "(1).__class__",
    "torch.__builtins__",
    "torch.load('models/model.pt')",
    "torch.hub.load('.', 'evil', source='local')",
    "torch.os.system('touch canary')",
    "torch.device.__class__",
    "torch.device('cpu').__reduce__()",
    "torch.float32.__class__",
    "torch.cuda.is_available.__globals__",
    "torch.cuda.os.system('x')",
    "torch.jit.load('models/model.pt')",
    "np.load('x', allow_pickle=True)",
    "np.float32.__subclasses__()",
    "np.float32(1)",
    "numpy.ctypeslib.ctypes",
    "@network_def.to('cpu')",
    "@network_def.forward.__globals__",
    "@prepare.transforms",
    "@prepare.__class__.__init__.__globals__['os']",
    "@prepare[0]",
    "len.__self__",
    "len(open('canary', 'w'))",
    "lambda: __import__('evil')",
    "(lambda: __import__('evil'))()",
    "[__import__('evil') for x in [1]]",
    "{x: 1 for x in [1]}",
    "(x for x in [1])",
    "f'{__import__(1)}'",
    "f'{1!r:>{99999999}}'",
    "'{0.__class__.__init__.__globals__}'.format(1)",
    "'{}'.format(1)",
    "'%s' % 1",
    "'%999999999d' % 1",
    "(x := 1)",
    "(yield 1)",
    "await x",
    "[*[1]]",
    "print(*[1])",
    "9 ** 9 ** 9",
    "1 << 999999999",
    "'x' * 999999999",
    "'x' * 2147483647 * 9",
    "[[[0] * 60000] * 60000] * 60000",
    "9999999999 * 9999999999",
    "1e308 * 1e308",
    "1 / 0",
    "1j",
    "b'x'",
    "...",
    "'@device'",
    "medseg_reference_0",
    "@",
    "@@device",
    "@nowhere",
    "@network_def",
    "@grid",
    "",
    " ",
    "1;import evil",
    "1\nimport evil",
    "\x00",
    "\u202e",
    "ｅｖａｌ('1')",
    "__ｉmport__('evil')",
    "(" * 5_000,
    "(" * 250 + "1" + ")" * 250,
    "-" * 4_000 + "1",
    "1" + "+1" * 2_000,
    "not " * 1_000 + "1",
    "[" * 2_000,
    "1 if " * 700 + "1",
    "9" * 4_096,
    "0x" + "f" * 4_000,
    "'" + "x" * 100_000 + "'",
]


@pytest.mark.parametrize("expression", EXPRESSIONS, ids=range(len(EXPRESSIONS)))
@pytest.mark.parametrize("place", ["network_def", "spatial_dims", "roi_size", "_disabled_"])
def test_no_expression_runs(attack, expression, place):
    if place == "network_def" and expression in ("@network_def", "@grid"):
        expression = "@network_def + 1"
    if place == "network_def":
        attack.config["network_def"] = "$" + expression
    elif place == "roi_size":
        attack.config["inferer"]["roi_size"] = ["$" + expression, 8, 8]
    else:
        attack.config["network_def"][place] = "$" + expression
    _refused(attack.write())


def test_no_expression_runs_where_nothing_asks_for_it(attack):
    """The stand-alone ends are never resolved, so what stands there is as good as absent."""
    attack.config |= {
        "imports": ["$import evil"],
        "initialize": ["$__import__('evil')"],
        "run": ["$__import__('os').system('touch canary')"],
        "save": {"_target_": "os.system", "command": "touch canary"},
        "evil": "$open('canary', 'w')",
    }
    attack.write()
    with _watched() as seen:
        resolve_parts(load_bundle(attack.path))
    assert seen == []


_LAUGHS = "a0: &a0 [x, x]\n" + "".join(
    f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]\n" for n in range(1, 12)
)
DOCUMENTS = {
    "python object": "network_def: !!python/object/apply:os.system ['touch canary']",
    "python name": "network_def: !!python/name:os.system",
    "python module": "network_def: !!python/module:evil",
    "python new": "network_def: !!python/object/new:os.system ['touch canary']",
    "python tuple": "network_def: !!python/tuple [1]",
    "tag by directive": "%TAG !e! tag:yaml.org,2002:python/\n---\na: !e!object/apply:os.system ['id']",
    "long tag": "a: !<tag:yaml.org,2002:python/object/apply:os.system> ['id']",
    "tag on top": "!!python/object/apply:os.system ['id']",
    "tag on a key": "!!python/name:os.system : 1",
    "binary": "a: !!binary aGVsbG8=",
    "set": "a: !!set {x, y}",
    "laughs": _LAUGHS,
    "recursive": "a: &a [*a]",
    "anchor alone": "a: &x 1",
    "merge": "a: {x: 1}\nb: {<<: {y: 2}}",
    "duplicate key": "network_def: 1\nnetwork_def: 2",
    "duplicate deep": "a: {b: [{c: 1, c: 2}]}",
    "deep list": "a: " + "[" * 100_000,
    "deep mapping": "a: " + "{x: " * 100_000,
    "deep blocks": "\n".join(" " * n + "x:" for n in range(900)),
    "deep sequence": "- " * 20_000 + "x",
    "many nodes": "a: [" + "1," * 400_000 + "]",
    "many keys": "\n".join(f"k{n}: 1" for n in range(60_000)),
    "long number": "a: " + "9" * 1_000_000,
    "long base 60": "a: 1" + ":59" * 500_000,
    "long float": "a: 1." + "0" * 1_000_000 + "e1" + "0" * 5,
    "macro to a file": "network_def: '%/etc/hostname.yaml::key'",
    "macro above": "network_def: '%../secret.yaml::network_def'",
    "macro within": "network_def: '%device'",
    "macro in a list": "a: [{b: '%../secret.yaml'}]",
    "two documents": "a: 1\n---\nb: 2",
    "list": "[1, 2]",
    "scalar": "x",
    "nothing": "",
    "tabs": "a:\n\t- b",
    "control": "a: \x01",
    "not text": b"\xff\xfe\x00\x00",
    "utf-16": "a: 1".encode("utf-16"),
    "nul": b"a: \x00",
    "too long": "# " + "x" * (3 * 1024**2),
    "pickle": pickle.dumps({"a": 1}),
    "zip": b"PK\x03\x04" + bytes(100),
    "key of list": "? [a, b]\n: 1",
    "unclosed": "a: {b: [1, 2",
    "unclosed quote": "a: 'x",
    "complex keys": "? " * 3_000 + "x",
}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_no_document_beyond_plain_data(attack, name):
    attack.write_config(DOCUMENTS[name])
    _refused(attack)


@pytest.mark.parametrize("depth", [5, 60, 1_000])
def test_no_bomb_of_references(attack, depth):
    attack.config |= {"b0": ["x"] * 9} | {f"b{n}": [f"@b{n - 1}"] * 9 for n in range(1, depth + 1)}
    attack.config["prepare"]["transforms"] = f"@b{depth}"
    _refused(attack.write())


class _Runs:
    def __init__(self, function, *arguments):
        self._call = function, arguments

    def __reduce__(self):
        return self._call


class _Net(torch.nn.Module):
    def forward(self, x):
        return x


def _zip_with(pickled, entries=()):
    def write(folder):
        with zipfile.ZipFile(folder.weights, "w") as archive:
            archive.writestr("model/data.pkl", pickled)
            archive.writestr("model/version", "3\n")
            for name, content in entries:
                archive.writestr(name, content)

    return write


def _saved(make):
    return lambda folder: torch.save(make(folder), folder.weights)


def _plain(content):
    return lambda folder: folder.weights.write_bytes(content)


def _script(folder):
    torch.jit.script(_Net()).save(str(folder.weights))


def _link(target):
    def write(folder):
        folder.weights.unlink()
        folder.weights.symlink_to(target)

    return write


def _overwritten(offset, value):
    def write(folder):
        content = bytearray(folder.weights.read_bytes())
        content[offset] = value
        folder.weights.write_bytes(content)

    return write


def _state(folder, **more):
    return {**folder.network().state_dict(), **more}


def _changed(change):
    def make(folder):
        state = _state(folder)
        key = next(iter(state))
        state[key] = change(state[key])
        return state

    return _saved(make)


WEIGHTS = {
    "reducer": _saved(lambda folder: {"x": _Runs(os.system, "touch canary")}),
    "reducer beside tensors": _saved(lambda folder: _state(folder, x=_Runs(os.system, "touch canary"))),
    "reducer in the wrapper": _saved(lambda folder: {"model": _Runs(exec, "import evil")}),
    "reducer as a key": _saved(lambda folder: {_Runs(os.getpid): torch.zeros(1)}),
    "whole network": _saved(lambda folder: folder.network()),
    "own class": _saved(lambda folder: _Net()),
    "protocol 0": _plain(b"cos\nsystem\n(S'touch canary'\ntR."),
    "protocol 4": _plain(pickle.dumps(_Runs(os.system, "touch canary"), protocol=4)),
    "old format": lambda folder: torch.save(
        _state(folder, x=_Runs(os.system, "touch canary")),
        folder.weights,
        _use_new_zipfile_serialization=False,
    ),
    "old format, tensors": lambda folder: torch.save(
        _state(folder), folder.weights, _use_new_zipfile_serialization=False
    ),
    "pickle in a zip": _zip_with(pickle.dumps(_Runs(os.system, "touch canary"), protocol=2)),
    "stack global in a zip": _zip_with(pickle.dumps(_Runs(os.system, "touch canary"), protocol=4)),
    "inst opcode": _zip_with(b"(S'touch canary'\nios\nsystem\n."),
    "extension opcode": _zip_with(b"\x82\x01."),
    "build opcode": _zip_with(b"ccollections\nOrderedDict\n)R}X\x06\x00\x00\x00updatecos\nsystem\nsb."),
    "nested getattr": _zip_with(b"cbuiltins\ngetattr\n(cos\nX\x06\x00\x00\x00systemtR."),
    "rebuild with a name": _zip_with(b"ctorch._utils\n_rebuild_wrapper_subclass\n)R."),
    "torch.load by name": _zip_with(b"ctorch\nload\n(S'model.pt'\ntR."),
    "memo without end": _zip_with(b"\x80\x02]q\x00" + b"(h\x00h\x00lq\x00" * 900_000 + b"."),
    "pickle cut": _zip_with(b"\x80\x02}q\x00(X\xff\xff\xff\x7f"),
    "no stop": _zip_with(b"\x80\x02}"),
    "lying length": _zip_with(b"\x80\x02\x8d" + b"\xff" * 8 + b"."),
    "empty pickle": _zip_with(b""),
    "persistent id": _zip_with(b"\x80\x02X\x0b\x00\x00\x00../../etc/xQ."),
    "deflated bomb": lambda folder: zipfile.ZipFile(folder.weights, "w", zipfile.ZIP_DEFLATED).writestr(
        "model/data.pkl", bytes(50_000_000)
    ),
    "path in the zip": _zip_with(b"\x80\x02}.", [("model/data/../../../evil.py", "x")]),
    "absolute path": _zip_with(b"\x80\x02}.", [("/model/data/0", "x")]),
    "code in the zip": _zip_with(b"\x80\x02}.", [("model/code/__torch__.py", "import evil")]),
    "constants in the zip": _zip_with(b"\x80\x02}.", [("model/constants.pkl", b"cos\nsystem\n.")]),
    "two roots": _zip_with(b"\x80\x02}.", [("other/data.pkl", b"cos\nsystem\n.")]),
    "python file": _zip_with(b"\x80\x02}.", [("model/evil.py", "x")]),
    "TorchScript": _script,
    "zip without entries": lambda folder: zipfile.ZipFile(folder.weights, "w").close(),
    "NumPy pickle": lambda folder: pickle.dump({"x": _Runs(os.system, "id")}, folder.weights.open("wb")),
    "safetensors by another name": _plain((8).to_bytes(8, "little") + b"{}      "),
    "empty": _plain(b""),
    "text": _plain(b"version https://git-lfs.github.com/spec/v1\n"),
    "cut in half": lambda folder: folder.weights.write_bytes(folder.weights.read_bytes()[:8_000]),
    "byte at the start": _overwritten(0, 0),
    "byte in the directory": _overwritten(-22, 255),
    "link to a device": _link("/dev/zero"),
    "link above": _link("../../secret.yaml"),
    "link to a system file": _link("/etc/hostname"),
    "link to itself": _link("model.pt"),
    "link to nothing": _link("nowhere.pt"),
    "expanded": _changed(lambda tensor: torch.zeros(1).expand(tensor.shape)),
    "a million millions": _changed(lambda tensor: torch.zeros(1).expand(10**6, 10**6)),
    "meta": _changed(lambda tensor: tensor.to("meta")),
    "sparse": _changed(lambda tensor: torch.eye(3).to_sparse()),
    "quantized": _changed(lambda tensor: torch.quantize_per_tensor(torch.zeros(4), 1.0, 0, torch.qint8)),
    "complex": _changed(lambda tensor: tensor.to(torch.complex64)),
    "integers": _changed(lambda tensor: tensor.to(torch.int32)),
    "half": _changed(lambda tensor: tensor.half()),
    "bool": _changed(lambda tensor: tensor.bool()),
    "NaN": _changed(lambda tensor: tensor * float("nan")),
    "infinite": _changed(lambda tensor: tensor + float("inf")),
    "transposed": _changed(lambda tensor: tensor.transpose(0, -1)),
    "scalar": _changed(lambda tensor: torch.tensor(1.0)),
    "no tensor": _changed(lambda tensor: 3),
    "extra key": _saved(lambda folder: _state(folder, extra=torch.zeros(1))),
    "hook key": _saved(lambda folder: _state(folder, _load_state_dict_pre_hooks=torch.zeros(1))),
    "missing key": _saved(lambda folder: dict(list(_state(folder).items())[1:])),
    "another network": _saved(lambda folder: torch.nn.Conv3d(1, 1, 3).state_dict()),
    "wrapped twice": _saved(lambda folder: {"model": {"model": _state(folder)}}),
    "optimizer": _saved(lambda folder: {"model": _state(folder), "optimizer": {}}),
    "list of tensors": _saved(lambda folder: list(_state(folder).values())),
}


@pytest.mark.parametrize("name", WEIGHTS)
@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning", "ignore::FutureWarning")
def test_no_weights_but_tensors_of_this_network(attack, name):
    WEIGHTS[name](attack)
    if attack.weights.exists() and not attack.weights.is_char_device():
        attack.pin()
    attack.metadata["medseg"]["weights"]["file"] = "models/model.pt"
    _refused(attack.write())


@pytest.mark.parametrize("seed", range(12))
def test_a_flipped_byte_anywhere_is_seen(attack, seed):
    content = bytearray(attack.weights.read_bytes())
    content[(seed * 7_919) % len(content)] ^= 1 << (seed % 8)
    attack.weights.write_bytes(content)
    _refused(attack)


@pytest.mark.parametrize(
    "file",
    [
        "../outside.pt", "models/../../outside.pt", "/etc/passwd.pt", "~/model.pt",
        "models/./../../outside.pt", "..\\outside.pt", "C:\\model.pt", "\\\\host\\share\\model.pt", "file:///etc/passwd.pt",
        "http://127.0.0.1/model.pt", "models/model.pt\x00.pt", "models/model.pt\n.pt", "models/model.ts",
        "models/model.pth", "models/model.pkl", "", ".pt", "models", "a" * 5_000 + ".pt", "evil.py",
    ],
)  # fmt: skip
def test_no_weights_elsewhere(attack, file):
    shutil.copy(attack.weights, attack.path.parent / "outside.pt")
    attack.metadata["medseg"]["weights"]["file"] = file
    _refused(attack.write())


@pytest.mark.parametrize("pin", [None, "", "0" * 64, "x" * 64, "MD5:" + "0" * 32])
def test_no_weights_without_their_hash(attack, pin):
    weights = attack.metadata["medseg"]["weights"]
    attack.metadata["medseg"]["weights"] = None if pin is None else {**weights, "sha256": pin}
    _refused(attack.write())


@pytest.mark.parametrize("relative", ["configs/metadata.json", "configs/inference.yaml"])
@pytest.mark.parametrize("target", ["../../secret.yaml", "/dev/zero", "/etc/hostname", "itself"])
def test_no_configuration_from_elsewhere(attack, relative, target):
    path = attack.path / relative
    path.unlink()
    path.symlink_to(path.name if target == "itself" else target)
    _refused(attack)


def test_no_pipe_for_a_configuration(attack):
    path = attack.path / "configs/inference.yaml"
    path.unlink()
    os.mkfifo(path)
    _refused(attack)


@pytest.mark.parametrize(
    "text",
    [
        '{"a": ' * 100_000,
        "[" * 100_000,
        '{"version": "1", "version": "2"}',
        '{"medseg": {"labels": [' + '{"index": 1},' * 60_000 + "{}]}}",
        '{"a": ' + "9" * 1_000_000 + "}",
        '{"a": NaN}',
        '{"a": "%../secret.yaml::x"}',
        '{"__class__": "x", "__init__": {"__globals__": 1}}',
        "import evil",
        "",
    ],
    ids=range(10),
)
def test_no_metadata_beyond_its_schema(attack, text):
    (attack.path / "configs/metadata.json").write_text(text, encoding="utf-8")
    _refused(attack)


@pytest.mark.parametrize(
    "change",
    [
        {"channels": [8192] * 16, "strides": [1] * 15, "kernel_size": 31},
        {"channels": [10**9, 10**9]},
        {"channels": [4] * 10_000},
        {"num_res_units": 10**9},
        {"spatial_dims": 10**6},
        {"kernel_size": 10**6},
        {"kernel_size": [[[[3]]]]},
        {"strides": [0]},
        {"strides": [-1]},
        {"out_channels": True},
        {"dropout": float("inf")},
        {"norm": "os.system"},
        {"norm": ["INSTANCE", {"device": "cuda"}]},
        {"norm": ["GROUP", {"num_groups": 10**9}]},
        {"act": ["RELU", {"__class__": 1}]},
        {"act": {"_target_": "torch.nn.ReLU"}},
        {"adn_ordering": "x" * 10_000},
        {"pretrained": True},
        {"device": "$@device"},
        {"_mode_": "debug"},
        {"_mode_": "callable"},
        {"_requires_": "$__import__('evil')"},
        {"_name_": "UNet"},
        {"__class__": "x"},
        {"self": 1},
        {"bias": "$len"},
    ],
    ids=range(26),
)
def test_no_network_out_of_bounds(attack, change):
    attack.config["network_def"] |= change
    _refused(attack.write())
