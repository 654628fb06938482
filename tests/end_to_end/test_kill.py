"""SIGKILL at random moments leaves only whole case folders."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time

import nibabel as nib
import numpy as np
import pytest

KILLS = 6
WHOLE = {
    "segmentation.nii.gz",
    "measurements.json",
    "measurements.csv",
    "report.html",
    "preview.png",
    "case.json",
}


@pytest.mark.slow
def test_kill(trained_folder, tmp_path):
    (tmp_path / "in").mkdir()
    rng, dice = np.random.default_rng(0), random.Random(7)
    for n in range(40):
        image = nib.Nifti1Image(rng.normal(size=(24, 24, 24)).astype(np.float32), np.eye(4))
        nib.save(image, tmp_path / "in" / f"{n:02d}.nii.gz")
    command = [
        sys.executable,
        "-m",
        "medseg",
        "segment",
        str(tmp_path / "in"),
        "-b",
        str(trained_folder.path),
    ]
    seen = 0
    for _ in range(KILLS):
        out = tmp_path / "out"
        process = subprocess.Popen(
            [*command, "-o", str(out)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        deadline = time.monotonic() + 120
        while process.poll() is None and not list(out.glob("[0-9]*")) and time.monotonic() < deadline:
            time.sleep(0.05)
        time.sleep(dice.uniform(0, 1.5))
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
        for folder in out.glob("[0-9]*"):
            seen += 1
            assert {p.name for p in folder.iterdir()} >= WHOLE
            np.asarray(nib.load(folder / "segmentation.nii.gz").dataobj)
            json.loads((folder / "case.json").read_text())
    assert seen >= KILLS, "the kills came too early to show anything"
    done = subprocess.run([*command, "-o", str(out)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert len(list(out.glob("[0-9]*"))) == 40
    assert not list(out.glob(".*")), "leftovers of killed runs are swept"
