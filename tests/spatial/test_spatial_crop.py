"""Parts of a grid lie where they lay."""

import numpy as np
import pytest

from medseg.errors import GeometryMismatchError
from medseg.phantoms import oblique_geometry
from medseg.spatial import Geometry
from medseg.spatial.crop import crop_geometry, crop_to_box_mm

GRID = oblique_geometry((20, 16, 12), (1.0, 1.5, 2.0), (10, 20, 30), "LPS", (1, 2, 3))


def test_a_part_keeps_places_frame_and_calibration():
    whole = Geometry(GRID.affine, GRID.shape, "1.2", calibrated=False)
    part = crop_geometry(whole, (3, 2, 1), (4, 5, 6))
    assert (part.shape, part.frame_of_reference_uid, part.calibrated) == ((4, 5, 6), "1.2", False)
    assert part.to_world((1, 1, 1)) == pytest.approx(whole.to_world((4, 3, 2)))


@pytest.mark.parametrize(
    ("start", "shape"), [((-1, 0, 0), (2, 2, 2)), ((0, 0, 0), (21, 2, 2)), ((0, 0, 0), (0, 2, 2))]
)
def test_a_part_outside_or_empty_is_refused(start, shape):
    with pytest.raises(GeometryMismatchError, match="do not lie within"):
        crop_geometry(GRID, start, shape)


def test_a_box_in_the_patient_is_covered():
    lower, upper = np.array([-3.0, -2.0, 0.0]), np.array([4.0, 5.0, 6.0])
    part = crop_to_box_mm(GRID, lower, upper)
    index = part.to_index(np.random.default_rng(0).uniform(lower, upper, (200, 3)))
    assert (index >= -1e-6).all()
    assert (index <= np.array(part.shape) - 1 + 1e-6).all()
    straight = Geometry(np.eye(4), (10, 10, 10))
    assert crop_to_box_mm(straight, (2, 3, 4), (5, 5, 5)).shape == (4, 3, 2)
    assert crop_to_box_mm(straight, (-9, -9, -9), (99, 99, 99)).same_grid(straight)


def test_a_box_elsewhere_is_refused():
    with pytest.raises(GeometryMismatchError, match="lies outside the scan"):
        crop_to_box_mm(GRID, (500, 500, 500), (510, 510, 510))
