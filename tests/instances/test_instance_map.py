"""An instance map lists exactly what it holds."""

import numpy as np
import pytest

from medseg.errors import GeometryMismatchError, InputError, LabelTableError
from medseg.instances.instance import Instance, InstanceMap
from medseg.spatial import Geometry, Label, LabelTable

GRID = Geometry(np.eye(4), (2, 2, 2))
TABLE = LabelTable((Label(1, "node", kind="thing"),))


def instance(number, label="node"):
    return Instance(number, label, 1, 0.001, (0.0, 0.0, 0.0), ((0, 1), (0, 1), (0, 1)))


def ids(*values, dtype=np.int32):
    array = np.zeros(8, dtype)
    array[: len(values)] = values
    return array.reshape(2, 2, 2)


def test_ids_are_int32_read_only_and_entries_sorted():
    found = InstanceMap(ids(70_000, 3, dtype=np.int64), GRID, (instance(70_000), instance(3)), TABLE)
    assert found.ids.dtype == np.int32
    assert not found.ids.flags.writeable
    assert [entry.id for entry in found.instances] == [3, 70_000]


@pytest.mark.parametrize(
    ("array", "entries", "error", "message"),
    [
        (ids(1)[:1], (instance(1),), GeometryMismatchError, "its grid has"),
        (ids(1).astype(np.uint8), (instance(1),), InputError, "uint8"),
        (ids(-1), (instance(-1),), InputError, "run from -1 to 0"),
        (ids(2**31, dtype=np.int64), (instance(2**31),), InputError, "2147483648"),
        (ids(1), (instance(1), instance(1)), LabelTableError, "more than once"),
        (ids(1), (instance(1, "vessel"),), LabelTableError, "no label called 'vessel'"),
        (ids(1, 2), (instance(1),), LabelTableError, "ids 2 occur"),
        (ids(1), tuple(map(instance, range(1, 13))), LabelTableError, "11 … occur|11 …"),
    ],
)
def test_contradictions_are_refused(array, entries, error, message):
    with pytest.raises(error, match=message):
        InstanceMap(array, GRID, entries, TABLE)
