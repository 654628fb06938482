"""Objects of label maps: order, statistics, touching objects."""

import numpy as np
import pytest

from medseg.errors import ConfigurationError, LabelTableError
from medseg.instances.split import SplitOptions, split
from medseg.phantoms import (
    ABDOMEN,
    abdomen,
    ball_volume_ml,
    capsule,
    ellipsoid,
    oblique_geometry,
    touching_balls,
)
from medseg.spatial import Geometry, Label, LabelTable, Segmentation

TABLE = LabelTable((Label(1, "organ"), Label(2, "node", kind="thing"), Label(5, "lesion", kind="thing")))


def segmentation(labels, geometry=None):
    labels = np.asarray(labels)
    labels = labels.astype(np.uint8) * np.uint8(2) if labels.dtype == bool else labels
    return Segmentation(labels, geometry or Geometry(np.eye(4), labels.shape), TABLE)


def three_nodes():
    labels = np.zeros((10, 4, 4), np.uint8)
    labels[0, 0, 0] = 1
    labels[2, 0, 0] = 5
    labels[4:6, 0, 0] = 2
    labels[7, 0, 0] = 2
    labels[9, 0, 0:3] = 2
    return labels


def test_ids_by_label_then_descending_volume_and_things_alone():
    found = split(segmentation(three_nodes()))
    assert [(i.id, i.label, i.voxel_count) for i in found.instances] == [
        (1, "node", 3),
        (2, "node", 2),
        (3, "node", 1),
        (4, "lesion", 1),
    ]
    assert found.ids[9, 0, 0] == 1
    assert found.ids[0, 0, 0] == 0
    assert found.table is TABLE


def test_equal_volumes_go_by_the_first_voxel_whatever_the_memory_layout():
    mask = np.zeros((6, 6, 6), bool)
    mask[::2, ::2, ::2] = True
    for order in "CF":
        ids = split(segmentation(np.asarray(mask, order=order))).ids
        assert ids[mask].tolist() == list(range(1, 28))


def test_which_labels():
    labels = segmentation(three_nodes())
    assert {i.label for i in split(labels, SplitOptions(all_labels=True)).instances} == {
        "organ",
        "node",
        "lesion",
    }
    assert [i.label for i in split(labels, SplitOptions(labels=("organ",))).instances] == ["organ"]
    with pytest.raises(LabelTableError, match="choose labels"):
        split(labels, SplitOptions(labels=("vessel",)))
    with pytest.raises(ConfigurationError, match="one of them"):
        split(labels, SplitOptions(labels=("organ",), all_labels=True))


def test_nothing_gives_nothing():
    for watershed in (False, True):
        found = split(segmentation(np.zeros((3, 3, 3), bool)), SplitOptions(watershed=watershed))
        assert found.instances == ()
        assert not found.ids.any()


def test_statistics_on_an_oblique_grid():
    scene = abdomen(oblique_geometry((100, 80, 60), (1.7, 2.0, 2.2), (8, -5, 12), "LPS"))
    found = split(scene.segmentation)
    assert [i.label for i in found.instances] == ["lesion", "lesion"]
    for instance, part in zip(found.instances, scene.parts[2:], strict=True):
        assert instance.volume_ml == pytest.approx(part.volume_ml, rel=0.05)
        assert instance.centroid_mm == pytest.approx(part.centre_mm, abs=0.3)
        slices = tuple(slice(*side) for side in instance.box)
        assert (found.ids[slices] == instance.id).sum() == instance.voxel_count
        assert instance.score is None


def test_small_objects_are_left_out_after_all_cutting():
    geometry = oblique_geometry((10, 4, 4), (1.0, 2.0, 0.5))
    found = split(segmentation(three_nodes(), geometry), SplitOptions(min_volume_mm3=2.0))
    assert [i.voxel_count for i in found.instances] == [3, 2]
    assert found.ids.max() == 2


def test_an_unknown_pixel_size():
    geometry = Geometry(np.eye(4), (4, 4, 1), calibrated=False)
    mask = segmentation(np.ones((4, 4, 1), bool), geometry)
    instance = split(mask, SplitOptions(connectivity=8, watershed=True)).instances[0]
    assert (instance.volume_ml, instance.centroid_mm, instance.voxel_count) == (None, None, 16)
    for options in (SplitOptions(min_volume_mm3=1.0), SplitOptions(min_distance_mm=1.0)):
        with pytest.raises(ConfigurationError, match="pixel size of this image is unknown"):
            split(mask, options)


@pytest.mark.parametrize(
    "options",
    [
        {"neck_ratio": 0.0},
        {"neck_ratio": 1.1},
        {"neck_ratio": np.nan},
        {"min_distance_mm": -1.0},
        {"min_distance_mm": np.nan},
    ],
)
def test_values_out_of_range(options):
    with pytest.raises(ConfigurationError, match="expected"):
        SplitOptions(**options)


def test_no_such_connectivity_and_volume():
    mask = segmentation(np.ones((2, 2, 2), bool))
    with pytest.raises(ConfigurationError, match="connectivity 8"):
        split(mask, SplitOptions(connectivity=8))
    with pytest.raises(ConfigurationError, match="0 or more"):
        split(mask, SplitOptions(min_volume_mm3=-1.0))


@pytest.mark.parametrize("connectivity", [6, 18, 26])
@pytest.mark.parametrize(
    ("spacing", "angles"), [((1.0, 1.0, 1.0), (0, 0, 0)), ((0.8, 0.9, 2.0), (10, 20, -15))]
)
def test_touching_balls_come_apart(connectivity, spacing, angles):
    shape = tuple(int(58 / s) for s in spacing)
    geometry = oblique_geometry(shape, spacing, angles)
    mask, centres = touching_balls(geometry, (3, 3, 3), 9.0, 1.0)
    whole = segmentation(mask, geometry)
    assert len(split(whole, SplitOptions(connectivity=connectivity)).instances) == 1
    found = split(whole, SplitOptions(connectivity=connectivity, watershed=True))
    assert len(found.instances) == 27
    assert np.array_equal(found.ids > 0, mask)
    for centre in centres:
        nearest = min(found.instances, key=lambda i, c=centre: np.linalg.norm(np.subtract(i.centroid_mm, c)))
        assert np.linalg.norm(np.subtract(nearest.centroid_mm, centre)) < 0.5
        assert nearest.volume_ml == pytest.approx(ball_volume_ml(9.0), rel=0.04)


def test_the_cut_does_not_depend_on_how_the_array_lies():
    geometry = oblique_geometry((40, 30, 30), (1.0, 1.2, 1.0))
    mask, _ = touching_balls(geometry, (3, 2, 2), 6.0, 1.0)
    here = split(segmentation(mask, geometry), SplitOptions(watershed=True))
    flipped = split(segmentation(mask[::-1], geometry), SplitOptions(watershed=True))
    assert len(here.instances) == len(flipped.instances) == 12


def test_single_objects_of_any_form_stay_one():
    geometry = oblique_geometry((60, 50, 30), (1.0, 1.1, 2.0), (5, 10, 15))
    centre = geometry.centre_mm
    for mask in (
        ellipsoid(geometry, centre, (22, 8, 9), (10, 20, 30)),
        capsule(geometry, centre - [20, 0, 5], centre + np.array([18, 3, 6]), 5.0),
        capsule(geometry, centre - [20, 0, 5], centre + np.array([18, 3, 6]), 1.5),
        np.ones(geometry.shape, bool),
    ):
        assert len(split(segmentation(mask, geometry), SplitOptions(watershed=True)).instances) == 1


def test_neck_ratio_and_distance_decide_what_is_cut():
    geometry = oblique_geometry((50, 30, 30), (1.0, 1.0, 1.0))
    centre = geometry.centre_mm
    mask = ellipsoid(geometry, centre - [9, 0, 0], (10,) * 3) | ellipsoid(
        geometry, centre + np.array([9, 0, 0]), (10,) * 3
    )

    def count(**options):
        return len(split(segmentation(mask, geometry), SplitOptions(watershed=True, **options)).instances)

    assert count() == 2
    assert count(neck_ratio=0.3) == 1
    assert count(min_distance_mm=15.0) == 2
    assert count(min_distance_mm=20.0) == 1


def test_objects_at_the_edge_of_the_image_are_cut_too():
    geometry = oblique_geometry((40, 20, 1), (1.0, 1.0, 5.0))
    mask = np.zeros(geometry.shape, bool)
    i, j = np.indices((40, 20))
    for place in (10, 28):
        mask[:, :, 0] |= (i - place) ** 2 + j**2 <= 100
    assert len(split(segmentation(mask, geometry), SplitOptions(watershed=True)).instances) == 2


def test_the_lesions_of_the_phantom_are_things():
    assert [label.name for label in ABDOMEN if label.kind == "thing"] == ["lesion"]


def test_small_objects_and_a_ring_of_passes():
    geometry = Geometry(np.eye(4), (46, 46, 13))
    ring, _ = touching_balls(geometry, (2, 2, 1), 6.0, 1.0)
    ring[0, 0, :2] = True
    found = split(segmentation(ring, geometry), SplitOptions(watershed=True))
    assert [i.voxel_count for i in found.instances][-1] == 2
    assert len(found.instances) == 5


def test_a_line_one_voxel_wide_stays_one():
    line = np.zeros((1, 30, 1), bool)
    line[0, 3:20, 0] = True
    assert len(split(segmentation(line), SplitOptions(watershed=True)).instances) == 1


def test_bumps_on_the_surface_make_no_objects():
    geometry = oblique_geometry((40, 40, 40), (1.0, 1.0, 1.0))
    rough = np.random.default_rng(0).normal(0, 1.2, geometry.shape)
    i, j, k = np.indices(geometry.shape) - 19.5
    mask = np.sqrt(i**2 + j**2 + k**2) + rough < 14
    options = SplitOptions(watershed=True, min_volume_mm3=20)
    assert len(split(segmentation(mask, geometry), options).instances) == 1
