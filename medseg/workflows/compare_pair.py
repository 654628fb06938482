"""One prediction against one reference, from their files to scores."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from medseg.errors import ConfigurationError, InputError, MedsegError
from medseg.evaluate.compare import CompareOptions, compare_case
from medseg.evaluate.detection import Detected, DetectOptions, detect_case
from medseg.evaluate.evaluation import CaseScores
from medseg.evaluate.overlap import checked_grid
from medseg.instances.ids import instances_of
from medseg.instances.instance import InstanceMap
from medseg.instances.split import SplitOptions, split
from medseg.io.limits import Limits
from medseg.io.read import read_segmentation
from medseg.spatial.labels import Label, LabelTable
from medseg.spatial.resample import resample_segmentation
from medseg.spatial.segmentation import Segmentation
from medseg.workflows.label_names import LabelNames, with_common_table, with_names
from medseg.workflows.pairing import Pair

RESAMPLED = "the prediction was on another grid and was resampled onto the reference's by nearest neighbour"


@dataclass(frozen=True, slots=True)
class PairOptions:
    """How a pair of label maps is read and compared.

    Attributes:
        compare: tolerances and so on of the scores of whole labels.
        detect: matching rule and so on of the scores of objects; None to leave these out.
        instance_maps: the files hold one id per object, not one index per label.
        table: what the indices of both sides mean; None calls them ``label_N``.
        names: index → name of each side, where these differ; in place of ``table``.
        resample: bring a prediction on another grid onto the reference's instead of refusing it.
        limits: what an input may ask for.

    Raises:
        ConfigurationError: both ``table`` and ``names``, or either one with ``instance_maps``.
    """

    compare: CompareOptions = field(default_factory=CompareOptions)
    detect: DetectOptions | None = None
    instance_maps: bool = False
    table: LabelTable | None = None
    names: LabelNames | None = None
    resample: bool = False
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        if self.table is not None and self.names is not None:
            raise ConfigurationError("both a bundle and a file of label names are given; give one of them")
        if self.instance_maps and (self.table is not None or self.names is not None):
            raise ConfigurationError(
                "instance maps hold ids of objects, to which a bundle's or a file's label names do not "
                "apply; leave those out, or leave out --instance-maps"
            )
        if self.instance_maps and self.detect is None:
            object.__setattr__(self, "detect", DetectOptions())


@dataclass(frozen=True, slots=True, eq=False)
class Compared:
    """One case: its scores, and what scores over all cases need of its objects."""

    scores: CaseScores
    detected: Detected | None = None


@dataclass(frozen=True, slots=True, eq=False)
class LoadedPair:
    """Both sides on one grid and over one label table.

    Attributes:
        prediction: label map.
        reference: label map.
        instances: prediction's and reference's objects where the files hold them, else None.
        warnings: what was done to the prediction.
    """

    prediction: Segmentation
    reference: Segmentation
    instances: tuple[InstanceMap, InstanceMap] | None = None
    warnings: tuple[str, ...] = ()


def compare_pair(pair: Pair, options: PairOptions) -> Compared:
    """Reads and compares a pair.

    Raises:
        InputError: a side is missing or its file cannot be used; the subclasses name the fault.
        GeometryMismatchError: the grids differ, and ``resample`` is not set.
        LabelTableError: a label that the table or the names do not have.
    """
    try:
        loaded = load_pair(pair, options)
        scores = compare_case(pair.case_id, loaded.prediction, loaded.reference, options.compare)
        scores = replace(scores, warnings=loaded.warnings)
        if options.detect is None:
            return Compared(scores)
        sides = loaded.instances or _components(loaded)
        detected = detect_case(*sides, options.detect)
    except MedsegError as error:
        if f"case {pair.case_id!r}" not in str(error):
            error.args = (f"case {pair.case_id!r}: {error}",)
        raise
    return Compared(replace(scores, scores=(*scores.scores, *detected.scores)), detected)


def load_pair(pair: Pair, options: PairOptions) -> LoadedPair:
    """Both label maps of a pair, ready to be compared.

    Raises:
        InputError: as for `compare_pair`.
        GeometryMismatchError: as for `compare_pair`.
        LabelTableError: as for `compare_pair`.
    """
    if pair.prediction is None or pair.reference is None:
        there, missing = (
            ("reference", "prediction") if pair.prediction is None else ("prediction", "reference")
        )
        raise InputError(
            f"case {pair.case_id!r} has a {there} but no {missing}; add it, or take the case away"
        )
    table = options.table
    prediction = read_segmentation(pair.prediction, table, options.limits)
    reference = read_segmentation(pair.reference, table, options.limits)
    warnings: tuple[str, ...] = ()
    if options.resample and not prediction.geometry.same_grid(reference.geometry):
        prediction = resample_segmentation(prediction, reference.geometry)
        warnings = (RESAMPLED,)
    checked_grid(prediction, reference)
    if options.instance_maps:
        sides = _object_maps(pair, prediction, reference)
        return LoadedPair(*_label_maps(*sides), sides, warnings)
    if options.names is not None:
        return LoadedPair(*with_names(prediction, reference, options.names), None, warnings)
    return LoadedPair(*with_common_table(prediction, reference, table), None, warnings)


def _components(loaded: LoadedPair) -> tuple[InstanceMap, InstanceMap]:
    """Connected components: of the labels of kind ``thing`` where there are some, else of all."""
    things = any(label.kind == "thing" for label in loaded.reference.table)
    options = SplitOptions(all_labels=not things)
    return split(loaded.prediction, options), split(loaded.reference, options)


def _object_maps(
    pair: Pair, prediction: Segmentation, reference: Segmentation
) -> tuple[InstanceMap, InstanceMap]:
    """Labels and scores come from ``measurements.json`` beside the maps; labels if both sides have one."""
    mine, theirs = _listed(pair.prediction), _listed(pair.reference)
    labels = [None, None] if mine is None or theirs is None else [_labels(mine), _labels(theirs)]
    scores = {number: item["score"] for number, item in (mine or {}).items() if item["score"] is not None}
    return (
        instances_of(prediction.labels, prediction.geometry, labels[0], scores),
        instances_of(reference.labels, reference.geometry, labels[1]),
    )


def _listed(path: Path | None) -> dict[int, dict[str, Any]] | None:
    """Id → entry of the instances that `medseg segment` listed beside its map; None without such a list."""
    listed = None if path is None else path.with_name("measurements.json")
    if listed is None or not listed.is_file():
        return None
    try:
        content = json.loads(listed.read_text(encoding="utf-8"))
        return {
            int(item["id"]): {
                "label": str(item["label"]),
                "score": None if item["score"] is None else float(item["score"]),
            }
            for item in content["instances"]
        }
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(
            f"the measurements.json beside {path.name if path else ''} does not list instances as medseg "
            f"writes them ({type(error).__name__}); remove or replace it"
        ) from error


def _labels(listed: Mapping[int, Mapping[str, Any]]) -> dict[int, str]:
    return {number: item["label"] for number, item in listed.items()}


def _label_maps(prediction: InstanceMap, reference: InstanceMap) -> tuple[Segmentation, Segmentation]:
    """The label maps of both sides' objects over one table."""
    names = dict.fromkeys(label.name for side in (reference, prediction) for label in side.table)
    table = LabelTable(tuple(Label(n, name, kind="thing") for n, name in enumerate(names, 1)))
    mine, theirs = (_label_map(side, table) for side in (prediction, reference))
    return mine, theirs


def _label_map(side: InstanceMap, table: LabelTable) -> Segmentation:
    ids = np.array([0, *(instance.id for instance in side.instances)])
    index = np.array([0, *(table.by_name(instance.label).index for instance in side.instances)])
    labels = index.astype(np.min_scalar_type(len(table)))[np.searchsorted(ids, side.ids)]
    return Segmentation(labels, side.geometry, table)
