"""Building a bundle's parts from the allow-list."""

from __future__ import annotations

import inspect
import subprocess
import sys

import monai.bundle
import numpy as np
import pytest
import torch
from monai.transforms import Compose, NormalizeIntensity

from medseg.bundle.allowlist import ALLOWED, imported
from medseg.bundle.document import Document
from medseg.bundle.interpreter import Interpreter
from medseg.errors import InvalidBundleError, UntrustedBundleError

NETS = "monai.networks.nets"
NORMALIZE = {"_target_": "monai.transforms.NormalizeIntensity"}


def _interpreter(**content):
    return Interpreter(Document("b", "configs/inference.yaml", content))


def test_importing_the_allow_list_imports_no_network_library():
    code = "import sys, medseg.bundle.interpreter; assert not {'torch', 'monai'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)


@pytest.mark.parametrize("target", ALLOWED)
def test_every_listed_argument_exists(target):
    component = ALLOWED[target]
    assert component.source.replace(":", ".") == target
    parameters = inspect.signature(imported(component.source).__init__).parameters
    if not any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()):
        assert set(component.arguments) <= set(parameters)


@pytest.mark.parametrize("target", ALLOWED)
def test_no_listed_argument_takes_text_of_its_own(target):
    """Free text could be a path, an address or a name to import: only keys of dictionaries may be."""
    for name, argument in ALLOWED[target].arguments.items():
        for text in ("../../etc/passwd", "http://example.org/x", "os.system", "$x", "@x"):
            assert name == "keys" or not argument.accepts(text)
        assert not argument.accepts(print)
        assert not argument.accepts(float("nan"))
        assert not argument.accepts(2**40)
        assert not argument.accepts([0] * 10_000)
        assert argument.expects


NETWORKS = {
    "UNet": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [2, 4], "strides": [2]},
    "DynUNet": {
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 2,
        "kernel_size": [3, [3, 3, 1], 3],
        "strides": [1, 2, 2],
        "upsample_kernel_size": [2, 2],
        "filters": [4, 8, 8],
        "norm_name": ["GROUP", {"num_groups": 2}],
        "res_block": True,
    },
    "SegResNet": {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "norm": "INSTANCE"},
    "SegResNetDS": {"spatial_dims": 2, "init_filters": 8, "in_channels": 1, "out_channels": 2},
    "BasicUNet": {"spatial_dims": 2, "features": [4, 4, 4, 4, 4, 4], "act": ["leakyrelu", {"inplace": True}]},
    "AttentionUnet": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2, "channels": [2, 4],
                      "strides": [2]},
    "SwinUNETR": {"in_channels": 1, "out_channels": 2, "feature_size": 12, "spatial_dims": 2},
    "UNETR": {"in_channels": 1, "out_channels": 2, "img_size": [32, 32], "hidden_size": 24, "spatial_dims": 2,
              "mlp_dim": 32, "num_heads": 2, "feature_size": 4},
    "VNet": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2},
    "HighResNet": {"spatial_dims": 2, "in_channels": 1, "out_channels": 2},
}  # fmt: skip


LEVELS = {"in_channels": 1, "out_channels": 2, "features": [2, 4], "kernels": [[3, 3], [3, 3]],
          "strides": [[1, 1], [2, 2]], "n_conv_decoder": [1]}  # fmt: skip
OURS = "medseg.modeling.networks"
PLAIN = {"_target_": f"{OURS}.plain_conv_unet.PlainConvUNet", **LEVELS, "n_conv": [1, 1]}
EVERY = {f"{NETS}.{name}": arguments for name, arguments in NETWORKS.items()} | {
    f"{OURS}.plain_conv_unet.PlainConvUNet": {**LEVELS, "n_conv": [1, 1]},
    f"{OURS}.residual_encoder_unet.ResidualEncoderUNet": {**LEVELS, "n_blocks": [1, 1]},
    f"{OURS}.wrappers.FoldEnsemble": {"networks": [PLAIN, PLAIN]},
    f"{OURS}.wrappers.SliceBySlice": {"network": PLAIN},
}


def test_every_network_of_the_list_is_tried():
    assert set(EVERY) == {name for name, component in ALLOWED.items() if component.kind == "network"}


@pytest.mark.parametrize("target", EVERY)
def test_builds_every_network(target):
    network = _interpreter(net={"_target_": target, **EVERY[target]}).resolve("net")
    assert target.endswith(f".{type(network).__name__}")
    assert {parameter.device.type for parameter in network.parameters()} == {"cpu"}


@pytest.mark.parametrize(
    "config",
    [
        {"a": 1, "b": "@a", "c": ["@a", "$@a + 1", {"d": "@b"}]},
        {"a": {"x": [1, {"y": 2}]}, "b": "@a::x::1::y", "c": "@a#x#0"},
        {"a": "plain @b text", "b": 1, "c": "$'p' + 'q'"},
        {"a": [{**NORMALIZE, "_disabled_": True}, 3], "b": "$len(@c)", "c": [1, 2]},
        {"a": {"x": {**NORMALIZE, "_disabled_": "true"}, "y": None}, "b": 0},
        {"a": [None, 1], "b": "$(1, 2)"},
        {1: "one", "b": "@1"},
    ],
    ids=range(7),
)
def test_gives_what_stock_monai_gives(config):
    parser = monai.bundle.ConfigParser({**config})
    parser.parse()
    for key in config:
        assert _interpreter(**{str(k): v for k, v in config.items()}).resolve(str(key)) == (
            parser.get_parsed_content(str(key))
        )


def test_components_nest_and_are_built_once():
    interpreter = _interpreter(
        one=NORMALIZE | {"channel_wise": True, "_desc_": "a remark"},
        both={"_target_": "monai.transforms.Compose", "transforms": ["@one", "@one", NORMALIZE]},
    )
    both = interpreter.resolve("both")
    assert isinstance(both, Compose)
    first, second, third = both.transforms
    assert first is second is interpreter.resolve("one")
    assert isinstance(third, NormalizeIntensity)
    assert third is not first
    assert interpreter.resolve("both::transforms::2") is third


def test_numbers_types_and_devices_reach_the_component():
    interpreter = _interpreter(
        device="$torch.device('cpu')",
        cast={"_target_": "monai.transforms.CastToTyped", "keys": "image", "dtype": "$np.float32"},
        ensure={"_target_": "monai.transforms.EnsureType", "device": "@device", "dtype": "$torch.float32"},
    )
    assert interpreter.resolve("cast")({"image": np.zeros(2, np.uint8)})["image"].dtype == np.float32
    assert interpreter.resolve("ensure")(np.zeros(2, np.uint8)).dtype == torch.float32


def test_call_gives_the_arguments_without_building():
    interpreter = _interpreter(
        size=[8, 8, 8],
        inferer={"_target_": "monai.inferers.SlidingWindowInferer", "roi_size": "@size"},
        same="@inferer",
        again="@same",
        off={**NORMALIZE, "_disabled_": True},
        on={**NORMALIZE, "_disabled_": "False"},
        word="x",
    )
    assert interpreter.call("again").arguments == {"roi_size": [8, 8, 8]}
    assert interpreter.call("off") is None
    assert interpreter.call("on").component.kind == "transform"
    assert "inferer" in interpreter
    assert "nothing" not in interpreter
    with pytest.raises(InvalidBundleError, match="key word names no component"):
        interpreter.call("word")
    with pytest.raises(InvalidBundleError, match="names no component"):
        _interpreter(a="@b", b="@a").call("a")


def test_the_message_about_a_foreign_target_says_where_and_what_to_do():
    with pytest.raises(UntrustedBundleError) as caught:
        _interpreter(network_def={"_target_": "subprocess.check_output", "args": ["id"]}).resolve(
            "network_def"
        )
    assert str(caught.value).startswith(
        "bundle b: configs/inference.yaml asks for subprocess.check_output at network_def; medseg runs only "
        "components on its allow-list"
    )


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({"_target_": 3}, "asks for 3 at x"),
        ({"_target_": ["a"]}, "asks for a list with 1 entries"),
        ({"_target_": "$@x"}, r"asks for \$@x"),
        (
            {"_target_": "monai.transforms.NormalizeIntensity "},
            "asks for monai.transforms.NormalizeIntensity ",
        ),
        ({**NORMALIZE, "_mode_": "callable"}, "argument '_mode_', which a bundle may not set"),
        ({**NORMALIZE, "_requires_": "$1"}, "argument '_requires_'"),
        ({**NORMALIZE, "surprise": 1}, "it may set subtrahend, divisor"),
        ({"_target_": "monai.transforms.Activations", "other": "$len('x')"}, "argument 'other'"),
        ({"_target_": "monai.transforms.Compose", "overrides": {}}, "argument 'overrides'"),
        ({"_target_": f"{NETS}.SegResNetDS", "preprocess": "@x"}, "argument 'preprocess'"),
    ],
)
def test_refuses_what_is_not_on_the_list(node, says):
    with pytest.raises(UntrustedBundleError, match=says):
        _interpreter(x=node).resolve("x")


_UNET = {"_target_": f"{NETS}.UNet", **NETWORKS["UNet"]}


@pytest.mark.parametrize(
    ("node", "says"),
    [
        ({**NORMALIZE, "nonzero": 1}, "x::nonzero is 1; monai.*NormalizeIntensity takes true or false"),
        ({**NORMALIZE, "subtrahend": "x"}, "takes a number from"),
        ({**NORMALIZE, "dtype": "float32"}, "takes a number type"),
        ({**NORMALIZE, "_disabled_": 3}, "expected a flag"),
        ({"_target_": "monai.transforms.Compose", "transforms": [print.__name__]}, "takes a component of"),
        ({"_target_": "monai.transforms.Compose", "transforms": ["$np.float32"]}, "takes a component of"),
        ({"_target_": "monai.transforms.EnsureType", "device": "cpu"}, "takes a device"),
        ({**_UNET, "norm": "x"}, "takes one of batch, group"),
        ({**_UNET, "norm": ["batch"]}, "takes one of batch, group"),
        ({**_UNET, "norm": ["batch", {"device": "x"}]}, "takes one of"),
        ({**_UNET, "channels": [10**9, 4]}, "takes a list of at most 16"),
        ({"_target_": f"{NETS}.UNet", "spatial_dims": 2}, "cannot be built with these arguments: TypeError"),
        ({**_UNET, "strides": [2, 2, 2], "channels": [1]}, "cannot be"),
        ({"_target_": "medseg.modeling.transforms.CleanLabels", "connectivity": 7}, "one of 4, 6, 8, 18, 26"),
        (
            {"_target_": f"{NETS}.UNet", "spatial_dims": 3, "in_channels": 1, "out_channels": 1,
             "channels": [8192, 8192, 8192], "strides": [1, 1], "kernel_size": 31},
            "would have .* parameters; at most 2e",
        ),
        (
            {"_target_": f"{NETS}.SwinUNETR", "in_channels": 1, "out_channels": 2, "feature_size": 768,
             "num_heads": [3, 6, 12, 24], "depths": [32, 32, 32, 32]},
            "would have .* parameters",
        ),
    ],
)  # fmt: skip
def test_refuses_wrong_arguments(node, says):
    with pytest.raises(InvalidBundleError, match=says):
        _interpreter(x=node).resolve("x")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ({"x": "@x"}, "references run in a circle: x -> x"),
        ({"x": "@y", "y": "$@x + 1"}, "circle: x -> y -> x"),
        ({"x": ["@x::0"]}, "circle"),
        ({"x": {**NORMALIZE, "nonzero": "@x"}}, "circle"),
        ({"x": "@y"}, "has no entry 'y' .asked for by x.; references are written @name"),
        ({"x": "@y::1", "y": [0]}, "has no entry 'y::1'"),
        ({"x": "@y::a", "y": [0]}, "has no entry"),
        ({"x": "@y::-1", "y": [0]}, None),
        ({"x": "@y::z", "y": 3}, "has no entry"),
        ({"x": "@"}, "has no entry ''"),
        ({"x": "@::y", "y": 1}, "has no entry"),
        ({"x": "@##y", "y": 1}, "has no entry"),
        ({"x": "$@ + 1"}, "has no entry ''"),
    ],
)
def test_refuses_references_that_lead_nowhere(content, says):
    if says is None:
        assert _interpreter(**content).resolve("x") == "@y::-1"
        return
    with pytest.raises(InvalidBundleError, match=says):
        _interpreter(**content).resolve("x")
    with pytest.raises(InvalidBundleError, match="has no entry 'nowhere'"):
        _interpreter(**content).resolve("nowhere")


def test_refuses_a_bomb_of_references():
    doubling = {"x0": [1] * 10} | {f"x{n}": [f"@x{n - 1}"] * 10 for n in range(1, 30)}
    with pytest.raises(InvalidBundleError, match="grows beyond 65,536 values"):
        _interpreter(**doubling).resolve("x29")
    doubling = {"x0": [1]} | {f"x{n}": f"$[@x{n - 1}, @x{n - 1}]" for n in range(1, 20)}
    with pytest.raises(InvalidBundleError, match="grows beyond 65,536 values"):
        _interpreter(**doubling).resolve("x19")


def test_refuses_many_large_copies():
    content = {"big": [0] * 45_000} | {f"x{n}": ["@big"] for n in range(40)}
    content["all"] = "$" + " + ".join(f"len(@x{n})" for n in range(40))
    with pytest.raises(InvalidBundleError, match="too many steps"):
        _interpreter(**content).resolve("all")


def test_refuses_a_long_chain_of_references():
    chain = {f"x{n}": f"@x{n + 1}" for n in range(5_000)} | {"x5000": 1}
    with pytest.raises(InvalidBundleError, match="nested too deeply"):
        _interpreter(**chain).resolve("x0")
    chain = {f"x{n}": f"$@x{n + 1} + 1" for n in range(5_000)} | {"x5000": 1}
    with pytest.raises(InvalidBundleError, match="nested too deeply"):
        _interpreter(**chain).resolve("x0")
