"""Which components a bundle may name, with the arguments that each takes: the whole of what a bundle can do.

A bundle's ``_target_`` is looked up here by its exact name and never imported; what is imported are the
constants of this table. Nothing here can open a file, reach the network, call code given by name, or build
something of unbounded size. Arguments that are not listed (``pretrained``, ``other``, ``overrides`` …) do
not exist for a bundle. Importing this module imports neither torch nor MONAI.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Literal

from medseg.bundle.arguments import (
    ACTIVATIONS,
    DROPOUTS,
    NORMS,
    Argument,
    built,
    choice,
    device,
    dtype,
    either,
    flag,
    key,
    layer,
    many,
    number,
    one_of,
    one_or_many,
    optional,
    whole,
)

Kind = Literal["network", "transform", "inferer"]


@dataclass(frozen=True, slots=True)
class Component:
    """One allowed ``_target_``.

    Attributes:
        source: what is imported for it, ``module:attribute``.
        kind: what it makes.
        arguments: the arguments that it takes, by name.
    """

    source: str
    kind: Kind
    arguments: Mapping[str, Argument]


def imported(source: str) -> Any:
    """The object at ``module:attribute``; only ever called with constants of this package."""
    module, _, attribute = source.partition(":")
    return getattr(importlib.import_module(module), attribute)


_CHANNELS = whole(1, 8_192)
_FEW = whole(0, 64)
_DIMS = whole(2, 3)
_KERNELS = one_or_many(one_or_many(whole(1, 31)))
_STRIDES = one_or_many(one_or_many(whole(1, 16)))
_FRACTION = number(0, 1)
_DROPOUT = either(_FRACTION, layer(DROPOUTS))
_NORM, _ACT = layer(NORMS), layer(ACTIVATIONS)
_VALUE = number(-1e9, 1e9)
_AXIS = whole(-5, 4)
_KEYS = one_or_many(key())
_UPSAMPLE = choice("deconv", "nontrainable", "pixelshuffle", "deconvgroup")

_IN_OUT = {"spatial_dims": _DIMS, "in_channels": _CHANNELS, "out_channels": _CHANNELS}
_U_SHAPE = {
    **_IN_OUT,
    "channels": many(_CHANNELS),
    "strides": many(one_or_many(whole(1, 16))),
    "kernel_size": one_or_many(whole(1, 31)),
    "up_kernel_size": one_or_many(whole(1, 31)),
}
_SEGRESNET = {
    **_IN_OUT,
    "init_filters": _CHANNELS,
    "act": _ACT,
    "norm": _NORM,
    "blocks_down": many(_FEW),
    "upsample_mode": _UPSAMPLE,
}

_NETWORKS: dict[str, dict[str, Argument]] = {
    "UNet": {
        **_U_SHAPE,
        "num_res_units": _FEW,
        "act": _ACT,
        "norm": _NORM,
        "dropout": _DROPOUT,
        "bias": flag(),
        "adn_ordering": choice("NDA", "NAD", "DNA", "DAN", "AND", "ADN", "NA", "AN", "A", "N"),
    },
    "DynUNet": {
        **_IN_OUT,
        "kernel_size": _KERNELS,
        "strides": _STRIDES,
        "upsample_kernel_size": _STRIDES,
        "filters": optional(many(_CHANNELS)),
        "dropout": optional(_DROPOUT),
        "norm_name": _NORM,
        "act_name": _ACT,
        "deep_supervision": flag(),
        "deep_supr_num": whole(1, 8),
        "res_block": flag(),
        "trans_bias": flag(),
    },
    "SegResNet": {
        **_SEGRESNET,
        "dropout_prob": optional(_FRACTION),
        "num_groups": whole(1, 1_024),
        "use_conv_final": flag(),
        "blocks_up": many(_FEW),
    },
    "SegResNetDS": {
        **_SEGRESNET,
        "blocks_up": optional(many(_FEW)),
        "dsdepth": whole(1, 8),
        "resolution": optional(many(number(1e-3, 1e3), 3)),
    },
    "BasicUNet": {
        **_IN_OUT,
        "features": many(_CHANNELS),
        "act": _ACT,
        "norm": _NORM,
        "bias": flag(),
        "dropout": _DROPOUT,
        "upsample": _UPSAMPLE,
    },
    "AttentionUnet": {**_U_SHAPE, "dropout": _FRACTION},
    "SwinUNETR": {
        **_IN_OUT,
        "patch_size": whole(1, 8),
        "depths": many(whole(1, 32), 4),
        "num_heads": many(whole(1, 64), 4),
        "window_size": one_or_many(whole(2, 16), 3),
        "qkv_bias": flag(),
        "mlp_ratio": number(0.25, 16),
        "feature_size": whole(12, 768),
        "norm_name": _NORM,
        "drop_rate": _FRACTION,
        "attn_drop_rate": _FRACTION,
        "dropout_path_rate": _FRACTION,
        "normalize": flag(),
        "patch_norm": flag(),
        "use_checkpoint": flag(),
        "downsample": choice("merging", "mergingv2"),
        "use_v2": flag(),
    },
    "UNETR": {
        **_IN_OUT,
        "img_size": one_or_many(whole(16, 1_024), 3),
        "feature_size": _CHANNELS,
        "hidden_size": whole(8, 8_192),
        "mlp_dim": whole(8, 32_768),
        "num_heads": whole(1, 128),
        "proj_type": choice("conv", "perceptron"),
        "norm_name": _NORM,
        "conv_block": flag(),
        "res_block": flag(),
        "dropout_rate": _FRACTION,
        "qkv_bias": flag(),
    },
    "VNet": {
        **_IN_OUT,
        "act": _ACT,
        "dropout_prob_down": optional(_FRACTION),
        "dropout_prob_up": many(optional(_FRACTION), 2),
        "dropout_dim": whole(1, 3),
        "bias": flag(),
    },
    "HighResNet": {
        **_IN_OUT,
        "norm_type": _NORM,
        "acti_type": _ACT,
        "dropout_prob": optional(_DROPOUT),
        "bias": flag(),
        "channel_matching": choice("pad", "project"),
    },
}

_DTYPE = {"dtype": optional(dtype())}
_CHANNEL_WISE = {"channel_wise": flag(), **_DTYPE}
_RANGE = {"b_min": optional(_VALUE), "b_max": optional(_VALUE), "clip": flag(), **_DTYPE}
_SUBTRACT = optional(one_or_many(_VALUE, 256))

_ON_ARRAYS: dict[str, dict[str, Argument]] = {
    "AdjustContrast": {"gamma": number(1e-3, 1e3), "invert_image": flag(), "retain_stats": flag()},
    "CastToType": _DTYPE,
    "ClipIntensityPercentiles": {
        "lower": optional(number(0, 100)),
        "upper": optional(number(0, 100)),
        "sharpness_factor": optional(number(1e-6, 1e6)),
        **_CHANNEL_WISE,
    },
    "EnsureType": {
        "data_type": choice("tensor", "numpy"),
        "device": optional(device()),
        "wrap_sequence": flag(),
        "track_meta": optional(flag()),
        **_DTYPE,
    },
    "GaussianSmooth": {
        "sigma": one_or_many(number(0, 100), 3),
        "approx": choice("erf", "sampled", "scalespace"),
    },
    "HistogramNormalize": {"num_bins": whole(2, 65_536), "min": _VALUE, "max": _VALUE, **_DTYPE},
    "MedianSmooth": {"radius": one_or_many(whole(0, 8), 3)},
    "NormalizeIntensity": {"subtrahend": _SUBTRACT, "divisor": _SUBTRACT, "nonzero": flag(), **_CHANNEL_WISE},
    "ScaleIntensity": {
        "minv": optional(_VALUE),
        "maxv": optional(_VALUE),
        "factor": optional(_VALUE),
        **_CHANNEL_WISE,
    },
    "ScaleIntensityRange": {"a_min": _VALUE, "a_max": _VALUE, **_RANGE},
    "ScaleIntensityRangePercentiles": {
        "lower": number(0, 100),
        "upper": number(0, 100),
        "relative": flag(),
        "channel_wise": flag(),
        **_RANGE,
    },
    "ShiftIntensity": {"offset": _VALUE, "safe": flag()},
    "ThresholdIntensity": {"threshold": _VALUE, "above": flag(), "cval": _VALUE},
    "Activations": {"sigmoid": flag(), "softmax": flag(), "dim": _AXIS},
    "AsDiscrete": {
        "argmax": flag(),
        "to_onehot": optional(whole(1, 4_096)),
        "threshold": optional(_VALUE),
        "rounding": optional(choice("torchrounding")),
        "dim": _AXIS,
        "keepdim": flag(),
        **_DTYPE,
    },
}
_ON_DICTIONARIES = {
    f"{name}d": {"keys": _KEYS, "allow_missing_keys": flag(), **arguments}
    for name, arguments in _ON_ARRAYS.items()
} | {"CastToTyped": {"keys": _KEYS, "allow_missing_keys": flag(), **_DTYPE}}

_ANY_TRANSFORM = built("monai.transforms", "medseg.modeling.transforms")
_WINDOWS = {
    "roi_size": one_or_many(whole(1, 4_096), 3),
    "sw_batch_size": whole(1, 256),
    "overlap": number(0, 0.95),
    "mode": choice("constant", "gaussian"),
    "sw_device": optional(device()),
    "device": optional(device()),
    "progress": flag(),
}


_PER_LEVEL = many(many(whole(1, 31), 3, 2))
_LEVELS = {
    "in_channels": _CHANNELS,
    "out_channels": _CHANNELS,
    "features": many(_CHANNELS),
    "kernels": _PER_LEVEL,
    "strides": _PER_LEVEL,
    "n_conv_decoder": many(whole(1, 64)),
}
_STATISTICS = many(optional(_VALUE), 256, shortest=0)
_OURS: dict[str, tuple[Kind, dict[str, Argument]]] = {
    "medseg.modeling.networks.plain_conv_unet.PlainConvUNet": (
        "network",
        {**_LEVELS, "n_conv": many(whole(1, 64))},
    ),
    "medseg.modeling.networks.residual_encoder_unet.ResidualEncoderUNet": (
        "network",
        {**_LEVELS, "n_blocks": many(whole(1, 64))},
    ),
    "medseg.modeling.networks.wrappers.FoldEnsemble": (
        "network",
        {"networks": many(built("medseg.modeling.networks"))},
    ),
    "medseg.modeling.networks.wrappers.SliceBySlice": (
        "network",
        {"network": built("medseg.modeling.networks")},
    ),
    "medseg.modeling.inferers.SpreadWindowInferer": (
        "inferer",
        {name: _WINDOWS[name] for name in ("roi_size", "overlap", "sw_batch_size")},
    ),
    "medseg.modeling.nnunet.NormalizeByScheme": (
        "transform",
        {
            "schemes": many(choice("ct", "zscore", "rescale01", "rgb01", "none"), 256),
            "use_mask": many(flag(), 256),
            "means": _STATISTICS,
            "stds": _STATISTICS,
            "lowers": _STATISTICS,
            "uppers": _STATISTICS,
        },
    ),
}


def _source(name: str) -> str:
    module, _, attribute = name.rpartition(".")
    return f"{module}:{attribute}"


def _table() -> dict[str, Component]:
    nets, transforms = "monai.networks.nets", "monai.transforms"
    table = {
        f"{nets}.{name}": Component(f"{nets}:{name}", "network", arguments)
        for name, arguments in _NETWORKS.items()
    }
    for name, arguments in (_ON_ARRAYS | _ON_DICTIONARIES).items():
        table[f"{transforms}.{name}"] = Component(f"{transforms}:{name}", "transform", arguments)
    table[f"{transforms}.Compose"] = Component(
        f"{transforms}:Compose",
        "transform",
        {"transforms": one_or_many(_ANY_TRANSFORM, 64), "map_items": flag(), "unpack_items": flag()},
    )
    table["monai.inferers.SlidingWindowInferer"] = Component(
        "monai.inferers:SlidingWindowInferer", "inferer", _WINDOWS
    )
    table["medseg.modeling.transforms.CleanLabels"] = Component(
        "medseg.modeling.transforms:CleanLabels",
        "transform",
        {
            "keep_largest": many(whole(1, 65_535), 4_096, shortest=0),
            "min_volume_mm3": number(0, 1e9),
            "fill_holes": flag(),
            "connectivity": one_of(4, 6, 8, 18, 26),
        },
    )
    table |= {name: Component(_source(name), kind, taken) for name, (kind, taken) in _OURS.items()}
    table["medseg.modeling.intensity.NormalizeFieldOfView"] = Component(
        "medseg.modeling.intensity:NormalizeFieldOfView",
        "transform",
        {"lower": number(0, 100), "upper": number(0, 100)},
    )
    return table


ALLOWED: Mapping[str, Component] = MappingProxyType(_table())
"""Every ``_target_`` that a bundle may name."""
