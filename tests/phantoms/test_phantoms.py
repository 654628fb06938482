"""Phantoms have the size that they claim, on any grid."""

import numpy as np
import pytest

from medseg.errors import ConfigurationError, GeometryMismatchError, LabelTableError
from medseg.phantoms import (
    Part,
    abdomen,
    ball,
    ball_volume_ml,
    box,
    capsule,
    ellipsoid,
    ellipsoid_volume_ml,
    oblique_geometry,
    scene,
    touching_balls,
)
from medseg.spatial import Geometry, Label, LabelTable, Unit

GRIDS = [
    oblique_geometry((90, 90, 90), (1.0, 1.0, 1.0)),
    oblique_geometry((100, 120, 50), (0.9, 0.8, 2.1), (12, -20, 33), "LPS", (30, -10, 5)),
    oblique_geometry((60, 90, 110), (1.6, 1.0, 0.8), (-40, 5, 80), "SRP", (-3, 2, 1)),
]


def volume_ml(mask, geometry):
    return mask.sum() * geometry.voxel_volume_mm3 / 1000


def centroid_mm(mask, geometry):
    return geometry.to_world(np.argwhere(mask)).mean(axis=0)


@pytest.mark.parametrize("geometry", GRIDS)
def test_volumes_and_centres(geometry):
    centre = geometry.centre_mm + np.array([1.3, -2.2, 0.7])
    tube = ball_volume_ml(7.0) + np.pi * 49 * np.hypot(40, 6) / 1000
    for mask, expected in (
        (ellipsoid(geometry, centre, (25, 12, 18), (20, 30, 40)), ellipsoid_volume_ml((25, 12, 18))),
        (ball(geometry, centre, 15), ball_volume_ml(15)),
        (box(geometry, centre, (30, 21, 17), (5, 15, 25)), 30 * 21 * 17 / 1000),
        (capsule(geometry, centre - [0, 20, 3], centre + np.array([0, 20, 3]), 7.0), tube),
    ):
        assert volume_ml(mask, geometry) == pytest.approx(expected, rel=0.02)
        assert centroid_mm(mask, geometry) == pytest.approx(centre, abs=0.15)


def test_a_capsule_without_length_is_a_ball_and_outside_is_empty():
    geometry = GRIDS[1]
    centre = geometry.centre_mm
    assert np.array_equal(capsule(geometry, centre, centre, 9.0), ball(geometry, centre, 9.0))
    assert not ball(geometry, centre + np.array([500, 0, 0]), 9.0).any()
    half = ball(geometry, geometry.corners_mm[0], 9.0)
    assert 0 < volume_ml(half, geometry) < ball_volume_ml(9.0) / 4


def test_radii_lie_along_the_patients_axes():
    geometry = oblique_geometry((60, 60, 60), (1, 1, 1), (0, 0, 0), "SPL")
    points = geometry.to_world(np.argwhere(ellipsoid(geometry, geometry.centre_mm, (5, 10, 20))))
    assert np.ptp(points, axis=0).tolist() == [9, 19, 39]


def test_touching_balls_touch():
    geometry = oblique_geometry((50, 60, 40), (1.0, 0.8, 1.2), (10, 20, 30))
    mask, centres = touching_balls(geometry, (2, 3, 1), 8.0)
    assert centres.shape == (6, 3)
    assert centres.mean(axis=0) == pytest.approx(geometry.centre_mm)
    gaps = np.linalg.norm(centres[:, None] - centres, axis=2)
    assert gaps[gaps > 0].min() == pytest.approx(16.0)
    assert volume_ml(mask, geometry) == pytest.approx(6 * ball_volume_ml(8.0), rel=0.02)


def test_the_abdomen_is_what_it_says():
    geometry = oblique_geometry((100, 80, 60), (1.7, 2.0, 2.2), (8, -5, 12), "LPS")
    case = abdomen(geometry, seed=3)
    labels, image = case.segmentation.labels, case.volume.array
    liver, spleen, *lesions = case.parts
    inside = sum(part.volume_ml for part in lesions)
    assert volume_ml(labels == 1, geometry) == pytest.approx(liver.volume_ml - inside, rel=0.02)
    assert volume_ml(labels == 2, geometry) == pytest.approx(spleen.volume_ml, rel=0.02)
    assert volume_ml(labels == 3, geometry) == pytest.approx(inside, rel=0.05)
    assert image[labels == 2].mean() == pytest.approx(120, abs=0.5)
    assert image[labels == 0].std() == pytest.approx(8, abs=0.2)
    assert case.volume.unit is Unit.HU
    assert np.array_equal(image, abdomen(geometry, seed=3).volume.array)
    assert not np.array_equal(image, abdomen(geometry, seed=4).volume.array)


def test_a_scene_of_ones_own():
    geometry = oblique_geometry((20, 20, 20), (1, 1, 1))
    table = LabelTable((Label(300, "x"),))
    made = scene(geometry, table, (Part("x", (0, 0, 0), (5, 5, 5), 7.0),))
    assert made.segmentation.labels.dtype == np.uint16
    assert np.unique(made.volume.array).tolist() == [0.0, 7.0]
    assert not scene(geometry, LabelTable(()), ()).segmentation.labels.any()
    with pytest.raises(LabelTableError, match="no label called 'y'"):
        scene(geometry, table, (Part("y", (0, 0, 0), (5, 5, 5), 7.0),))


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_sizes_must_be_above_zero(bad):
    geometry = GRIDS[0]
    for make in (
        lambda: ball(geometry, (0, 0, 0), bad),
        lambda: ellipsoid(geometry, (0, 0, 0), (1, bad, 1)),
        lambda: box(geometry, (0, 0, 0), (1, 1, bad)),
        lambda: capsule(geometry, (0, 0, 0), (1, 1, 1), bad),
        lambda: touching_balls(geometry, (1, 1, 1), bad),
    ):
        with pytest.raises(ConfigurationError, match="above 0 mm"):
            make()


def test_grids_that_are_none_are_refused():
    with pytest.raises(ConfigurationError, match="not valid"):
        oblique_geometry((2, 2, 2), (1, 1, 1), orientation="RRR")
    with pytest.raises(GeometryMismatchError, match="singular"):
        oblique_geometry((2, 2, 2), (1, 0, 1))
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        ball(Geometry(np.eye(4), (2, 2, 1), calibrated=False), (0, 0, 0), 1.0)
