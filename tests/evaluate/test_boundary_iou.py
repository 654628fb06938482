import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.evaluate import boundary
from medseg.evaluate.boundary import boundary_band, boundary_iou


def brute_band(mask, spacing, distance):
    wide = np.pad(mask, 1)
    near = cdist(np.argwhere(wide) * spacing, np.argwhere(~wide) * spacing).min(axis=1) <= distance + 1e-9
    band = mask ^ ndimage.binary_erosion(mask)
    band[tuple((np.argwhere(wide)[near] - 1).T)] = True
    return band


@pytest.mark.parametrize("marks", [0, 10**9])
@pytest.mark.parametrize("distance", [0, 0.6, 1, 2.5, 4])
@pytest.mark.parametrize(
    ("shape", "spacing"), [((9, 8, 7), (1, 1, 1)), ((9, 8, 7), (0.6, 1, 3)), ((17, 15), (0.6, 1.3))]
)
def test_band_equals_brute_force(shape, spacing, distance, marks, monkeypatch):
    monkeypatch.setattr(boundary, "_MARKS_PER_VOXEL", marks)
    noise = ndimage.gaussian_filter(np.random.default_rng(3).random(shape), 1)
    mask = noise > np.quantile(noise, 0.3)
    found = boundary_band(mask, spacing, distance)
    np.testing.assert_array_equal(found, brute_band(mask, spacing, distance))


@pytest.mark.parametrize("width", [1, 2, 4])
def test_rectangles_equal_erosions_by_a_square(width):
    """On rectangles the Euclidean band is that of Cheng et al., who erode by a 3 × 3 square."""
    prediction, reference = np.zeros((60, 50), dtype=bool), np.zeros((60, 50), dtype=bool)
    prediction[5:41, 10:40] = True
    reference[8:44, 11:42] = True

    def band(mask):
        return mask & ~ndimage.binary_erosion(mask, np.ones((3, 3)), iterations=width)

    expected = (band(prediction) & band(reference)).sum() / (band(prediction) | band(reference)).sum()
    assert boundary_iou(prediction, reference, (1, 1), width) == pytest.approx(expected)


def test_a_wide_band_gives_the_iou_and_a_narrow_one_is_stricter():
    grid = np.indices((40, 40, 40)) - 20
    prediction, reference = (grid**2).sum(0) <= 12**2, ((grid - 1) ** 2).sum(0) <= 12**2
    iou = (prediction & reference).sum() / (prediction | reference).sum()
    assert boundary_iou(prediction, reference, (1, 1, 1), 100) == pytest.approx(iou)
    assert boundary_iou(prediction, reference, (1, 1, 1), 2) < iou
    assert boundary_iou(prediction, prediction, (1, 1, 1), 2) == 1


@settings(max_examples=25, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(7, 6, 5), (11, 9)]))
def test_symmetric_and_blind_to_flips_and_permutations(seed, shape):
    random = np.random.default_rng(seed)
    prediction, reference = random.random(shape) < 0.7, random.random(shape) < 0.7
    spacing = random.uniform(0.4, 2, len(shape))
    value = boundary_iou(prediction, reference, spacing, 1)
    assert boundary_iou(reference, prediction, spacing, 1) == value
    assert boundary_iou(np.flip(prediction), np.flip(reference), spacing, 1) == value
    assert boundary_iou(prediction.T, reference.T, spacing[::-1], 1) == value


def test_empty_masks():
    nothing, something = np.zeros((4, 4), dtype=bool), np.eye(4, dtype=bool)
    assert boundary_iou(nothing, nothing, (1, 1), 1) is None
    assert boundary_iou(nothing, something, (1, 1), 1) == 0
    assert boundary_iou(something, nothing, (1, 1), 1) == 0


def test_refusals():
    mask = np.eye(4, dtype=bool)
    for distance in (-1, float("nan")):
        with pytest.raises(ConfigurationError, match="width"):
            boundary_iou(mask, mask, (1, 1), distance)
    with pytest.raises(InputError, match="boolean"):
        boundary_iou(mask.astype(int), mask, (1, 1), 1)
    with pytest.raises(GeometryMismatchError, match="shape"):
        boundary_iou(mask, mask[:3], (1, 1), 1)
    with pytest.raises(InputError, match="spacing"):
        boundary_iou(mask, mask, (1, -1), 1)
