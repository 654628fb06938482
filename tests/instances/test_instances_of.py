"""Maps of ids as other programs write them."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.errors import GeometryMismatchError, InputError
from medseg.instances.ids import instances_of
from medseg.spatial import Geometry

GRID = Geometry(np.diag([1.0, 2.0, 3.0, 1.0]), (4, 3, 2))


def ids(*pairs, dtype=np.int64):
    array = np.zeros((4, 3, 2), dtype)
    for number, place in pairs:
        array[place] = number
    return array


def test_each_value_is_one_object_with_gaps_and_large_ids():
    found = instances_of(ids((3, (0, 0, 0)), (3, (3, 2, 1)), (1_000_000, (1, 1, 1))), GRID)
    assert [(i.id, i.label, i.voxel_count, i.score) for i in found.instances] == [
        (3, "object", 2, None), (1_000_000, "object", 1, None),
    ]  # fmt: skip
    assert found.instances[0].centroid_mm == (1.5, 2.0, 1.5)
    assert found.instances[1].volume_ml == pytest.approx(0.006)


def test_labels_and_scores_by_id():
    found = instances_of(ids((1, (0, 0, 0)), (2, (1, 0, 0))), GRID, {1: "b", 2: "a", 9: "c"}, {2: 0.5})
    assert [(i.label, i.score) for i in found.instances] == [("b", None), ("a", 0.5)]
    assert [label.name for label in found.table] == ["b", "a", "c"]
    assert all(label.kind == "thing" for label in found.table)


def test_no_object():
    found = instances_of(ids(), GRID)
    assert found.instances == () and [label.name for label in found.table] == ["object"]


def test_refusals():
    with pytest.raises(InputError, match="go up to 4294967296"):
        instances_of(ids((1 << 32, (0, 0, 0))), GRID)
    with pytest.raises(InputError, match="instance 2 has no label"):
        instances_of(ids((2, (0, 0, 0))), GRID, {1: "a"})
    with pytest.raises(GeometryMismatchError):
        instances_of(np.ones((2, 2, 2), int), GRID)
