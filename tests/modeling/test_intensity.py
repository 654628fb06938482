from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor
from monai.transforms import NormalizeIntensity, ScaleIntensityRangePercentiles

from medseg.errors import ConfigurationError
from medseg.modeling.intensity import NormalizeFieldOfView, field_of_view


def _scan(shape=(14, 12, 10), seed=0):
    return np.random.default_rng(seed).gamma(4.0, 50.0, shape).astype(np.float32)


def _padded(values, after=3):
    return np.pad(values, [(0, after)] * values.ndim)


def test_without_padding_it_is_monais_clip_and_z_score():
    image = torch.from_numpy(np.stack([_scan(), 1000 * _scan(seed=1)]))
    clip = ScaleIntensityRangePercentiles(0.5, 99.5, 0, 1, clip=True, channel_wise=True)
    expected = NormalizeIntensity(channel_wise=True)(clip(image))
    torch.testing.assert_close(NormalizeFieldOfView()(image), expected, atol=1e-4, rtol=1e-4)


def test_padding_changes_nothing_inside_and_is_the_mean_outside():
    scan = _scan()
    plain = NormalizeFieldOfView()(scan[None])[0].numpy()
    padded = NormalizeFieldOfView()(_padded(scan)[None])[0].numpy()
    inside = tuple(slice(0, n) for n in scan.shape)
    np.testing.assert_allclose(padded[inside], plain, atol=1e-6)
    outside = np.ones(padded.shape, bool)
    outside[inside] = False
    assert (padded[outside] == 0).all()


def test_two_dimensions():
    scan = _scan((30, 20))
    assert field_of_view(_padded(scan)).sum() == scan.size


def test_dark_tissue_is_no_padding():
    scan = _scan()
    scan[4:9, 4:8, :] = 0
    assert field_of_view(scan).all(), "it holds no corner"
    scan = _scan()
    scan[0, 0, 0] = 0
    assert field_of_view(scan).all(), "one voxel is no padding"
    small = _scan()
    small[0, 0, 0], small[4:9, 4:8, 4:8] = 0, 0
    assert field_of_view(small).all(), "the part with the corner is too small"
    assert field_of_view(np.full((4, 4, 4), 7.0)).all(), "a constant image has no outside"


def test_a_constant_image_is_zero():
    assert not NormalizeFieldOfView()(np.full((1, 4, 4, 4), 7.0)).any()


def test_metadata_stays():
    affine = torch.diag(torch.tensor([2.0, 3.0, 4.0, 1.0], dtype=torch.float64))
    image = MetaTensor(torch.from_numpy(_scan()[None]), affine=affine)
    before = image.clone()
    result = NormalizeFieldOfView()(image)
    assert isinstance(result, MetaTensor)
    torch.testing.assert_close(result.affine, affine)
    torch.testing.assert_close(image.as_tensor(), before.as_tensor())


@pytest.mark.parametrize(("lower", "upper"), [(-1, 99), (50, 50), (1, 101)])
def test_percentiles_out_of_range_are_refused(lower, upper):
    with pytest.raises(ConfigurationError, match="percentiles"):
        NormalizeFieldOfView(lower, upper)
