from __future__ import annotations

import json

import pytest

from medseg.cli.main import main
from medseg.errors import ConfigurationError
from medseg.workflows import demo


@pytest.mark.parametrize("times", [1, 2])
def test_demo(tmp_path, capsys, times):
    out = tmp_path / "new" / "out"
    for _ in range(times):
        assert main(["demo", "-o", str(out)]) == 0
    err = capsys.readouterr().err
    for side in ("left", "right"):
        folder = out / f"{side}_hippocampus"
        assert str(folder / "report.html") in err
        assert "ICBM152" in (folder / "report.html").read_text()
        record = json.loads((folder / "measurements.json").read_text())
        volumes = [
            m["value"] for m in record["measurements"] if m["name"] == "volume_ml" and m["instance"] is None
        ]
        assert 2.0 < sum(volumes) < 5.5, "a hippocampus of the template has about 3 to 4 ml"
        assert {p.name for p in folder.iterdir()} >= {
            "segmentation.nii.gz",
            "instances.nii.gz",
            "preview.png",
        }


def test_a_demo_that_cannot_write(tmp_path, capsys):
    (tmp_path / "file").write_text("in the way")
    assert main(["demo", "-o", str(tmp_path / "file")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_without_nilearn(monkeypatch):
    monkeypatch.setattr(demo, "find_spec", lambda name: None)
    with pytest.raises(ConfigurationError, match=r"medseg\[demo\]"):
        demo.template_path()
