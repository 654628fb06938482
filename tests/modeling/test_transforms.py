from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.data import MetaTensor

from medseg.errors import ConfigurationError, GeometryMismatchError
from medseg.modeling.inferers import AutocastInferer
from medseg.modeling.transforms import Applyd, CleanLabels, RestoreLabelsd, ToGridd
from medseg.phantoms import oblique_geometry
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import grid_with, resample_array

OWN = oblique_geometry((12, 9, 10), (0.8, 1.5, 1.1), (20.0, 5.0, 0.0), "PIR")


def _image(seed=0):
    values = np.random.default_rng(seed).normal(size=(1, *OWN.shape)).astype(np.float32)
    return MetaTensor(torch.from_numpy(values), affine=torch.tensor(OWN.affine))


def test_onto_the_grid_is_the_one_resampler():
    image = _image()
    labels = _image()
    labels[:] = torch.as_tensor(image.numpy() > 0).float()
    moved = ToGridd(["image", "label"], "RAS", [1, 1, 1], labels=["label"])({"image": image, "label": labels})
    target = grid_with(OWN, (1.0, 1.0, 1.0), "RAS")
    np.testing.assert_allclose(moved["image"].affine, target.affine)
    expected = resample_array(image[0].numpy(), OWN, target, order=1, fill=0)
    np.testing.assert_array_equal(moved["image"][0].numpy(), expected)
    assert set(np.unique(moved["label"].numpy())) == {0.0, 1.0}


def test_images_without_an_affine_are_refused():
    with pytest.raises(GeometryMismatchError, match="carries no affine"):
        ToGridd("image", "RAS", [1, 1, 1])({"image": torch.zeros(1, 4, 4, 4)})


def test_there_and_back_gives_the_labels_again():
    truth = np.zeros(OWN.shape, np.uint8)
    truth[3:9, 2:7, 2:8] = 1
    image = MetaTensor(torch.from_numpy(truth[None].astype(np.float32)), affine=torch.tensor(OWN.affine))
    data = ToGridd("image", "LPS", [0.5, 0.5, 0.5])({"image": image})
    inside = torch.as_tensor(data["image"])[0]
    data["pred"] = torch.stack([1 - inside, inside])
    restored = RestoreLabelsd("pred", "image", CleanLabels(keep_largest=[1]))(data)["pred"]
    assert restored.shape == (1, *OWN.shape)
    np.testing.assert_allclose(restored.affine, OWN.affine)
    np.testing.assert_array_equal(restored[0].numpy(), truth)


def test_apply_changes_its_keys_alone():
    assert Applyd("a", lambda x: x + 1)({"a": 1, "b": 2}) == {"a": 2, "b": 2}


def test_clean_labels_in_order():
    labels = np.zeros((10, 10, 10), np.uint8)
    labels[1:4, 1:4, 1:4], labels[2, 2, 2], labels[8, 8, 8] = 1, 0, 1
    labels[6:8, 6:8, 1:3] = 2
    geometry = Geometry(np.eye(4), labels.shape)
    before = labels.copy()
    cleaned = CleanLabels(keep_largest=[1], fill_holes=True).clean(labels, geometry)
    assert cleaned.removed == {1: 1}
    assert cleaned.labels[2, 2, 2] == 1 and cleaned.labels[8, 8, 8] == 0
    np.testing.assert_array_equal(labels, before)
    small = CleanLabels(min_volume_mm3=10)
    assert small.clean(labels, geometry).removed == {1: 1, 2: 1}
    np.testing.assert_array_equal(CleanLabels()(labels, geometry), labels)


def test_a_negative_volume_is_refused():
    with pytest.raises(ConfigurationError, match="min_volume_mm3 is -1"):
        CleanLabels(min_volume_mm3=-1)


def test_autocast_gives_float32_near_the_network():
    network = torch.nn.Conv3d(1, 2, 3, padding=1)
    inputs = torch.randn(1, 1, 8, 8, 8)
    outputs = AutocastInferer()(inputs, network)
    assert outputs.dtype == torch.float32
    torch.testing.assert_close(outputs, network(inputs), atol=0.05, rtol=0.05)
