"""nnU-Net's intensities and windows, against their rules written out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from medseg.errors import ConfigurationError, InputError
from medseg.inference.windows import plan_windows
from medseg.modeling.inferers import SpreadWindowInferer
from medseg.modeling.networks.plain_conv_unet import PlainConvUNet
from medseg.modeling.networks.wrappers import FoldEnsemble
from medseg.modeling.nnunet import NormalizeByScheme
from medseg.modeling.windows import nnunet_weights, spread_starts


def _image(seed=0):
    values = np.random.default_rng(seed).normal(50, 20, (1, 6, 7, 8)).astype(np.float32)
    values[:, :2] = 0
    return torch.from_numpy(values)


def test_each_scheme():
    image = _image()
    values = image.numpy()
    inside = values[values != 0]
    expected = {
        "none": values,
        "rescale01": (values - values.min()) / np.ptp(values),
        "zscore": (values - values.mean()) / values.std(),
    }
    for scheme, normal in expected.items():
        np.testing.assert_allclose(NormalizeByScheme([scheme], [False])(image), normal, atol=1e-5)
    masked = NormalizeByScheme(["zscore"], [True])(image).numpy()
    assert not masked[:, :2].any() and abs(masked[:, 2:].mean()) < 1e-5
    np.testing.assert_allclose(masked[values != 0], (inside - inside.mean()) / inside.std(), atol=1e-5)
    colours = image.clamp(0, 255)
    np.testing.assert_allclose(NormalizeByScheme(["rgb01"], [False])(colours), colours / 255)
    ct = NormalizeByScheme(["ct"], [False], [40.0], [10.0], [30.0], [60.0])(image)
    np.testing.assert_allclose(ct, (values.clip(30, 60) - 40) / 10, rtol=1e-6)


def test_holes_belong_to_the_mask():
    image = torch.ones(1, 5, 5, 5) + torch.rand(1, 5, 5, 5)
    image[0, 2, 2, 2] = 0
    assert float(NormalizeByScheme(["zscore"], [True])(image)[0, 2, 2, 2]) < -1


def test_empty_images_stay_empty():
    for scheme, mask in (("zscore", True), ("zscore", False), ("rescale01", False)):
        assert not NormalizeByScheme([scheme], [mask])(torch.zeros(1, 2, 2, 2)).any()


def test_refuses_what_does_not_fit():
    with pytest.raises(ConfigurationError, match="'other' is not known"):
        NormalizeByScheme(["other"], [False])
    with pytest.raises(ConfigurationError, match="as many masks"):
        NormalizeByScheme(["none"], [])
    with pytest.raises(ConfigurationError, match="ct needs a mean"):
        NormalizeByScheme(["ct"], [False])
    with pytest.raises(InputError, match="has 1 channels; expected 2"):
        NormalizeByScheme(["none"] * 2, [False] * 2)(_image())
    with pytest.raises(InputError, match="colours of 0 to 255"):
        NormalizeByScheme(["rgb01"], [False])(_image() - 100)
    with pytest.raises(ConfigurationError, match="at least one network"):
        FoldEnsemble([])
    with pytest.raises(ConfigurationError, match="of 2 levels takes"):
        PlainConvUNet(1, 2, [2, 4], [[3, 3]], [[1, 1]], [1, 1], [1])


@pytest.mark.parametrize("roi", [(8, 8, 8), (5, 12, 20), (1, 16, 9)])
def test_weights_are_a_filtered_point(roi):
    point = np.zeros(roi)
    point[tuple(n // 2 for n in roi)] = 1
    blurred = ndimage.gaussian_filter(point, [n / 8 for n in roi], 0, mode="constant", cval=0)
    halves = torch.from_numpy(10 * blurred / blurred.max()).half()
    halves[halves == 0] = halves[halves != 0].min()
    torch.testing.assert_close(nnunet_weights(roi), halves.float(), rtol=1e-3, atol=6e-8)


@pytest.mark.parametrize(
    ("length", "roi", "starts"),
    [
        (110, 64, [0, 23, 46]),
        (64, 64, [0]),
        (65, 64, [0, 1]),
        (100, 40, [0, 20, 40, 60]),
        (5, 1, [0, 1, 2, 3, 4]),
    ],
)
def test_windows_lie_equally_far_apart(length, roi, starts):
    assert spread_starts(length - roi, roi * 0.5 if roi > 1 else 1) == starts
    plan = plan_windows((length,), (roi,), 0.5 if roi > 1 else 0.0, spread=True)
    assert [start[0] for start in plan.starts] == starts


def test_the_inferer_blends_what_the_windows_give():
    torch.manual_seed(0)
    image = torch.randn(2, 1, 13, 6, 9)
    inferer = SpreadWindowInferer([8, 8, 8], 0.5, 3)
    torch.testing.assert_close(inferer(image, lambda x: torch.cat([x, -x], 1)), torch.cat([image, -image], 1))
    seen = []
    inferer(image[:1], lambda x: seen.append(len(x)) or x)
    assert sum(seen) == len(plan_windows((13, 6, 9), (8, 8, 8), 0.5, spread=True).starts)
