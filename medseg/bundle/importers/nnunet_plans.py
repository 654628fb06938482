"""Reads ``plans.json`` and ``dataset.json`` of an nnU-Net v2 result folder, strictly and as data.

The plans name classes and functions by their import paths, which nnU-Net imports. Here each such name is
looked up in a short table and everything else is refused by name. Plans from before nnU-Net 2.5, which tell
the network's shape without naming its class's path, are read too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from medseg.bundle.document import read_document
from medseg.bundle.files import shown
from medseg.bundle.importers.nnunet_network import NetworkShape, network_shape
from medseg.bundle.metadata import described
from medseg.errors import BundleNotFoundError, InvalidBundleError, UntrustedBundleError

PLANS, DATASET = "plans.json", "dataset.json"

_READERS: dict[str, tuple[str | None, bool]] = {
    "SimpleITKIO": (None, False),
    "NibabelIO": (None, False),
    "SimpleITKIOWithReorient": ("RAS", False),
    "NibabelIOWithReorient": ("RAS", False),
    "NaturalImage2DIO": (None, True),
}
"""Orientation that each of nnU-Net's readers turns a scan to, and whether it counts in pixels."""

_SCHEMES = {
    "CTNormalization": "ct",
    "ZScoreNormalization": "zscore",
    "RescaleTo01Normalization": "rescale01",
    "RGBTo01Normalization": "rgb01",
    "NoNormalization": "none",
}
_RESAMPLING = "resample_data_or_seg_to_shape"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,199}")

_Whole = Annotated[int, Field(ge=1, le=8_192)]
_Axis = Annotated[int, Field(ge=0, le=2)]
_Spacing = Annotated[float, Field(ge=1e-3, le=100)]


class _Read(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, frozen=True, allow_inf_nan=False)


class _Exact(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, allow_inf_nan=False)


class _Statistics(_Read):
    mean: float
    std: float
    percentile_00_5: float
    percentile_99_5: float


class _Resampling(_Exact):
    is_seg: Literal[False] = False
    order: Annotated[int, Field(ge=0, le=5)] = 3
    order_z: Literal[0] = 0
    force_separate_z: bool | None = False


class _Configuration(_Read):
    patch_size: Annotated[list[_Whole], Field(min_length=2, max_length=3)]
    spacing: Annotated[list[_Spacing], Field(min_length=2, max_length=3)]
    normalization_schemes: Annotated[list[str], Field(min_length=1, max_length=256)]
    use_mask_for_norm: list[bool]
    preprocessor_name: str = "DefaultPreprocessor"
    resampling_fn_data: str
    resampling_fn_data_kwargs: _Resampling
    resampling_fn_probabilities: str
    resampling_fn_probabilities_kwargs: _Resampling
    data_identifier: str | None = None


class _Plans(_Read):
    dataset_name: str
    plans_name: str
    image_reader_writer: str
    transpose_forward: Annotated[list[_Axis], Field(min_length=3, max_length=3)]
    transpose_backward: Annotated[list[_Axis], Field(min_length=3, max_length=3)]
    label_manager: str = "LabelManager"
    configurations: dict[str, dict[str, Any]]
    foreground_intensity_properties_per_channel: dict[str, _Statistics] = {}


class _Dataset(_Read):
    channel_names: Annotated[dict[str, str], Field(min_length=1, max_length=256)]
    labels: Annotated[dict[str, int | list[int]], Field(min_length=2, max_length=4_096)]
    regions_class_order: list[int] | None = None
    file_ending: str = ".nii.gz"


@dataclass(frozen=True, slots=True)
class Channel:
    """One input channel: its name, scheme and, for CT, the training data's statistics."""

    name: str
    scheme: str
    use_mask: bool
    mean: float | None = None
    std: float | None = None
    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True, slots=True)
class NnunetModel:
    """All that a result folder's two JSON files say and inference needs.

    Attributes:
        dataset: name of the data set.
        plans: name of the plans.
        configuration: which of the plans' configurations.
        channels: in the network's order.
        labels: label index by name; background is not among them.
        regions: name and painted label of each output channel for region-based training, else None.
        dims: 2 where each slice is segmented for itself.
        flat: whether the model was made for single pictures, not for volumes.
        patch: voxels of a window.
        spacing: planned spacing of the window's axes.
        transpose: which of the axes (k, j, i) comes first, second, third.
        orientation: code that scans are turned to, or None.
        order: of the spline that resamples images.
        separate: whether slices are resampled one by one; None where spacing decides.
        network: the network's shape.
    """

    dataset: str
    plans: str
    configuration: str
    channels: tuple[Channel, ...]
    labels: Mapping[str, int]
    regions: tuple[tuple[str, int], ...] | None
    dims: int
    flat: bool
    patch: tuple[int, ...]
    spacing: tuple[float, ...]
    transpose: tuple[int, int, int]
    orientation: str | None
    order: int
    separate: bool | None
    network: NetworkShape

    @property
    def outputs(self) -> int:
        """Channels of the network's output."""
        return len(self.regions) if self.regions is not None else len(self.labels) + 1


def read_model(folder: Path, configuration: str) -> NnunetModel:
    """Reads the two JSON files of a result folder.

    Args:
        folder: holds ``plans.json`` and ``dataset.json``.
        configuration: which of the plans' configurations was trained.

    Raises:
        BundleNotFoundError: a file is missing.
        UntrustedBundleError: the plans name a class, function or path that is not known here.
        InvalidBundleError: a field is missing or wrong, or something is asked for that is not supported.
    """
    for name in (PLANS, DATASET):
        if not (folder / name).exists():
            raise BundleNotFoundError(
                f"{folder.name} has no {name}; expected an nnU-Net v2 result folder, named Trainer__Plans__"
                f"configuration, with {PLANS}, {DATASET} and fold_0"
            )
    document, described_data = read_document(folder, PLANS), read_document(folder, DATASET)
    plans = _validated(_Plans, document.content, document.where)
    data = _validated(_Dataset, described_data.content, described_data.where)
    _check_names(plans, data, configuration, document.where)
    content = _resolved(plans, configuration, document.where)
    if content.get("previous_stage") is not None:
        raise InvalidBundleError(
            f"{document.where}: configuration {shown(configuration)} is the second stage of a cascade after "
            f"{shown(content['previous_stage'])}; cascades are not imported: take 3d_fullres, 3d_lowres or 2d"
        )
    chosen = _validated(_Configuration, content, f"{document.where}, configuration {shown(configuration)}")
    _check_functions(plans, chosen, document.where)
    labels, regions = _labels(data, described_data.where)
    dims = len(chosen.patch_size)
    if len(chosen.spacing) != dims:
        raise InvalidBundleError(
            f"{document.where}: {len(chosen.spacing)} spacings for a window of {dims} axes"
        )
    orientation, in_pixels = _READERS[plans.image_reader_writer]
    first, second, third = plans.transpose_forward
    return NnunetModel(
        dataset=plans.dataset_name,
        plans=plans.plans_name,
        configuration=configuration,
        channels=_channels(plans, data, chosen, document.where),
        labels=labels,
        regions=regions,
        dims=dims,
        flat=in_pixels,
        patch=tuple(chosen.patch_size),
        spacing=tuple(chosen.spacing),
        transpose=(first, second, third),
        orientation=orientation,
        order=chosen.resampling_fn_data_kwargs.order,
        separate=chosen.resampling_fn_data_kwargs.force_separate_z,
        network=network_shape(content, chosen.patch_size, document.where),
    )


_Model = TypeVar("_Model", bound=BaseModel)


def _validated(model: type[_Model], content: Any, where: str) -> _Model:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise InvalidBundleError(f"{where}, {described(error)}") from error


def _check_names(plans: _Plans, data: _Dataset, configuration: str, where: str) -> None:
    """Refuses names that could be read as places."""
    names = {
        "dataset_name": plans.dataset_name,
        "plans_name": plans.plans_name,
        "configuration": configuration,
        "file_ending": data.file_ending.removeprefix("."),
    }
    for field, name in names.items():
        if not _NAME.fullmatch(name) or ".." in name:
            raise UntrustedBundleError(
                f"{where}: {field} is {shown(name)}; expected a plain name without '/', '\\\\' and '..', and "
                "nothing was imported"
            )


def _resolved(plans: _Plans, configuration: str, where: str) -> dict[str, Any]:
    """A configuration with what it inherits."""
    content: dict[str, Any] = {}
    seen: list[str] = []
    name: Any = configuration
    while name is not None:
        if name in seen or not isinstance(name, str) or name not in plans.configurations:
            there = ", ".join(shown(n)[1:-1] for n in list(plans.configurations)[:8])
            raise InvalidBundleError(
                f"{where} has no configuration {shown(name)}, or it inherits from itself; there are: {there}"
            )
        seen.append(name)
        here = plans.configurations[name]
        content = {**here, **content}
        name = here.get("inherits_from")
    return content


def _check_functions(plans: _Plans, chosen: _Configuration, where: str) -> None:
    """Refuses plans whose functions or classes are not the ones that medseg has counterparts of."""
    known: dict[str, tuple[str, Iterable[str]]] = {
        "image_reader_writer": (plans.image_reader_writer, _READERS),
        "label_manager": (plans.label_manager, ("LabelManager",)),
        "preprocessor_name": (chosen.preprocessor_name, ("DefaultPreprocessor",)),
        "resampling_fn_data": (chosen.resampling_fn_data, (_RESAMPLING,)),
        "resampling_fn_probabilities": (chosen.resampling_fn_probabilities, (_RESAMPLING,)),
    }
    for field, (name, names) in known.items():
        if name not in names:
            raise UntrustedBundleError(
                f"{where}: {field} is {shown(name)}; medseg imports nothing that plans name and knows only "
                f"{', '.join(names)}; nothing was imported"
            )
    image, result = chosen.resampling_fn_data_kwargs, chosen.resampling_fn_probabilities_kwargs
    if result.order != 1 or result.force_separate_z != image.force_separate_z:
        raise InvalidBundleError(
            f"{where}: results are resampled with order {result.order} and force_separate_z "
            f"{result.force_separate_z}; expected order 1 and the same force_separate_z as for images"
        )
    forward, backward = plans.transpose_forward, plans.transpose_backward
    if [forward[axis] for axis in backward] != [0, 1, 2]:
        raise InvalidBundleError(
            f"{where}: transpose_forward {forward} and transpose_backward {backward} do not undo each other"
        )


def _channels(plans: _Plans, data: _Dataset, chosen: _Configuration, where: str) -> tuple[Channel, ...]:
    numbers = [str(n) for n in range(len(data.channel_names))]
    if sorted(data.channel_names) != sorted(numbers):
        raise InvalidBundleError(f"{where}: channel_names are not numbered 0 to {len(numbers) - 1}")
    if len(chosen.normalization_schemes) != len(numbers) or len(chosen.use_mask_for_norm) != len(numbers):
        raise InvalidBundleError(
            f"{where}: {len(chosen.normalization_schemes)} normalization_schemes and "
            f"{len(chosen.use_mask_for_norm)} use_mask_for_norm for {len(numbers)} channels"
        )
    rows = []
    for number, scheme, masked in zip(
        numbers, chosen.normalization_schemes, chosen.use_mask_for_norm, strict=True
    ):
        if scheme not in _SCHEMES:
            raise UntrustedBundleError(
                f"{where}: the normalization scheme {shown(scheme)} is not known; expected one of "
                f"{', '.join(_SCHEMES)}; nothing was imported"
            )
        channel = Channel(
            data.channel_names[number], _SCHEMES[scheme], masked and _SCHEMES[scheme] == "zscore"
        )
        if channel.scheme == "ct":
            found = plans.foreground_intensity_properties_per_channel.get(number)
            if found is None:
                raise InvalidBundleError(f"{where}: channel {number} has no intensities for CTNormalization")
            channel = replace(
                channel,
                mean=found.mean,
                std=found.std,
                lower=found.percentile_00_5,
                upper=found.percentile_99_5,
            )
        rows.append(channel)
    return tuple(rows)


def _labels(data: _Dataset, where: str) -> tuple[dict[str, int], tuple[tuple[str, int], ...] | None]:
    """Index by name, and for region-based training what each channel paints."""
    if data.labels.get("background") != 0:
        raise InvalidBundleError(f"{where}: labels have no background of 0")
    kept = {name: value for name, value in data.labels.items() if name not in ("background", "ignore")}
    if any(isinstance(value, list) and len(value) > 1 for value in kept.values()):
        order = data.regions_class_order
        if order is None or len(order) != len(kept) or len(set(order)) != len(order) or min(order) < 1:
            raise InvalidBundleError(
                f"{where}: regions_class_order is {shown(order)}; expected {len(kept)} different labels"
            )
        painted = tuple(zip(kept, order, strict=True))
        whole = {name: not isinstance(value, list) or len(value) == 1 for name, value in kept.items()}
        return {name if whole[name] else f"{name} (rest)": index for name, index in painted}, painted
    indices = {name: _single(value) for name, value in kept.items()}
    if sorted(indices.values()) != list(range(1, len(indices) + 1)):
        raise InvalidBundleError(f"{where}: labels are not numbered 1 to {len(indices)}")
    return dict(sorted(indices.items(), key=lambda item: item[1])), None


def _single(value: int | list[int]) -> int:
    return value if isinstance(value, int) else next(iter(value), 0)
