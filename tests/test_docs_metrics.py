"""Every number that medseg computes is explained in docs/concepts/metrics.md."""

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import medseg.evaluate
from medseg.evaluate.froc import RATES
from medseg.evaluate.lesionwise import LesionOptions
from medseg.measure.change import STATUSES
from medseg.measure.definitions import definitions
from medseg.measure.diameter import SlicePlane
from medseg.spatial.volume import Unit

PAGE = Path(__file__).resolve().parents[1] / "docs" / "concepts" / "metrics.md"
TEXT = PAGE.read_text(encoding="utf-8")
NAMED = set(re.findall(r"`(\w+)`", TEXT))


def _evaluated():
    """Names in every dictionary of definitions within medseg.evaluate."""
    for found in pkgutil.iter_modules(medseg.evaluate.__path__):
        module = importlib.import_module(f"medseg.evaluate.{found.name}")
        for name, value in vars(module).items():
            if name.endswith("DEFINITIONS"):
                yield from value


def _measured():
    """Names of all measurements: of volumes and single slices, with and without uptake."""
    for single_slice in (False, True):
        for unit in (None, Unit.HU.value, Unit.SUV.value):
            yield from definitions(SlicePlane(2, 0.0), single_slice=single_slice, intensity_unit=unit)


def test_definitions_are_found():
    assert {"dice", "pq", "instance_iou", "icc", "wilcoxon"} <= set(_evaluated())
    assert {"volume_ml", "area_mm2", "suv_peak"} <= set(_measured())


@pytest.mark.parametrize("name", sorted({*_evaluated(), *_measured()}))
def test_named(name):
    assert name in NAMED, f"{PAGE.name} does not explain `{name}`"


def test_defaults_are_those_of_the_code():
    options = LesionOptions()
    assert (options.dilation, options.min_volume_mm3, options.penalty_hd95_mm) == (3, 50, 374)
    assert RATES == (1 / 8, 1 / 4, 1 / 2, 1, 2, 4, 8)
    assert all(re.search(rf"\*{status}\*", TEXT, re.IGNORECASE) for status in STATUSES)


def test_lines_fit():
    assert [line for line in TEXT.splitlines() if len(line) > 120] == []
