"""Pictures as they come out: direction, proportion, scale, colour, legend."""

from __future__ import annotations

import io
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.instances.instance import Instance, InstanceMap
from medseg.measure.measurement import Measurement
from medseg.phantoms import ball, box, oblique_geometry
from medseg.report.figures import overlay_planes, preview
from medseg.spatial import Case, Geometry, Label, LabelTable, Segmentation, Unit, Volume
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_segmentation, resample_volume

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
RED, BLUE = (255, 0, 0), (0, 0, 255)
TOP, LEFT = 64, 34  # where the slice begins in its frame
TABLE = LabelTable((Label(1, "red box", colour=RED), Label(2, "blue ball", colour=BLUE)))


def _pixels(png):
    return np.array(Image.open(io.BytesIO(png)).convert("RGB"))


def _place(pixels, colour):
    """Middle, height and width of what has exactly this colour (a contour)."""
    rows, columns = np.nonzero((pixels == colour).all(axis=-1))
    assert rows.size, "the colour is not in the picture"
    middle = (rows.min() + rows.max()) / 2, (columns.min() + columns.max()) / 2
    return middle, rows.max() - rows.min() + 1, columns.max() - columns.min() + 1


def _phantom(angles=(12.0, -9.0, 15.0)):
    """A noisy scan on an oblique, anisotropic grid with an object at the patient's right, front and top."""
    geometry = oblique_geometry((40, 34, 14), (1.0, 1.3, 3.5), angles, "RAS", (10.0, -20.0, 30.0))
    turn = geometry.affine[:3, :3] / geometry.spacing_mm
    labels = np.zeros(geometry.shape, np.uint8)
    labels[
        box(geometry, tuple(geometry.centre_mm + turn @ (10.0, 11.0, 12.0)), (12.0, 12.0, 16.0), angles)
    ] = 1
    noise = np.random.default_rng(0).normal(0, 5, geometry.shape)
    return Volume(noise + 50.0 * labels, geometry), Segmentation(labels, geometry, TABLE)


@pytest.mark.parametrize("orientation", ["LPS", "PIR", "LIA", "ASR", "IRP"])
def test_turned_copies_give_the_very_same_files(orientation):
    image, segmentation = _phantom()
    target = reoriented(image.geometry, orientation)
    assert target.orientation == orientation
    turned = resample_volume(image, target), resample_segmentation(segmentation, target)
    assert preview(*turned) == preview(image, segmentation)
    assert [p.png for p in overlay_planes(*turned)] == [p.png for p in overlay_planes(image, segmentation)]


@pytest.mark.parametrize("orientation", ["RAS", "LPS", "PIR", "LIA"])
@pytest.mark.parametrize("angles", [(0.0, 0.0, 0.0), (12.0, -9.0, 15.0)])
def test_right_front_top_is_at_the_left_and_the_top(orientation, angles):
    image, segmentation = _phantom(angles)
    target = reoriented(image.geometry, orientation)
    image, segmentation = resample_volume(image, target), resample_segmentation(segmentation, target)
    pictures = overlay_planes(image, segmentation)
    assert [p.name for p in pictures] == ["axial", "coronal", "sagittal"]
    for picture, letters in zip(pictures, (("R", "A"), ("R", "S"), ("A", "S")), strict=True):
        pixels = _pixels(picture.png)
        middle, _, _ = _place(pixels, RED)
        assert middle[0] < pixels.shape[0] / 2
        assert middle[1] < pixels.shape[1] / 2
        assert picture.width == pixels.shape[1]
        assert f"Left of the picture is {letters[0]}" in picture.description
        assert f"top {letters[1]}" in picture.description
        assert ("oblique" in picture.caption) == any(angles)


def test_a_ball_is_round_on_any_grid():
    for spacing, angles in (((0.6, 0.9, 1.6), (0.0, 0.0, 0.0)), ((1.6, 0.6, 0.9), (30.0, 20.0, 40.0))):
        shape = tuple(round(60 / s) for s in spacing)
        geometry = oblique_geometry(shape, spacing, angles)
        segmentation = Segmentation(
            ball(geometry, (3.0, -4.0, 5.0), 20.0).astype(np.uint8) * 2, geometry, TABLE
        )
        for picture in overlay_planes(None, segmentation, longest_px=600):
            _, height, width = _place(_pixels(picture.png), BLUE)
            assert height == pytest.approx(400, abs=17)
            assert width == pytest.approx(400, abs=17)


def test_scale_bar_is_as_long_as_a_round_number_of_mm():
    geometry = oblique_geometry((60, 50, 40), (1.0, 1.0, 1.0))
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, TABLE)
    for picture in overlay_planes(None, segmentation, longest_px=600):
        pixels = _pixels(picture.png)
        white = (pixels[-20:] == 240).all(axis=-1).sum(axis=1)
        assert white.max() == 101  # 10 mm at 10 pixels per mm, both ends included


@pytest.mark.parametrize(
    ("at_most", "calibrated", "expected"),
    [
        (9.99, True, (5.0, "5 mm")),
        (10.0, True, (10.0, "10 mm")),
        (0.5, True, (0.5, "0.5 mm")),
        (0.03, True, (0.02, "20 um")),
        (250.0, False, (200.0, "200 px")),
    ],
)
def test_scale_bar_lengths(at_most, calibrated, expected):
    from medseg.report.tile import _scale_bar

    length, text = _scale_bar(at_most, calibrated=calibrated)
    assert length == pytest.approx(expected[0])
    assert text == expected[1]


def test_small_scans_are_enlarged_and_large_ones_made_smaller():
    for n in (20, 900):
        geometry = oblique_geometry((n, n, 3), (1.0, 1.0, 1.0))
        segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, TABLE)
        axial = overlay_planes(None, segmentation)[0]
        assert 500 <= axial.width <= 620


def test_without_foreground():
    geometry = oblique_geometry((10, 10, 10), (1.0, 1.0, 1.0))
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, TABLE)
    volume = Volume(np.random.default_rng(0).normal(size=geometry.shape), geometry)
    assert "nothing segmented" in overlay_planes(volume, segmentation)[0].caption
    assert _pixels(preview(volume, segmentation)).ndim == 3


def test_colour_pictures_are_shown_in_their_colours():
    rng = np.random.default_rng(1)
    rgb = np.kron(rng.integers(0, 256, (4, 5, 3)), np.ones((80, 80, 1))).astype(np.uint8)
    geometry = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (400, 320, 1), calibrated=False)
    channels = {
        name: Volume(rgb[..., n].T[:, :, None], geometry) for n, name in enumerate(("red", "green", "blue"))
    }
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, TABLE)
    (picture,) = overlay_planes(Case("c", channels), segmentation, longest_px=250)  # 1.6 times: full size
    assert picture.name == "image"
    assert picture.description == picture.caption == "Image: nothing segmented."
    pixels = _pixels(picture.png)
    np.testing.assert_array_equal(pixels[TOP : TOP + 320, LEFT : LEFT + 400], rgb)


def test_deep_colour_pictures_share_one_window():
    geometry = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (40, 40, 1), calibrated=False)
    steps = np.linspace(0, 4000, 1600).reshape(40, 40, 1).astype(np.uint16)
    levels = {"red": steps, "green": steps // 2, "blue": steps * 0}
    case = Case("c", {name: Volume(array, geometry) for name, array in levels.items()})
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, TABLE)
    (picture,) = overlay_planes(case, segmentation)
    last = _pixels(picture.png)[TOP + 800, LEFT + 800].astype(int)
    assert last[0] > 240
    assert 115 < last[1] < 140
    assert last[2] == 0
    assert "window: 0 to" in picture.caption


def test_of_any_other_case_the_first_channel():
    image, segmentation = _phantom()
    other = Volume(np.zeros(image.geometry.shape), image.geometry)
    case = Case("c", {"t1": image, "t2": other})
    assert overlay_planes(case, segmentation) == overlay_planes(image, segmentation)


def _instances(geometry, ids, labels):
    listed = tuple(
        Instance(n, label, int((ids == n).sum()), None, None, ((0, 1), (0, 1), (0, 1)))
        for n, label in labels.items()
    )
    return InstanceMap(ids.astype(np.int32), geometry, listed, TABLE)


def test_instances_have_their_own_colours_and_the_rest_its_labels():
    geometry = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (60, 40, 1), calibrated=False)
    ids = np.zeros(geometry.shape, np.int32)
    ids[2:12, 2:12], ids[20:30, 2:12] = 1, 2
    labels = np.where(ids > 0, 1, 0).astype(np.uint8)
    labels[40:55, 20:35] = 2
    segmentation = Segmentation(labels, geometry, TABLE)
    found = _instances(geometry, ids, {1: "red box", 2: "red box"})
    (picture,) = overlay_planes(None, segmentation, instances=found)
    assert "1 label and 2 objects" in picture.caption
    pixels = _pixels(picture.png)
    assert not (pixels == RED).all(axis=-1).any()
    middle, _, _ = _place(pixels, BLUE)
    assert middle[1] > pixels.shape[1] / 2
    sheet = _pixels(preview(None, segmentation, instances=found))
    assert not (sheet == RED).all(axis=-1).any()
    assert (sheet == BLUE).all(axis=-1).any()


def test_ids_are_written_where_they_fit():
    geometry = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (100, 100, 1), calibrated=False)
    ids = np.zeros(geometry.shape, np.int32)
    ids[10:60, 10:60] = 7
    ids[90, 90] = 8
    segmentation = Segmentation((ids > 0).astype(np.uint8), geometry, TABLE)
    found = _instances(geometry, ids, {7: "red box", 8: "red box"})
    pixels = _pixels(overlay_planes(None, segmentation, instances=found, longest_px=250)[0].png)
    inside = (pixels > 190).all(axis=-1)[TOP : TOP + 400, LEFT : LEFT + 400]
    rows, columns = np.nonzero(inside)
    assert rows.size
    assert abs(rows.mean() - 140) < 10
    assert abs(columns.mean() - 140) < 10


def test_the_only_instance_of_a_label_keeps_its_colour():
    geometry = oblique_geometry((30, 30, 30), (1.0, 1.0, 1.0))
    labels = box(geometry, (0.0, 0.0, 0.0), (20.0, 20.0, 20.0)).astype(np.uint8)
    segmentation = Segmentation(labels, geometry, TABLE)
    found = _instances(geometry, labels, {1: "red box"})
    assert (_pixels(overlay_planes(None, segmentation, instances=found)[0].png) == RED).all(axis=-1).any()


def test_legend_leaves_out_what_was_measured_as_empty():
    geometry = oblique_geometry((10, 10, 10), (1.0, 1.0, 1.0))
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, TABLE)
    counts = [
        Measurement("voxel_count", 5.0, "1", "red box"),
        Measurement("voxel_count", 0.0, "1", "blue ball"),
        Measurement("volume_ml", None, "ml", "red box", reason="pixel size unknown"),
    ]
    sheet = _pixels(preview(None, segmentation, measurements=counts, title="case"))
    assert (sheet == RED).all(axis=-1).any()
    assert not (sheet == BLUE).all(axis=-1).any()
    volumes = [Measurement("volume_ml", 5.0, "ml", "blue ball")]
    assert (_pixels(preview(None, segmentation, measurements=volumes)) == BLUE).all(axis=-1).any()


def test_a_long_legend_with_odd_names_is_drawn():
    geometry = oblique_geometry((10, 10, 10), (1.0, 1.0, 1.0))
    names = [f"{'long ' * 20}\n心\u202e {n}" for n in range(1, 121)]
    table = LabelTable(tuple(Label(n, name) for n, name in enumerate(names, start=1)))
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, table)
    counts = [Measurement("voxel_count", 3.0, "1", name) for name in names]
    sheet = _pixels(preview(None, segmentation, measurements=counts, title="x" * 500))
    assert sheet.shape[1] < 2000
    assert sheet.shape[0] < 3000


def test_scan_on_another_grid_is_shown():
    image, segmentation = _phantom()
    coarse = oblique_geometry((20, 20, 20), (2.0, 2.0, 2.0), centre_mm=(10.0, -20.0, 30.0))
    pictures = overlay_planes(resample_volume(image, coarse), segmentation)
    assert [p.width for p in pictures] == [p.width for p in overlay_planes(image, segmentation)]


def test_refusals():
    image, segmentation = _phantom()
    with pytest.raises(ConfigurationError, match="64 or more"):
        overlay_planes(image, segmentation, longest_px=63)
    elsewhere = oblique_geometry((3, 3, 3), (1.0, 1.0, 1.0))
    other = InstanceMap(np.zeros((3, 3, 3), np.int32), elsewhere, (), TABLE)
    with pytest.raises(GeometryMismatchError, match="split the instances from this segmentation"):
        overlay_planes(image, segmentation, instances=other)
    placed = Geometry(image.geometry.affine, image.geometry.shape, "1.2.3")
    moved = Geometry(image.geometry.affine, image.geometry.shape, "1.2.4")
    with pytest.raises(GeometryMismatchError, match="frames of reference"):
        preview(Volume(image.array, placed), Segmentation(segmentation.labels, moved, TABLE))


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set MEDSEG_DATA)")
def test_real_ct_in_two_storage_orders():
    from medseg.io.read import read_segmentation, read_volume

    read = read_volume(DATA / "organs/ct_small.nii.gz")
    image = Volume(read.array, read.geometry, Unit.HU)
    segmentation = read_segmentation(DATA / "organs/ct_small_organs.nii.gz")
    target = reoriented(image.geometry, "PIR")
    turned = resample_volume(image, target), resample_segmentation(segmentation, target)
    assert preview(*turned) == preview(image, segmentation)
    assert "W 400 L 40 HU" in overlay_planes(image, segmentation)[0].caption
