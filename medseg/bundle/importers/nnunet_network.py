"""Which network an nnU-Net plan describes, and what its checkpoint calls the parts of it.

nnU-Net imports the classes that its plans name. Here a name is looked up in a short table, and an argument
that is not known is refused, because it would make another network with weights of the same shapes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medseg.bundle.files import shown
from medseg.bundle.importers.checkpoint import Checkpoint, Claim
from medseg.bundle.metadata import described
from medseg.errors import InvalidBundleError, UntrustedBundleError

_UNETS = "dynamic_network_architectures.architectures"
_CLASSES = {
    f"{_UNETS}.unet.PlainConvUNet": "PlainConvUNet",
    f"{_UNETS}.unet.ResidualEncoderUNet": "ResidualEncoderUNet",
    f"{_UNETS}.residual_unet.ResidualEncoderUNet": "ResidualEncoderUNet",
}
_CONVOLUTIONS = {f"{m}.Conv{d}d": d for d in (2, 3) for m in ("torch.nn", "torch.nn.modules.conv")}
_NORMS = {f"{m}.InstanceNorm{d}d": d for d in (2, 3) for m in ("torch.nn", "torch.nn.modules.instancenorm")}
_NONLINEAR = {"torch.nn.LeakyReLU": 0, "torch.nn.modules.activation.LeakyReLU": 0}
_OLD_KEYS = (
    "UNet_class_name", "UNet_base_num_features", "unet_max_num_features", "conv_kernel_sizes",
    "pool_op_kernel_sizes", "n_conv_per_stage_encoder", "n_conv_per_stage_decoder",
)  # fmt: skip

_RENAMED = (
    (re.compile(r"^(?:_orig_mod\.|module\.)+"), ""),
    (re.compile(r"^decoder\.encoder\."), "encoder."),
    (re.compile(r"\.all_modules\.0\."), ".conv."),
    (re.compile(r"\.all_modules\.[1-3]\."), ".norm."),
    (re.compile(r"^encoder\.stem\.convs\.0\."), "stem."),
    (re.compile(r"^encoder\.stages\.(\d+)\.0\.convs\.(\d+)\."), r"encoder.\1.\2."),
    (re.compile(r"^encoder\.stages\.(\d+)\.blocks\.(\d+)\."), r"encoder.\1.\2."),
    (re.compile(r"\.skip\.[01]\."), ".skip."),
    (re.compile(r"^decoder\.stages\.(\d+)\.convs\.(\d+)\."), r"decoder.levels.\1.\2."),
    (re.compile(r"^decoder\.transpconvs\."), "decoder.up."),
    (re.compile(r"^decoder\.seg_layers\."), "decoder.heads."),
)

_Whole = Annotated[int, Field(ge=1, le=8_192)]
_Step = Annotated[int, Field(ge=1, le=31)]
_PerLevel = _Step | list[_Step | list[_Step]]


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Norm(_Exact):
    eps: Annotated[float, Field(ge=1e-5, le=1e-5)] = 1e-5
    affine: Literal[True]


class _Nonlinear(_Exact):
    inplace: bool = False
    negative_slope: Annotated[float, Field(ge=0.01, le=0.01)] = 0.01


class _Arguments(_Exact):
    n_stages: Annotated[int, Field(ge=2, le=16)]
    features_per_stage: _Whole | list[_Whole]
    conv_op: str
    kernel_sizes: _PerLevel
    strides: _PerLevel
    n_conv_per_stage: _Whole | list[_Whole] | None = None
    n_blocks_per_stage: _Whole | list[_Whole] | None = None
    n_conv_per_stage_decoder: _Whole | list[_Whole]
    conv_bias: Literal[True]
    norm_op: str
    norm_op_kwargs: _Norm
    dropout_op: None = None
    dropout_op_kwargs: dict[str, float | bool] | None = None
    nonlin: str
    nonlin_kwargs: _Nonlinear | None = None
    deep_supervision: bool = False


@dataclass(frozen=True, slots=True)
class NetworkShape:
    """The network that the plans describe, in the terms of ``medseg.modeling.networks``.

    Attributes:
        kind: ``PlainConvUNet`` or ``ResidualEncoderUNet``.
        features: channels of each level, finest first.
        kernels: of each level.
        strides: of each level.
        counts: convolutions or residual units of each encoder level.
        counts_decoder: convolutions of each decoder level, coarsest first.
    """

    kind: Literal["PlainConvUNet", "ResidualEncoderUNet"]
    features: tuple[int, ...]
    kernels: tuple[tuple[int, ...], ...]
    strides: tuple[tuple[int, ...], ...]
    counts: tuple[int, ...]
    counts_decoder: tuple[int, ...]

    def definition(self, channels: int, classes: int) -> dict[str, Any]:
        """The network as a component that a bundle names."""
        plain = self.kind == "PlainConvUNet"
        module = "plain_conv_unet" if plain else "residual_encoder_unet"
        return {
            "_target_": f"medseg.modeling.networks.{module}.{self.kind}",
            "in_channels": channels,
            "out_channels": classes,
            "features": list(self.features),
            "kernels": [list(kernel) for kernel in self.kernels],
            "strides": [list(stride) for stride in self.strides],
            "n_conv" if plain else "n_blocks": list(self.counts),
            "n_conv_decoder": list(self.counts_decoder),
        }


def network_shape(configuration: Mapping[str, Any], patch: Sequence[int], where: str) -> NetworkShape:
    """The network of a configuration, in the new or the old way of writing plans.

    Args:
        configuration: as ``plans.json`` has it.
        patch: voxels of a window.
        where: the file, for messages.

    Raises:
        UntrustedBundleError: a class is named that is not in the table.
        InvalidBundleError: an argument is missing, wrong or not known, or does not fit the patch.
    """
    if "architecture" in configuration:
        architecture = configuration["architecture"]
        if not isinstance(architecture, dict):
            raise InvalidBundleError(f"{where}: architecture is {shown(architecture)}; expected a mapping")
        name, given = architecture.get("network_class_name"), architecture.get("arch_kwargs")
    else:
        name, given = _from_old(configuration, len(patch), where)
    kind = _known(name, _CLASSES, "network class", where)
    try:
        arguments = _Arguments.model_validate(given)
    except ValidationError as error:
        raise InvalidBundleError(f"{where}, arch_kwargs of {kind}: {described(error)}") from error
    dims = _known(arguments.conv_op, _CONVOLUTIONS, "convolution", where)
    norm_dims = _known(arguments.norm_op, _NORMS, "norm", where)
    _known(arguments.nonlin, _NONLINEAR, "activation", where)
    if dims != len(patch) or norm_dims != dims:
        raise InvalidBundleError(
            f"{where}: a window of {list(patch)} is for other axes than a {dims}D network"
        )
    plain = kind == "PlainConvUNet"
    counts = arguments.n_conv_per_stage if plain else arguments.n_blocks_per_stage
    levels = arguments.n_stages
    shape = NetworkShape(
        "PlainConvUNet" if plain else "ResidualEncoderUNet",
        _each(arguments.features_per_stage, levels, where),
        _axes(arguments.kernel_sizes, levels, dims, where),
        _axes(arguments.strides, levels, dims, where),
        _each(counts, levels, where),
        _each(arguments.n_conv_per_stage_decoder, levels - 1, where),
    )
    steps = [math.prod(stride[axis] for stride in shape.strides) for axis in range(dims)]
    if any(n % step for n, step in zip(patch, steps, strict=True)) or any(
        n % 2 == 0 for kernel in shape.kernels for n in kernel
    ):
        raise InvalidBundleError(
            f"{where}: a window of {list(patch)} cannot be halved as the strides say ({steps}), or a kernel "
            "is even"
        )
    return shape


def own_names(checkpoint: Checkpoint) -> dict[str, Claim]:
    """The checkpoint's tensors by the names that ``medseg.modeling.networks`` gives them.

    nnU-Net lists many tensors twice, since its decoder holds the encoder and each block lists its parts by
    name and by number.

    Raises:
        InvalidBundleError: two tensors for one place differ.
    """
    found: dict[str, Claim] = {}
    for key, claim in checkpoint.weights.items():
        name = key
        for pattern, replacement in _RENAMED:
            name = pattern.sub(replacement, name)
        other = found.setdefault(name, claim)
        if other == claim:
            continue
        same = other.shape == claim.shape and other.dtype_name == claim.dtype_name
        if not same or not bool((checkpoint.tensor(other) == checkpoint.tensor(claim)).all()):
            raise InvalidBundleError(
                f"{checkpoint.where}: {shown(key)} is there twice with different values; expected the "
                "weights of one network"
            )
    return found


def _from_old(configuration: Mapping[str, Any], dims: int, where: str) -> tuple[Any, dict[str, Any]]:
    missing = [key for key in _OLD_KEYS if key not in configuration]
    if missing:
        raise InvalidBundleError(f"{where} has no architecture, nor {missing[0]} as older plans have")
    name, counts = configuration["UNet_class_name"], configuration["n_conv_per_stage_encoder"]
    base, most = configuration["UNet_base_num_features"], configuration["unet_max_num_features"]
    if not isinstance(counts, list) or type(base) is not int or type(most) is not int or len(counts) > 16:
        raise InvalidBundleError(f"{where}: the counts of the old plan's network are not whole numbers")
    names = {path.rpartition(".")[2]: path for path in _CLASSES}
    return names.get(name, name) if isinstance(name, str) else name, {
        "n_stages": len(counts),
        "features_per_stage": [min(base * 2**level, most) for level in range(len(counts))],
        "conv_op": f"torch.nn.Conv{dims}d",
        "kernel_sizes": configuration["conv_kernel_sizes"],
        "strides": configuration["pool_op_kernel_sizes"],
        "n_conv_per_stage" if name == "PlainConvUNet" else "n_blocks_per_stage": counts,
        "n_conv_per_stage_decoder": configuration["n_conv_per_stage_decoder"],
        "conv_bias": True,
        "norm_op": f"torch.nn.InstanceNorm{dims}d",
        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
        "nonlin": "torch.nn.LeakyReLU",
    }


def _known(name: Any, table: Mapping[str, Any], what: str, where: str) -> Any:
    if not isinstance(name, str) or name not in table:
        raise UntrustedBundleError(
            f"{where} names the {what} {shown(name)}; medseg imports nothing that plans name and knows only "
            f"{', '.join(sorted(table))}; nothing was imported"
        )
    return table[name]


def _each(value: int | list[int] | None, count: int, where: str) -> tuple[int, ...]:
    values = [value] * count if isinstance(value, int) else value
    if values is None or len(values) != count:
        raise InvalidBundleError(
            f"{where}: a list of the network names {len(values or ())} levels; expected {count}"
        )
    return tuple(values)


def _axes(
    value: int | list[int | list[int]], count: int, dims: int, where: str
) -> tuple[tuple[int, ...], ...]:
    levels = [value] * count if isinstance(value, int) else value
    result = tuple((n,) * dims if isinstance(n, int) else tuple(n) for n in levels)
    if len(result) != count or any(len(level) != dims for level in result):
        raise InvalidBundleError(
            f"{where}: kernels and strides need {dims} numbers on each of {count} levels"
        )
    return result
