"""A stated limit is kept, or the case is refused with what it would need."""

from __future__ import annotations

import numpy as np
import pytest

from medseg.bundle.bundle import load_bundle
from medseg.errors import ConfigurationError, LimitExceededError
from medseg.inference import memory
from medseg.inference.memory import CaseSize, bytes_for_sums, check_preparing, extra_bytes, parse_bytes
from medseg.inference.predictor import Predictor, PredictorOptions
from medseg.spatial import Case, Geometry, Volume

GB = 10**9


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("4GB", 4 * GB),
        ("512 MiB", 512 * 2**20),
        ("1.5g", 1_500_000_000),
        ("2e9", 2 * GB),
        ("10", 10),
        ("3kb", 3000),
    ],
)
def test_sizes(text, count):
    assert parse_bytes(text) == count


@pytest.mark.parametrize("text", ["", "GB", "0", "-1GB", "4XB", "4 G B", "much"])
def test_what_is_no_size(text):
    with pytest.raises(ConfigurationError, match="is no size of memory"):
        parse_bytes(text)


def test_extra_bytes_sees_what_was_held_and_let_go():
    def work():
        np.ones(60 * 2**20, np.uint8).sum()

    assert 40 * 2**20 < extra_bytes(work) < 200 * 2**20


@pytest.fixture
def small_process(monkeypatch):
    monkeypatch.setattr(memory, "resident_bytes", lambda: GB)


def test_what_is_left_for_sums(small_process):
    size = CaseSize(prepared_bytes=GB, label_bytes=100 * 10**6, voxels=100 * 10**6, cleaned=False)
    planes = 6 * 64 * 2**20
    assert bytes_for_sums(size, 300 * 10**6, 3 * GB, "a") == 3 * GB - GB - 400 * 10**6 - planes
    cleaned = CaseSize(GB, 100 * 10**6, 150 * 10**6, cleaned=True)
    assert bytes_for_sums(cleaned, 0, 3 * GB, "a") == 3 * GB - GB - 100 * 10**6 - 1500 * 10**6


def test_refusals_name_the_figure(small_process):
    size = CaseSize(GB, GB, GB, cleaned=False)
    check_preparing(size, 5 * GB, "a")
    with pytest.raises(LimitExceededError, match=r"case 'a' needs about 5\.00 GB .* limit is 4\.00 GB"):
        check_preparing(size, 4 * GB, "a")
    with pytest.raises(LimitExceededError, match=r"more than 2\.90 GB \(0\.50 GB for a batch of windows\)"):
        bytes_for_sums(size, GB // 2, 2 * GB, "a")


def test_a_limit_changes_the_way_not_the_labels(trained_folder, monkeypatch):
    bundle = load_bundle(trained_folder.path)
    values = np.random.default_rng(0).normal(size=(30, 26, 40)).astype(np.float32)
    case = Case("a", {"image": Volume(values, Geometry(np.eye(4), values.shape))})
    free = Predictor(bundle).predict(case).segmentation.labels
    # Room for the sums of a part of the cross-section alone.
    monkeypatch.setattr("medseg.inference.predictor.bytes_for_sums", lambda *_: 40_000)
    told = []
    limited = Predictor(bundle, PredictorOptions(memory_limit_bytes=10**12))
    found = limited.predict(case, lambda done, total: told.append(total)).segmentation.labels
    Predictor(bundle).predict(case, lambda done, total: told.append(total))
    assert told[0] > told[-1]
    assert np.count_nonzero(found != free) <= 1


def test_a_case_beyond_the_limit_is_refused_before_it_is_prepared(trained_folder):
    predictor = Predictor(load_bundle(trained_folder.path), PredictorOptions(memory_limit_bytes=10**6))
    case = Case("a", {"image": Volume(np.ones((9, 9, 9), np.float32), Geometry(np.eye(4), (9, 9, 9)))})
    with pytest.raises(LimitExceededError, match=r"memory limit is 0\.00 GB"):
        predictor.predict(case)
    roomy = Predictor(load_bundle(trained_folder.path), PredictorOptions(memory_limit_bytes=10**12))
    assert roomy.predict(case).segmentation.labels.shape == (9, 9, 9)
