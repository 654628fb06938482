"""nnU-Net's own predictor and medseg on one model; needs nnunetv2 in an environment of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
@pytest.mark.timeout(3600)
@pytest.mark.parametrize(
    "options", [[], ["--configuration", "2d"], ["--regions"]], ids=["3d", "2d", "regions"]
)
def test_gives_the_label_maps_that_nnunet_gives(options, tmp_path):
    python = os.environ.get("MEDSEG_NNUNET_PYTHON")
    data = Path(os.environ.get("MEDSEG_DATA", ROOT.parent / "shared" / "data")) / "hippocampus"
    if python is None or not data.is_dir():
        pytest.skip("set MEDSEG_NNUNET_PYTHON to a Python that has nnunetv2, and MEDSEG_DATA")
    command = [python, ROOT / "benchmarks" / "nnunet_parity.py", "--work", tmp_path, "--data", data, *options]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-2000:]
