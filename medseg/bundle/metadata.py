"""What a bundle says about itself: ``configs/metadata.json``.

The outer fields are MONAI's; the block ``medseg`` holds what MONAI has no place for: channels in order, the
label table with coded concepts, and the weights' pinned hash.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from medseg.bundle.document import Document, read_document
from medseg.bundle.files import METADATA, shown
from medseg.errors import InvalidBundleError, LabelTableError
from medseg.spatial import Code, Label, LabelTable

Modality = Literal[
    "CR", "CT", "DX", "MG", "MR", "NM", "OCT", "PT", "US",
    "dermoscopy", "endoscopy", "fundus", "histology", "microscopy",
]  # fmt: skip

_Line = Annotated[str, StringConstraints(min_length=1, max_length=200, pattern=r"^[^\x00-\x1f\x7f]+$")]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=20_000)]
_Byte = Annotated[int, Field(ge=0, le=255)]
_ERRORS_SHOWN = 5


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class _Monai(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class CodeEntry(_Strict):
    """A coded concept, such as scheme ``SCT``, value ``10200004``, meaning ``Liver``."""

    scheme: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.]{1,16}$")]
    value: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.:-]{1,64}$")]
    meaning: Annotated[str, StringConstraints(min_length=1, max_length=64, pattern=r"^[^\x00-\x1f\x7f\\]+$")]


class LabelEntry(_Strict):
    """One label of the output; the fields are those of `medseg.spatial.Label`."""

    index: Annotated[int, Field(ge=1, le=65_535)]
    name: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9 _.()+-]{0,63}$")]
    code: CodeEntry | None = None
    kind: Literal["thing", "stuff"] = "stuff"
    colour: tuple[_Byte, _Byte, _Byte] | None = None


class WeightsEntry(_Strict):
    """Where the weights are and which they must be."""

    file: Annotated[str, StringConstraints(max_length=200, pattern=r"^[^\x00-\x1f\x7f]+\.pt$")]
    sha256: Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


class MedsegBlock(_Strict):
    """The block ``medseg`` of the metadata; no other fields are allowed in it."""

    schema_version: Annotated[Literal[1], Field(alias="schema")]
    modality: Modality
    dims: Literal[2, 3]
    channels: Annotated[tuple[_Line, ...], Field(min_length=1, max_length=256)]
    labels: Annotated[tuple[LabelEntry, ...], Field(min_length=1, max_length=4_096)]
    weights: WeightsEntry | None
    intended_use: _Text
    limits: Annotated[tuple[_Text, ...], Field(min_length=1, max_length=100)]


class DataFormat(_Monai):
    """One input or output of the network, as MONAI describes it."""

    type: _Line
    format: _Line | None = None
    modality: _Line | None = None
    num_channels: Annotated[int, Field(ge=1, le=65_536)]
    channel_def: dict[str, _Text] | None = None


class NetworkDataFormat(_Strict):
    """The network's inputs and outputs by name."""

    inputs: Annotated[dict[str, DataFormat], Field(min_length=1)]
    outputs: Annotated[dict[str, DataFormat], Field(min_length=1)]


class Metadata(_Monai):
    """The whole of ``metadata.json``; unknown fields are allowed at this level, as in MONAI's schema."""

    version: _Line
    monai_version: _Line
    pytorch_version: _Line
    numpy_version: _Line
    required_packages_version: dict[str, _Line] = {}
    task: _Line
    description: _Text
    authors: _Text
    copyright: _Text
    intended_use: _Text | None = None
    data_source: _Text | None = None
    eval_metrics: dict[str, Any] = {}
    network_data_format: NetworkDataFormat
    medseg: MedsegBlock

    @property
    def modality(self) -> str:
        """What kind of image the network was trained on, such as ``MR``."""
        return self.medseg.modality

    @property
    def dims(self) -> int:
        """2 for single images, 3 for volumes."""
        return self.medseg.dims

    @property
    def channels(self) -> tuple[str, ...]:
        """Names of the input channels, in the order that the network takes them."""
        return self.medseg.channels

    @property
    def weights_sha256(self) -> str | None:
        """The pinned hash of the weights, or None where the bundle comes without."""
        return self.medseg.weights.sha256 if self.medseg.weights else None

    @property
    def label_table(self) -> LabelTable:
        """The labels of the output by ascending index."""
        return LabelTable(
            tuple(
                Label(
                    entry.index,
                    entry.name,
                    Code(entry.code.scheme, entry.code.value, entry.code.meaning) if entry.code else None,
                    entry.colour,
                    entry.kind,
                )
                for entry in self.medseg.labels
            )
        )


def read_metadata(root: Path) -> Metadata:
    """Reads and checks ``configs/metadata.json`` of the bundle in ``root``.

    Raises:
        InvalidBundleError: the file is missing, unreadable or over a limit, a field is missing or wrong, two
            labels share an index or a name, or the channels contradict the network's inputs.
        UntrustedBundleError: the file lies outside the bundle.
    """
    return parse_metadata(read_document(root, METADATA))


def parse_metadata(document: Document) -> Metadata:
    """Like :func:`read_metadata`, from the document that was read."""
    try:
        metadata = Metadata.model_validate_json(json.dumps(document.content))
    except ValidationError as error:
        raise InvalidBundleError(f"{document.where}, {described(error)}") from error
    try:
        table = metadata.label_table
    except LabelTableError as error:
        raise InvalidBundleError(f"{document.where}, field medseg.labels: {error}") from error
    _check_channels(metadata, len(table), document.where)
    return metadata


def _check_channels(metadata: Metadata, labels: int, where: str) -> None:
    names = metadata.medseg.channels
    if len(set(names)) != len(names):
        raise InvalidBundleError(f"{where}, field medseg.channels: a name occurs more than once")
    described = sum(entry.num_channels for entry in metadata.network_data_format.inputs.values())
    if described != len(names):
        raise InvalidBundleError(
            f"{where}: medseg.channels names {len(names)} channels but network_data_format.inputs has "
            f"{described}; make them agree"
        )
    for name, entry in metadata.network_data_format.outputs.items():
        definition = entry.channel_def
        if definition is not None and len(definition) != entry.num_channels:
            raise InvalidBundleError(
                f"{where}, field network_data_format.outputs.{shown(name)}: num_channels is "
                f"{entry.num_channels} but channel_def names {len(definition)} (there are {labels} labels)"
            )


def described(error: ValidationError) -> str:
    """The first problems of a failed validation, in one line."""
    problems = error.errors(include_url=False, include_context=False)
    lines = [_problem(problem["loc"], problem) for problem in problems[:_ERRORS_SHOWN]]
    more = len(problems) - len(lines)
    return "; ".join(lines) + (f"; and {more} more" if more > 0 else "")


def _problem(location: tuple[int | str, ...], problem: Any) -> str:
    name = ""
    for part in location:
        name += f"[{part}]" if isinstance(part, int) else f".{part}" if name else str(part)
    field = f"field {shown(name)[1:-1]}"
    if problem["type"] == "missing":
        return f"{field} is missing"
    if problem["type"] == "extra_forbidden":
        return f"{field} is not one that medseg knows"
    expected = str(problem["msg"]).removeprefix("Input should be ").removeprefix("String should ")
    return f"{field} is {shown(problem['input'])}; expected: {expected}"
