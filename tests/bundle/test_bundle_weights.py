"""Weights: exactly the file meant, for exactly the network meant."""

from __future__ import annotations

import json
import pickletools
import zipfile

import pytest
import torch

from medseg.bundle import weights as module
from medseg.bundle.metadata import read_metadata
from medseg.bundle.weights import load_weights
from medseg.errors import BundleError, InvalidBundleError, UntrustedBundleError


def _load(folder, network=None):
    network = folder.network() if network is None else network
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.fill_(5.0)
    load_weights(folder.path, read_metadata(folder.path).medseg.weights, network)
    return network


def _state(folder):
    return dict(folder.network().state_dict())


def _refused(folder, says, error=InvalidBundleError):
    network = folder.network()
    with pytest.raises(error, match=says) as caught:
        _load(folder, network)
    assert str(caught.value).startswith("bundle boxes_mr_unet3d")
    assert all(bool((parameter == 5.0).all()) for parameter in network.parameters()), "nothing was copied"


@pytest.mark.parametrize("wrapper", [None, "model", "state_dict", "network"])
def test_loads_the_very_numbers(bundle_folder, wrapper):
    state = bundle_folder.network().state_dict()
    bundle_folder.save(state if wrapper is None else {wrapper: state})
    loaded = _load(bundle_folder).state_dict()
    assert all(torch.equal(loaded[key], state[key]) for key in state)


def test_loads_parameters_and_channels_last(bundle_folder):
    state = _state(bundle_folder)
    key = next(key for key, value in state.items() if value.ndim == 5)
    state[key] = torch.nn.Parameter(state[key].to(memory_format=torch.channels_last_3d))
    assert torch.equal(_load(bundle_folder.save(state)).state_dict()[key], state[key])


def test_says_how_to_get_weights_that_are_not_there(bundle_folder):
    _refused(bundle_folder, "has no weights; how to get them")


def test_refuses_weights_without_a_pin(bundle_folder):
    torch.save(_state(bundle_folder), bundle_folder.weights)
    _refused(bundle_folder, "holds models/model.pt but configs/metadata.json pins no sha256")


def test_refuses_a_missing_file(trained_folder):
    trained_folder.weights.unlink()
    _refused(trained_folder, "models/model.pt is missing; so the bundle has no weights; how to get them")


def test_refuses_a_folder_in_place_of_the_file(trained_folder):
    trained_folder.weights.unlink()
    trained_folder.weights.mkdir()
    _refused(trained_folder, "is not a regular file")


def test_refuses_an_unreadable_file(trained_folder, monkeypatch):
    def closed(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(module.hashlib, "file_digest", closed)
    _refused(trained_folder, r"cannot be read \(Permission denied\)")


@pytest.mark.parametrize("share", [0.0, 0.2, 0.5, 0.8, 0.999])
def test_refuses_one_flipped_bit_anywhere(trained_folder, share):
    content = bytearray(trained_folder.weights.read_bytes())
    content[int(share * len(content))] ^= 1
    trained_folder.weights.write_bytes(content)
    _refused(trained_folder, "has sha256 [0-9a-f]{12}…, but configs/metadata.json pins")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_refuses_a_truncated_file_even_if_it_is_pinned(trained_folder, share):
    content = trained_folder.weights.read_bytes()
    trained_folder.weights.write_bytes(content[: int(share * len(content))])
    trained_folder.pin()
    _refused(trained_folder, "is not a whole file of weights")


def test_refuses_the_weights_of_another_network(bundle_folder):
    state = _state(bundle_folder)
    first, *_, last = state
    state["surprise"] = torch.zeros(1)
    del state[last]
    state[first] = torch.zeros(1, 2)
    bundle_folder.save(state)
    _refused(
        bundle_folder,
        rf"another network: 1 missing \({last}\); 1 not in the network \(surprise\); "
        rf"1 of another shape \({first} 1 × 2 instead of ",
    )


def test_shortens_long_lists_of_differences(bundle_folder):
    _refused(bundle_folder.save({"x": torch.tensor(1.0)}), r"missing \(.*,.*,.* and \d+ more\)")


@pytest.mark.parametrize("dtype", [torch.int32, torch.float16, torch.float64])
def test_refuses_another_number_type(bundle_folder, dtype):
    state = _state(bundle_folder)
    key = next(iter(state))
    state[key] = state[key].to(dtype)
    _refused(bundle_folder.save(state), f"1 of another number type .*{dtype} instead of torch.float32")


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_refuses_values_that_are_not_finite(bundle_folder, value):
    state = _state(bundle_folder)
    list(state.values())[-1].view(-1)[-1] = value
    _refused(bundle_folder.save(state), "holds NaN or infinite values")


def test_refuses_expanded_and_transposed_tensors(bundle_folder):
    state = _state(bundle_folder)
    key = next(key for key, value in state.items() if value.ndim == 5)
    good = state[key]
    state[key] = torch.zeros(1).expand(good.shape)
    _refused(bundle_folder.save(state), "does not store each of its values once")
    state[key] = torch.zeros(good.shape[::-1]).permute(4, 3, 2, 1, 0)
    _refused(bundle_folder.save(state), "does not store each of its values once")


def test_refuses_a_claim_of_a_terabyte(bundle_folder):
    state = _state(bundle_folder)
    state[next(iter(state))] = torch.zeros(1).expand(1_000_000, 1_000_000)
    _refused(bundle_folder.save(state), "of another shape .*1000000 × 1000000")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (torch.zeros(3), "holds Tensor; expected a state_dict"),
        ([], "holds list"),
        ({}, "holds dict"),
        ({"model": 3}, "the entry 'model' is a int"),
        ({1: torch.zeros(1)}, "the entry 1 is a Tensor"),
        ({"epoch": 3, "model": {}}, "the entry 'epoch' is a int"),
        ({"model": {"state_dict": {}}}, "the entry 'state_dict' is a dict"),
    ],
)
def test_refuses_what_is_no_flat_state_dict(bundle_folder, content, says):
    _refused(bundle_folder.save(content), says)


def test_refuses_whole_networks_and_foreign_objects(bundle_folder):
    _refused(
        bundle_folder.save(bundle_folder.network()),
        "holds more than tensors: it asks for ",
        UntrustedBundleError,
    )
    sparse = torch.eye(3).to_sparse()
    _refused(bundle_folder.save({"x": sparse}), "holds more than tensors", UntrustedBundleError)


def test_refuses_the_old_format(bundle_folder):
    torch.save(_state(bundle_folder), bundle_folder.weights, _use_new_zipfile_serialization=False)
    _refused(bundle_folder.pin(), "is not a whole file of weights")


def _rewritten(folder, change):
    """The trained bundle's archive with other entries, pinned."""
    with zipfile.ZipFile(folder.weights) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(folder.weights, "w") as archive:
        change(archive, entries)
    return folder.pin()


def _all(archive, entries):
    for name, content in entries.items():
        archive.writestr(name, content)


@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_refuses_archives_that_torch_does_not_write(trained_folder):
    def twice(archive, entries):
        _all(archive, entries)
        archive.writestr("model/data.pkl", b"x")

    _refused(_rewritten(trained_folder, twice), "one name twice")


@pytest.mark.parametrize(
    ("name", "says", "error"),
    [
        ("model/constants.pkl", "which no state_dict has; a TorchScript model", UntrustedBundleError),
        ("model/code/__torch__.py", "which no state_dict has", UntrustedBundleError),
        ("model/../../x", "which no state_dict has", UntrustedBundleError),
        ("other/data.pkl", "is not a file of weights as torch.save writes it", InvalidBundleError),
    ],
)
def test_refuses_foreign_entries(trained_folder, name, says, error):
    def more(archive, entries):
        _all(archive, entries)
        archive.writestr(name, b"x")

    _refused(_rewritten(trained_folder, more), says, error)


def test_refuses_compressed_archives(trained_folder):
    def packed(archive, entries):
        for name, content in entries.items():
            archive.writestr(name, content, zipfile.ZIP_DEFLATED)

    _refused(_rewritten(trained_folder, packed), "is a compressed archive")


def test_refuses_a_missing_storage(trained_folder):
    def fewer(archive, entries):
        _all(archive, {name: content for name, content in entries.items() if not name.endswith("data/0")})

    _refused(_rewritten(trained_folder, fewer), "cannot be loaded as weights")


def test_refuses_a_pickle_that_is_none(trained_folder):
    def broken(archive, entries):
        _all(archive, {**entries, "model/data.pkl": b"\x80\x02\xff"})

    _refused(_rewritten(trained_folder, broken), "is not a whole file of weights")


def test_refuses_a_huge_pickle_and_lying_sizes(trained_folder, monkeypatch):
    monkeypatch.setattr(module, "MAX_PICKLE_BYTES", 10)
    _refused(trained_folder, "is not a file of weights as torch.save writes it")
    monkeypatch.undo()
    monkeypatch.setattr(module, "MAX_OPCODES", 10)
    _refused(trained_folder, "is not a whole file of weights")

    class Entry:
        filename, file_size, compress_type = "m/data/0", 10**12, zipfile.ZIP_STORED

    with pytest.raises(InvalidBundleError, match="claims more bytes than it has"):
        module.check_entries([Entry()], 100, "bundle b: x")


def test_sees_every_way_to_name_an_import():
    assert set(module._pickle_names(b"cos\nsystem\n.")) == {"os system"}
    assert set(module._pickle_names(b"ios\nsystem\n.")) == {"os system"}
    assert set(module._pickle_names(b"\x8c\x02os\x8c\x06system\x93.")) == {"a name by STACK_GLOBAL"}
    assert set(module._pickle_names(b"\x82\x01.")) == {"a name by EXT1"}
    names = {opcode.name for opcode in pickletools.opcodes}
    importing = {name for name in names if "GLOBAL" in name or "EXT" in name or name == "INST"}
    assert importing - {"NEXT_BUFFER"} == {"GLOBAL", "STACK_GLOBAL", "INST", "EXT1", "EXT2", "EXT4"}


@pytest.mark.parametrize(
    "file",
    [
        "/etc/passwd.pt",
        "../model.pt",
        "models/../../model.pt",
        "models\\model.pt",
        "file:x.pt",
        "models/a\x7f.pt",
    ],
)
def test_refuses_paths_out_of_the_bundle(trained_folder, file):
    (trained_folder.path.parent / "model.pt").write_bytes(trained_folder.weights.read_bytes())
    trained_folder.metadata["medseg"]["weights"]["file"] = file
    trained_folder.write()
    with pytest.raises(BundleError):
        _load(trained_folder)
    trained_folder.metadata["medseg"]["weights"]["file"] = "models/model.pt"
    assert json.dumps(trained_folder.metadata)


def test_refuses_links_out_of_the_bundle_and_follows_those_within(trained_folder):
    outside = trained_folder.path.parent / "outside.pt"
    inside = trained_folder.path / "models/other.pt"
    content = trained_folder.weights.read_bytes()
    inside.write_bytes(content)
    outside.write_bytes(content)
    trained_folder.weights.unlink()
    trained_folder.weights.symlink_to(inside)
    _load(trained_folder)
    trained_folder.weights.unlink()
    trained_folder.weights.symlink_to(outside)
    _refused(trained_folder, "a link to a file outside the bundle", UntrustedBundleError)
    trained_folder.weights.unlink()
    trained_folder.weights.symlink_to(trained_folder.weights)
    _refused(trained_folder, "cannot be followed|is missing")


def test_takes_tensors_alone_even_if_torch_is_told_to_allow_more(bundle_folder):
    class Foreign:
        pass

    Foreign.__module__, Foreign.__qualname__ = __name__, "Foreign"
    globals()["Foreign"] = Foreign
    bundle_folder.save({"x": Foreign()})
    with torch.serialization.safe_globals([Foreign]):
        _refused(bundle_folder, "holds more than tensors", UntrustedBundleError)
