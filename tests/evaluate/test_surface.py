import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage
from scipy.spatial.distance import cdist

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.evaluate import surface
from medseg.evaluate.surface import boundary_voxels, surface_distances

ONE = (1.0, 1.0, 1.0)
ANISOTROPIC = (0.85, 1.2, 0.9)
METRICS = {
    "hausdorff": surface.hausdorff_mm,
    "max": surface.hd_max_mm,
    "pooled": surface.hd_pooled_mm,
    "surfel": surface.hd_surfel_mm,
    "assd": surface.assd_mm,
    "masd": surface.masd_mm,
    "nsd": lambda d: surface.nsd(d, 1.5),
    "nsd_surfel": lambda d: surface.nsd_surfel(d, 1.5),
}


def ball(shape, centre, radius, spacing=ONE):
    grid = np.indices(shape)
    return sum((grid[n] * spacing[n] - centre[n]) ** 2 for n in range(len(shape))) <= radius * radius


def all_metrics(prediction, reference, spacing):
    distances = surface_distances(prediction, reference, spacing)
    return {name: metric(distances) for name, metric in METRICS.items()}


def blobs(seed, shape):
    noise = ndimage.gaussian_filter(np.random.default_rng(seed).random(shape), 1.5)
    return noise > np.quantile(noise, 0.8)


@pytest.fixture
def surface_distance(monkeypatch):
    monkeypatch.setattr(np, "Inf", np.inf, raising=False)  # what the wheel of 0.1 still writes
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield pytest.importorskip("surface_distance", reason="surface-distance is not installed")


# Published numbers


@pytest.mark.parametrize(
    ("radius", "pooled", "largest", "surfel"),
    [(3, 0.0, 0.0, 0.0), (4, 0.0, 36.1386, 36.1248), (5, 34.07, 38.33, 38.24), (6, 37.39, 40.32, 40.25)],
)
def test_a_missed_satellite_in_three_definitions_of_hd95(radius, pooled, largest, surfel):
    prediction = ball((96, 64, 64), (28, 32, 32), 14)
    reference = prediction | ball((96, 64, 64), (80, 32, 32), radius)
    distances = surface_distances(prediction, reference, ONE)
    assert surface.hd_pooled_mm(distances) == pytest.approx(pooled, abs=0.006)
    assert surface.hd_max_mm(distances) == pytest.approx(largest, abs=0.006)
    assert surface.hd_surfel_mm(distances) == pytest.approx(surfel, abs=0.006)


def test_cubes_of_surface_distance():
    reference = np.zeros((100, 100, 100), dtype=bool)
    prediction = reference.copy()
    reference[:50] = True
    prediction[:51] = True
    distances = surface_distances(prediction, reference, (2, 1, 1))
    assert surface.asd_surfel_mm(distances) == pytest.approx((0.322, 0.339), abs=0.001)
    assert surface.surfel_overlap(distances, 1) == pytest.approx((0.842, 0.830), abs=0.001)
    assert surface.nsd_surfel(distances, 1) == pytest.approx(0.836, abs=0.001)
    assert surface.hd_surfel_mm(distances, 100) == surface.hausdorff_mm(distances) == 2
    assert surface.hd_surfel_mm(distances) == 2


def test_two_voxels_two_apart_of_surface_distance():
    prediction, reference = np.zeros((2, 128, 128, 2), dtype=bool).transpose(0, 3, 1, 2)
    prediction, reference = prediction[0], reference[0]
    prediction, reference = prediction.copy(), reference.copy()
    reference[50, 70] = prediction[50, 72] = True
    distances = surface_distances(prediction, reference, (2, 1))
    assert surface.asd_surfel_mm(distances) == pytest.approx((1.5, 1.5))
    assert surface.hd_surfel_mm(distances, 100) == surface.hd_surfel_mm(distances) == 2
    assert surface.surfel_overlap(distances, 1) == pytest.approx((0.5, 0.5))
    assert surface.nsd(distances, 1) == 0
    assert surface.nsd_surfel(distances, 1) == pytest.approx(0.5)


@pytest.mark.parametrize(
    ("first", "second", "spacing", "directed", "both"),
    [
        ((20, (20, 20, 20)), (20, (19, 19, 19)), ONE, 1.7320508, 1.7320508),
        ((33, (19, 33, 22)), (33, (20, 33, 22)), ONE, 1.0, 1.0),
        ((20, (20, 33, 22)), (40, (20, 33, 22)), ONE, 20.09975124, 20.22374842),
        ((20, (20, 20, 20)), (20, (19, 19, 19)), ANISOTROPIC, 2.08086514, 2.2671568),
        ((15, (20, 33, 22)), (30, (20, 33, 22)), ANISOTROPIC, 15.439641, 15.62594),
    ],
)
def test_spheres_of_monai(first, second, spacing, directed, both):
    prediction = ball((99, 99, 99), first[1], first[0], spacing)
    reference = ball((99, 99, 99), second[1], second[0], spacing)
    distances = surface_distances(prediction, reference, spacing)
    assert surface.hausdorff_mm(distances) == pytest.approx(both, abs=1e-5)
    assert distances.prediction_mm.max() == pytest.approx(directed, abs=1e-5)


def test_hd95_spheres_of_monai():
    prediction, reference = (ball((99, 99, 99), (20, 33, 22), radius) for radius in (20, 40))
    distances = surface_distances(prediction, reference, ONE)
    assert np.percentile(distances.prediction_mm, 95) == pytest.approx(19.92485885)
    assert surface.hd_max_mm(distances) == pytest.approx(20.09975124)


def test_a_shifted_ball_voxels_against_surfels():
    prediction, reference = (ball((40, 30, 30), (centre, 15, 15), 10) for centre in (15, 18))
    distances = surface_distances(prediction, reference, ONE)
    assert surface.nsd(distances, 1) == pytest.approx(0.434, abs=0.001)
    assert surface.nsd_surfel(distances, 1) == pytest.approx(0.522, abs=0.001)
    assert surface.assd_mm(distances) == pytest.approx(1.442, abs=0.001)
    assert np.mean(surface.asd_surfel_mm(distances)) == pytest.approx(1.158, abs=0.001)


def test_squares_of_panoptica():
    prediction, reference = np.zeros((50, 50), dtype=bool), np.zeros((50, 50), dtype=bool)
    reference[20:40, 10:20] = True
    prediction[20:35, 10:20] = True
    distances = surface_distances(prediction, reference, (1, 1))
    assert surface.hausdorff_mm(distances) == 5
    assert surface.hd_pooled_mm(distances) == 5


# Oracles


@pytest.mark.parametrize(
    ("shape", "spacing"), [((22, 18, 15), ONE), ((22, 18, 15), (0.6, 1.1, 4.0)), ((40, 33), (0.5, 1.7))]
)
@pytest.mark.parametrize("seed", range(3))
def test_brute_force_over_boundary_voxels(shape, spacing, seed):
    prediction, reference = blobs(seed, shape), blobs(seed + 50, shape)

    def boundary(mask):
        return np.argwhere(mask ^ ndimage.binary_erosion(mask)) * np.asarray(spacing)

    table = cdist(boundary(prediction), boundary(reference))
    ours = surface_distances(prediction, reference, spacing)
    there, back = table.min(axis=1), table.min(axis=0)
    both = np.concatenate([there, back])
    np.testing.assert_allclose(np.sort(ours.prediction_mm), np.sort(there), rtol=1e-6)
    np.testing.assert_allclose(np.sort(ours.reference_mm), np.sort(back), rtol=1e-6)
    approx = {"rel": 1e-6, "abs": 1e-9}
    assert surface.hausdorff_mm(ours) == pytest.approx(both.max(), **approx)
    assert surface.hd_pooled_mm(ours) == pytest.approx(np.percentile(both, 95), **approx)
    assert surface.assd_mm(ours) == pytest.approx(both.mean(), **approx)
    assert surface.masd_mm(ours) == pytest.approx((there.mean() + back.mean()) / 2, **approx)
    assert surface.asd_prediction_to_reference_mm(ours) == pytest.approx(there.mean(), **approx)
    assert surface.asd_reference_to_prediction_mm(ours) == pytest.approx(back.mean(), **approx)
    assert surface.nsd(ours, spacing[0]) == pytest.approx((both <= spacing[0] * (1 + 1e-7)).mean())


@pytest.mark.filterwarnings("ignore:.*always_return_as_numpy:FutureWarning")
@pytest.mark.parametrize(("shape", "spacing"), [((24, 20, 18), (0.9, 1.5, 3.0)), ((50, 40), (0.5, 1.5))])
def test_equals_monai(shape, spacing):
    torch = pytest.importorskip("torch")
    metrics = pytest.importorskip("monai.metrics")
    prediction, reference = blobs(3, shape), blobs(9, shape)
    pair = [torch.from_numpy(mask.astype(np.float32))[None, None] for mask in (prediction, reference)]
    options = {"include_background": True, "spacing": list(spacing)}
    ours = surface_distances(prediction, reference, spacing)
    theirs = {
        "hausdorff": metrics.compute_hausdorff_distance(*pair, **options),
        "max": metrics.compute_hausdorff_distance(*pair, percentile=95, **options),
        "assd": metrics.compute_average_surface_distance(*pair, symmetric=True, **options),
        "nsd": metrics.compute_surface_dice(*pair, class_thresholds=[1.5 + 1e-6], **options),
    }
    for name, value in theirs.items():
        assert METRICS[name](ours) == pytest.approx(float(value), rel=1e-5), name


@pytest.mark.parametrize("spacing", [ONE, (0.7, 1.3, 2.9), (1.0, 1.0), (0.4, 1.1)])
@pytest.mark.parametrize("seed", range(2))
def test_equals_surface_distance(spacing, seed, surface_distance):
    shape = (21, 19, 17)[: len(spacing)]
    prediction, reference = blobs(seed, shape), blobs(seed + 7, shape)
    theirs = surface_distance.compute_surface_distances(reference, prediction, spacing)
    ours = surface_distances(prediction, reference, spacing)
    close = {"rel": 1e-6, "abs": 1e-7}
    for percent in (50, 95, 100):
        assert surface.hd_surfel_mm(ours, percent) == pytest.approx(
            surface_distance.compute_robust_hausdorff(theirs, percent), **close
        )
    assert surface.asd_surfel_mm(ours) == pytest.approx(
        surface_distance.compute_average_surface_distance(theirs), **close
    )
    for tolerance in (0.3, 1.05, 2.2):
        assert surface.surfel_overlap(ours, tolerance) == pytest.approx(
            surface_distance.compute_surface_overlap_at_tolerance(theirs, tolerance), **close
        )
        assert surface.nsd_surfel(ours, tolerance) == pytest.approx(
            surface_distance.compute_surface_dice_at_tolerance(theirs, tolerance), **close
        )


@pytest.mark.parametrize("shape", [(7, 6, 5), (9, 8), (1, 4, 4), (5, 1, 1)])
def test_boundary_voxels_equal_erosion(shape, monkeypatch):
    monkeypatch.setattr("medseg.evaluate.masks._SLAB_VOXELS", 50)
    mask = np.random.default_rng(4).random(shape) < 0.8
    expected = np.flatnonzero(mask ^ ndimage.binary_erosion(mask))
    assert boundary_voxels(mask).tolist() == expected.tolist()


# Properties


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10_000), st.sampled_from([(9, 8, 7), (12, 10)]))
def test_symmetric_and_blind_to_flips_permutations_and_surroundings(seed, shape):
    random = np.random.default_rng(seed)
    spacing = random.uniform(0.4, 4, len(shape))
    prediction, reference = random.random(shape) < 0.3, random.random(shape) < 0.3
    expected = pytest.approx(all_metrics(prediction, reference, spacing), rel=1e-6, abs=1e-9)
    assert all_metrics(reference, prediction, spacing) == expected
    axis = int(random.integers(len(shape)))
    assert all_metrics(np.flip(prediction, axis), np.flip(reference, axis), spacing) == expected
    order = random.permutation(len(shape))
    turned = (prediction.transpose(order), reference.transpose(order))
    assert all_metrics(*turned, spacing[order]) == expected
    wide = [np.pad(mask, [(2, 5)] * len(shape)) for mask in (prediction, reference)]
    assert all_metrics(*wide, spacing) == expected


def test_doubled_spacing_doubles_distances():
    prediction, reference = blobs(1, (15, 15, 15)), blobs(2, (15, 15, 15))
    once = surface_distances(prediction, reference, (1, 1.5, 2))
    twice = surface_distances(prediction, reference, (2, 3, 4))
    assert surface.assd_mm(twice) == pytest.approx(2 * surface.assd_mm(once))
    assert surface.hausdorff_mm(twice) == pytest.approx(2 * surface.hausdorff_mm(once))
    assert surface.nsd(twice, 2) == pytest.approx(surface.nsd(once, 1))


def test_a_growing_shift_is_never_better():
    reference = ball((60, 30, 30), (15, 15, 15), 9)
    before = None
    for shift in range(0, 30, 3):
        now = all_metrics(np.roll(reference, shift, axis=0), reference, (0.8, 1, 1))
        if shift == 0:
            assert all(now[name] == (1 if "nsd" in name else 0) for name in now)
        if before is not None:
            for name, value in now.items():
                worse = value <= before[name] + 1e-9 if "nsd" in name else value >= before[name] - 1e-9
                assert worse, (name, shift)
        before = now


def test_a_wider_tolerance_is_never_stricter():
    distances = surface_distances(blobs(1, (15, 15, 15)), blobs(2, (15, 15, 15)), ONE)
    for metric in (surface.nsd, surface.nsd_surfel):
        values = [metric(distances, tolerance) for tolerance in (0, 0.5, 1, 2, 5, 100)]
        assert values == sorted(values)
        assert values[-1] == 1


def test_three_steps_of_a_tenth_are_within_three_tenths():
    prediction, reference = np.zeros((9, 1), dtype=bool), np.zeros((9, 1), dtype=bool)
    prediction[1] = reference[4] = True
    assert surface.nsd(surface_distances(prediction, reference, (0.1, 0.1)), 0.3) == 1


# Empty masks and refusals


def test_empty_masks():
    nothing, something = np.zeros((5, 5, 5), dtype=bool), ball((5, 5, 5), (2, 2, 2), 1)
    both_empty = all_metrics(nothing, nothing, ONE)
    assert set(both_empty.values()) == {None}
    for pair in ((nothing, something), (something, nothing)):
        distances = surface_distances(*pair, ONE)
        values = all_metrics(*pair, ONE)
        assert values.pop("nsd") == values.pop("nsd_surfel") == 0
        assert set(values.values()) == {None}
        assert surface.asd_surfel_mm(distances) is None
        assert surface.asd_prediction_to_reference_mm(distances) is None
        assert surface.asd_reference_to_prediction_mm(distances) is None
        assert surface.surfel_overlap(distances, 1) is None
        assert not distances.comparable


@pytest.mark.parametrize(
    ("prediction", "reference", "spacing", "error", "words"),
    [
        (np.zeros((3, 3, 3), np.uint8), np.zeros((3, 3, 3), bool), ONE, InputError, "uint8"),
        (np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), float), ONE, InputError, "float64"),
        (np.zeros(3, bool), np.zeros(3, bool), (1,), InputError, "1 axes"),
        (np.zeros((3,) * 4, bool), np.zeros((3,) * 4, bool), (1,) * 4, InputError, "4 axes"),
        (np.zeros((3, 3, 3), bool), np.zeros((3, 3, 4), bool), ONE, GeometryMismatchError, "one grid"),
        (np.zeros((3, 3, 3), bool), np.zeros((3, 3, 3), bool), (1, 1), InputError, "3 positive"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, np.nan), InputError, "nan"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, 0), InputError, "positive"),
        (np.zeros((3, 3), bool), np.zeros((3, 3), bool), (1, np.inf), InputError, "inf"),
    ],
)
def test_refusals(prediction, reference, spacing, error, words):
    with pytest.raises(error, match=words):
        surface_distances(prediction, reference, spacing)


def test_refused_options():
    mask = ball((5, 5, 5), (2, 2, 2), 1)
    with pytest.raises(ConfigurationError, match="threads"):
        surface_distances(mask, mask, ONE, threads=0)
    distances = surface_distances(mask, mask, ONE)
    for metric in (surface.nsd, surface.nsd_surfel, surface.surfel_overlap):
        for tolerance in (-1, float("nan"), float("inf")):
            with pytest.raises(ConfigurationError, match="tolerance"):
                metric(distances, tolerance)
