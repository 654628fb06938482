"""The picture of a prediction beside its reference: colours, place, volumes, refusals."""

from __future__ import annotations

import io

import numpy as np
import pytest
from PIL import Image

from medseg.errors import ConfigurationError, GeometryMismatchError, LabelTableError
from medseg.report.comparison import FALSE_NEGATIVE, FALSE_POSITIVE, WRONG_LABEL, comparison_picture
from medseg.spatial import Geometry, Label, LabelTable, Segmentation, Unit, Volume
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_segmentation, resample_volume

TABLE = LabelTable((Label(1, "liver", colour=(250, 10, 10)), Label(2, "spleen", colour=(10, 250, 10))))
GEOMETRY = Geometry(np.diag([2.0, 2.0, 5.0, 1.0]), (60, 50, 12))


def _segmentation(*boxes, geometry=GEOMETRY, table=TABLE):
    labels = np.zeros(geometry.shape, np.uint8)
    for index, box in boxes:
        labels[tuple(slice(*side) for side in box)] = index
    return Segmentation(labels, geometry, table)


REFERENCE = _segmentation((1, ((20, 30), (20, 30), (4, 8))))


def _pixels(picture):
    return np.array(Image.open(io.BytesIO(picture.png)).convert("RGB"))


def _third(pixels, number):
    """Reference, prediction or difference, without title and legend."""
    width = pixels.shape[1] // 3
    return pixels[90:460, number * width : (number + 1) * width]


def _columns(pixels, colour):
    return np.nonzero((pixels == colour).all(axis=-1))[1]


def test_false_positives_are_orange_and_false_negatives_blue_on_their_side():
    prediction = _segmentation((1, ((24, 34), (20, 30), (4, 8))))
    picture = comparison_picture(prediction, REFERENCE, None)
    difference = _third(_pixels(picture), 2)
    # Towards higher i is the patient's right... of RAS+, shown on the left of the picture.
    assert _columns(difference, FALSE_POSITIVE).mean() < _columns(difference, FALSE_NEGATIVE).mean()
    assert not _columns(difference, WRONG_LABEL).size
    assert (picture.name, picture.width) == ("axial", _pixels(picture).shape[1])
    # 4 × 10 × 4 voxels of 20 mm³ on each side
    assert (
        "prediction only (false positive) 3.20 ml, reference only (false negative) 3.20 ml" in picture.caption
    )
    assert "Left of each picture is R, right L, top A, bottom P." in picture.description
    for side in (0, 1):
        assert _columns(_third(_pixels(picture), side), (250, 10, 10)).size


def test_labels_are_matched_by_name_and_swapped_ones_are_another_label():
    swapped = LabelTable((Label(7, "liver"), Label(1, "spleen")))
    same = _segmentation((7, ((20, 30), (20, 30), (4, 8))), table=swapped)
    assert "Whole case: no difference" in comparison_picture(same, REFERENCE, None).caption
    other = _segmentation((1, ((20, 30), (20, 30), (4, 8))), table=swapped)
    assert "Whole case: another label 8.00 ml" in comparison_picture(other, REFERENCE, None).caption


def test_one_label_alone():
    prediction = _segmentation((1, ((20, 30), (20, 30), (4, 8))), (2, ((40, 50), (20, 30), (4, 8))))
    assert "false positive" in comparison_picture(prediction, REFERENCE, None).caption
    assert "no difference" in comparison_picture(prediction, REFERENCE, None, label="liver").caption
    with pytest.raises(LabelTableError, match="no label called 'kidney'"):
        comparison_picture(prediction, REFERENCE, None, label="kidney")


def test_it_shows_the_slice_with_the_most_that_differs_cut_to_the_labels():
    prediction = _segmentation((1, ((20, 30), (20, 30), (4, 8))), (1, ((20, 30), (20, 30), (10, 11))))
    picture = comparison_picture(prediction, REFERENCE, None)
    assert picture.caption.startswith("Axial, S 50.0 mm")
    reference = _third(_pixels(comparison_picture(REFERENCE, REFERENCE, None)), 0)
    wide = np.ptp(_columns(reference, (250, 10, 10)))
    # 20 mm in a view of 40 mm, not in one of 120 mm
    assert 0.4 * 360 < wide < 0.6 * 360


def test_turned_copies_give_the_very_same_picture():
    prediction = _segmentation((1, ((24, 34), (20, 30), (4, 8))), (2, ((5, 9), (20, 30), (4, 8))))
    image = Volume(
        np.random.default_rng(0).normal(40, 30, GEOMETRY.shape).astype(np.float32), GEOMETRY, Unit.HU
    )
    expected = comparison_picture(prediction, REFERENCE, image)
    assert "W 400 L 40 HU" in expected.caption
    for orientation in ("LPS", "PIR", "ASL"):
        grid = reoriented(GEOMETRY, orientation)
        turned = (resample_segmentation(s, grid) for s in (prediction, REFERENCE))
        assert comparison_picture(*turned, resample_volume(image, grid)).png == expected.png


def test_nothing_at_all_and_plain_pictures():
    empty = _segmentation()
    assert "no difference" in comparison_picture(empty, empty, None).caption
    flat = Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (70, 50, 1), calibrated=False)
    reference = _segmentation((1, ((20, 30), (20, 30), (0, 1))), geometry=flat)
    picture = comparison_picture(_segmentation(geometry=flat), reference, None)
    assert picture.name == "image"
    assert picture.caption == picture.description
    assert "reference only (false negative) 100 voxels" in picture.caption


def test_refusals():
    other = Geometry(np.diag([1.0, 2.0, 5.0, 1.0]), (60, 50, 12))
    with pytest.raises(GeometryMismatchError, match="resample the prediction first"):
        comparison_picture(_segmentation(geometry=other), REFERENCE, None)
    with pytest.raises(ConfigurationError, match="63 pixels are too small"):
        comparison_picture(REFERENCE, REFERENCE, None, longest_px=63)
