import warnings

import numpy as np
import pytest

from medseg.evaluate.surfels import element_sizes, surface_elements

SPACINGS = [(1.0, 1.0, 1.0), (0.7, 1.3, 2.9), (5.0, 0.8, 0.8)]


def bits(code, axes):
    return np.array([code >> n & 1 for n in range(1 << axes)]).reshape((2,) * axes)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_sizes_equal_the_table_of_surface_distance(spacing):
    tables = pytest.importorskip("surface_distance.lookup_tables", reason="surface-distance is not installed")
    kernel = tables.ENCODE_NEIGHBOURHOOD_3D_KERNEL
    theirs = tables.create_table_neighbour_code_to_surface_area(spacing)
    ours = element_sizes(spacing)
    for code in range(256):
        assert ours[code] == pytest.approx(theirs[(bits(code, 3) * kernel).sum()], abs=1e-9)
    kernel = tables.ENCODE_NEIGHBOURHOOD_2D_KERNEL
    theirs = tables.create_table_neighbour_code_to_contour_length(spacing[:2])
    ours = element_sizes(spacing[:2])
    for code in range(16):
        assert ours[code] == pytest.approx(theirs[(bits(code, 2) * kernel).sum()], abs=1e-9)


@pytest.mark.parametrize("spacing", SPACINGS)
def test_sizes_from_hand(spacing):
    a, b, c = spacing
    sizes = element_sizes(spacing)
    assert sizes[0] == sizes[255] == 0
    corner = 0.125 * np.linalg.norm([b * c, a * c, a * b])
    for single in range(8):
        assert sizes[1 << single] == pytest.approx(corner)
    assert sizes[0b00001111] == pytest.approx(b * c)  # bit order: the first axis is the slowest
    assert sizes[0b00110011] == pytest.approx(a * c)
    assert sizes[0b01010101] == pytest.approx(a * b)
    for code in range(256):
        assert sizes[code] == pytest.approx(sizes[255 - code])
    flat = element_sizes(spacing[:2])
    assert flat[0b0011] == pytest.approx(b)
    assert flat[0b0101] == pytest.approx(a)
    assert flat[0b0001] == pytest.approx(np.hypot(a, b) / 2)
    assert flat[0b0110] == flat[0b1001] == pytest.approx(np.hypot(a, b))


def test_surface_of_a_box_and_of_a_ball():
    mask = np.ones((10, 20, 30), dtype=bool)
    _, codes = surface_elements(mask)
    sizes = element_sizes((1, 1, 1))
    full = 2 * (10 * 20 + 10 * 30 + 20 * 30)
    assert sizes[codes].sum() == pytest.approx(full, rel=0.1)
    grid = np.indices((61, 61, 61)) - 30
    ball = (grid**2).sum(axis=0) <= 28**2
    places, codes = surface_elements(ball)
    assert sizes[codes].sum() == pytest.approx(4 * np.pi * 28**2, rel=0.1)
    assert places.max() < 62**3
    assert (np.diff(places) > 0).all()


@pytest.mark.parametrize("shape", [(7, 6, 5), (9, 8)])
def test_codes_equal_those_read_corner_by_corner(shape, monkeypatch):
    monkeypatch.setattr("medseg.evaluate.masks._SLAB_VOXELS", 100)
    mask = np.random.default_rng(0).random(shape) < 0.5
    around = np.pad(mask, 1)
    expected = {}
    for flat, corner in enumerate(np.ndindex(*(n + 1 for n in shape))):
        values = around[tuple(slice(c, c + 2) for c in corner)].ravel()
        code = sum(int(v) << n for n, v in enumerate(values))
        if 0 < code < (1 << len(values)) - 1:
            expected[flat] = code
    places, codes = surface_elements(mask)
    assert dict(zip(places.tolist(), codes.tolist(), strict=True)) == expected


def test_an_empty_mask_has_no_surface():
    places, codes = surface_elements(np.zeros((3, 3, 3), dtype=bool))
    assert len(places) == len(codes) == 0


def test_the_triangles_are_made_without_a_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        element_sizes((1, 2, 3))
