"""Windows, fills and contours."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from medseg.instances.instance import Instance
from medseg.report.paint import (
    Window,
    choose_window,
    enlarge,
    enlarge_labels,
    overlay,
    region_colours,
    to_grey,
)
from medseg.spatial import Label, LabelTable, Unit

BOX = ((0, 1), (0, 1), (0, 1))


def test_ct_has_the_soft_tissue_window():
    window = choose_window([np.array([[-1000.0, 60.0]])], [np.array([[False, True]])], Unit.HU)
    assert (window.low, window.high) == (-160, 240)
    assert "W 400 L 40" in window.text


def test_ct_of_lung_has_the_lung_window():
    window = choose_window([np.array([[-800.0, 60.0]])], [np.array([[True, False]])], Unit.HU)
    assert (window.low, window.high) == (-1350, 150)


def test_ct_without_foreground_has_the_soft_tissue_window():
    assert choose_window([np.zeros((2, 2))], [np.zeros((2, 2), bool)], Unit.HU).low == -160


def test_other_scans_run_from_the_1st_to_the_99th_percentile():
    values = np.arange(1001.0)
    values_with_gaps = np.append(values, [np.nan, np.inf])
    window = choose_window([values_with_gaps], [values_with_gaps > 0], Unit.ARBITRARY)
    assert (window.low, window.high) == pytest.approx((10, 990))
    assert window.text == "window: 10 to 990"


def test_the_unit_of_uptake_is_said():
    assert (
        choose_window([np.arange(-5.0, 6)], [np.ones(11, bool)], Unit.SUV).text == "window: −4.9 to 4.9 SUV"
    )


def test_nearly_constant_slices_use_their_whole_range():
    values = np.zeros(1000)
    values[0] = 7
    window = choose_window([values], [values > 0], Unit.ARBITRARY)
    assert (window.low, window.high) == (0, 7)


def test_a_flat_or_empty_scan_is_grey_or_black():
    flat = np.full((2, 2), 5.0)
    assert (to_grey(flat, choose_window([flat], [flat > 0], Unit.ARBITRARY)) == 128).all()
    empty = np.full((2, 2), np.nan)
    assert (to_grey(empty, choose_window([empty], [empty > 0], Unit.ARBITRARY)) == 0).all()
    assert (to_grey(empty, Window(1.0, 1.0, "")) == 0).all()


def test_grey_levels():
    values = np.array([-5, 0, 50, 100, 500, np.nan, np.inf, -np.inf])
    np.testing.assert_array_equal(to_grey(values, Window(0, 100, "")), [0, 0, 128, 255, 255, 0, 255, 0])


@pytest.mark.parametrize("size", [(4, 3), (40, 30), (13, 17), (2, 2), (1, 1)])
def test_enlarged_labels_are_pillows_nearest(size):
    labels = np.arange(12, dtype=np.uint8).reshape(3, 4)
    expected = np.array(Image.fromarray(labels).resize(size, Image.Resampling.NEAREST))
    np.testing.assert_array_equal(enlarge_labels(labels, size), expected)


def test_enlarged_pictures_keep_their_channels():
    assert enlarge(np.zeros((3, 4, 3), np.uint8), (8, 6)).shape == (6, 8, 3)


def test_contour_is_what_lies_within_two_pixels_of_something_else():
    rng = np.random.default_rng(0)
    regions = np.kron(rng.integers(-2, 2, (6, 7)), np.ones((6, 6), int))
    colours = {-2: (255, 0, 0), -1: (0, 255, 0), 1: (0, 0, 255)}
    painted = overlay(np.full((*regions.shape, 3), 100, np.uint8), regions, colours)
    for value, colour in colours.items():
        inside = regions == value
        edge = inside & (ndimage.distance_transform_edt(inside) <= 2)
        assert (painted[edge] == colour).all()
        filled = 100 + (np.array(colour) - 100) * 0.3
        np.testing.assert_allclose(
            painted[inside & ~edge], np.broadcast_to(filled, (int((inside & ~edge).sum()), 3)), atol=1
        )
    assert (painted[regions == 0] == 100).all()


def test_a_region_cut_by_the_frame_has_no_contour_there():
    painted = overlay(np.zeros((9, 9, 3), np.uint8), np.ones((9, 9), int), {1: (200, 0, 0)})
    assert (painted == (60, 0, 0)).all()


def test_colours_of_labels_and_instances():
    table = LabelTable((Label(1, "a", colour=(1, 2, 3)), Label(2, "b", colour=(4, 5, 6))))
    instances = [
        Instance(n, name, 1, None, None, BOX) for n, name in ((1, "a"), (2, "b"), (3, "b"), (70000, "b"))
    ]
    colours = region_colours(table, instances)
    assert colours[-1] == colours[1] == (1, 2, 3)
    assert colours[-2] == (4, 5, 6)
    assert len({colours[n] for n in (2, 3, 70000)}) == 3


def test_thirty_instances_in_a_row_can_be_told_apart():
    table = LabelTable((Label(1, "a"),))
    colours = region_colours(table, [Instance(n, "a", 1, None, None, BOX) for n in range(1, 31)])
    rows = np.array([colours[n] for n in range(1, 31)], float)
    neighbours = np.linalg.norm(np.diff(rows, axis=0), axis=1)
    assert neighbours.min() > 80
    assert len({tuple(row) for row in rows}) == 30
