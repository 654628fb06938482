from __future__ import annotations

import numpy as np
import pytest
import torch
from monai.networks.nets import UNet

from medseg.bundle.bundle import load_bundle
from medseg.errors import ConfigurationError
from medseg.inference.predictor import Predictor, PredictorOptions
from medseg.spatial import Case, Geometry, Volume


def _case(shape=(14, 11, 9), spacing=1.0, seed=0):
    geometry = Geometry(np.diag([spacing, spacing, spacing, 1.0]), shape)
    values = np.random.default_rng(seed).normal(size=shape).astype(np.float32)
    return Case("a", {"image": Volume(values, geometry, source="sha256:" + "0" * 64)})


@pytest.fixture
def flat_folder(bundle_folder):
    """A bundle for 2D images, with weights."""
    network = bundle_folder.config["network_def"]
    network["spatial_dims"] = 2
    bundle_folder.config["inferer"]["roi_size"] = [8, 8]
    bundle_folder.metadata["medseg"]["dims"] = 2
    arguments = {key: value for key, value in network.items() if key != "_target_"}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        return bundle_folder.save(UNet(**arguments).state_dict())


def test_many_cases_one_load(trained_folder):
    predictor = Predictor(load_bundle(trained_folder.path))
    told = []
    first = predictor.predict(_case(), lambda done, total: told.append((done, total)))
    again = predictor.predict(_case())
    np.testing.assert_array_equal(first.segmentation.labels, again.segmentation.labels)
    assert told[-1][0] == told[-1][1] and [d for d, _ in told] == sorted(d for d, _ in told)
    assert first.segmentation.source == "sha256:" + "0" * 64
    assert (predictor.device, predictor.precision) == ("cpu", "fp32")
    assert predictor.backend in ("torch", "openvino")
    assert set(first.durations_s) == {"prepare", "network", "restore"}


def test_mirroring_changes_and_symmetrises(trained_folder):
    plain = Predictor(load_bundle(trained_folder.path))
    mirrored = Predictor(load_bundle(trained_folder.path), PredictorOptions(tta=True))
    case = _case((8, 8, 8))
    flipped = Case("b", {"image": Volume(case.channels["image"].array[::-1].copy(), case.geometry)})
    one, two = (p.predict(case).segmentation.labels for p in (plain, mirrored))
    assert (one != two).any()
    blocks = [mirrored._blocks(mirrored._prepare(c), mirrored._size(c), "a", None) for c in (case, flipped)]
    raw = [np.concatenate([block.values for block in stream], axis=1) for stream in blocks]
    np.testing.assert_allclose(raw[0], raw[1][:, ::-1], atol=1e-5)


def test_two_dimensional_bundles(flat_folder):
    predictor = Predictor(load_bundle(flat_folder.path))
    prediction = predictor.predict(_case((20, 13, 1)))
    assert prediction.segmentation.labels.shape == (20, 13, 1)
    assert prediction.segmentation.labels.any()


def test_without_clean_up(trained_folder):
    del trained_folder.config["clean"]
    prediction = Predictor(load_bundle(trained_folder.write().path)).predict(_case())
    assert prediction.warnings == ()


def test_no_mirrored_copy_without_axes(trained_folder):
    del trained_folder.config["mirror_axes"]
    with pytest.raises(ConfigurationError, match="declares no mirror_axes"):
        Predictor(load_bundle(trained_folder.write().path), PredictorOptions(tta=True))
