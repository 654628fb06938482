"""Each bundle gives one label map, through medseg and stock MONAI, on an oblique, anisotropic scan."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

from medseg.io.read import read_segmentation, read_volume
from medseg.io.write import write_volume
from medseg.phantoms import oblique_geometry
from medseg.spatial.geometry import Geometry
from medseg.spatial.resample import resample_volume
from medseg.workflows.demo import BOXES_MM, template_path

ROOT = Path(__file__).resolve().parents[2]
MEDSEG = Path(sys.executable).with_name("medseg")


def _oblique_hippocampus(path):
    """The template's left hippocampus on a grid of another order, turned by 20°, with uneven spacing."""
    lower, upper = BOXES_MM["left_hippocampus"]
    turned = oblique_geometry((46, 34, 52), (0.9, 1.3, 1.1), (20.0, -12.0, 8.0), "PIL")
    affine = turned.affine.copy()
    middle = (np.array(lower) + np.array(upper)) / 2
    affine[:3, 3] += middle - turned.centre_mm
    grid = Geometry(affine, turned.shape)
    write_volume(resample_volume(read_volume(template_path()), grid), path)


SCANS = {"hippocampus_mr_unet3d": _oblique_hippocampus}
BUNDLES = sorted(path.name for path in (ROOT / "bundles").iterdir() if path.is_dir())


def test_every_bundle_has_a_parity_case():
    assert set(BUNDLES) == set(SCANS)


@pytest.mark.slow
@pytest.mark.parametrize("name", BUNDLES)
def test_both_routes_give_one_label_map(name, tmp_path):
    scan = tmp_path / "scan.nii.gz"
    SCANS[name](scan)
    mine = _segment(scan, name, tmp_path, "torch")
    stock = [sys.executable, "-m", "monai.bundle", "run", "--config_file", "configs/inference.yaml"]
    stock += ["--image", str(scan), "--output_dir", str(tmp_path / "stock")]
    theirs = subprocess.run(stock, cwd=ROOT / "bundles" / name, capture_output=True, text=True, check=False)
    assert theirs.returncode == 0, theirs.stderr[-2000:]
    stocks = read_segmentation(tmp_path / "stock" / "scan_segmentation.nii.gz")
    assert mine.geometry.same_grid(read_volume(scan).geometry)
    assert mine.geometry.same_grid(stocks.geometry)
    assert len(np.unique(mine.labels)) == len(mine.table) + 1, (
        "every label must occur for this to say anything"
    )
    np.testing.assert_array_equal(mine.labels, stocks.labels)
    if find_spec("openvino"):
        openvinos = _segment(scan, name, tmp_path, "openvino")
        assert np.mean(openvinos.labels == stocks.labels) >= 0.9999


def _segment(scan, name, folder, backend):
    """The label map that the command gives; the backend must be told beside it."""
    command = [MEDSEG, "segment", scan, "-b", name, "-o", folder / backend, "--backend", backend]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    told = json.loads((folder / backend / "scan" / "case.json").read_text())
    assert told["provenance"]["backend"] == backend
    return read_segmentation(folder / backend / "scan" / "segmentation.nii.gz")
