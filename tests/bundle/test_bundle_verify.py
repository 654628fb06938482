"""verify_bundle: each check passes on a sound bundle and fails on its own defect."""

from __future__ import annotations

import json

import torch

from medseg.bundle.verify import verify_bundle

NAMES = ["files", "metadata", "components", "weights", "forward pass", "labels", "card"]


def _failed(folder):
    result = verify_bundle(folder.path)
    assert [check.name for check in result.checks] == NAMES
    assert not result.passed
    return {check.name: check.message for check in result.checks if not check.passed}


def test_a_sound_bundle_passes(trained_folder):
    result = verify_bundle(trained_folder.path)
    assert result.passed, result
    record = result.record()
    assert json.loads(json.dumps(record)) == record
    assert record["bundle"] == "boxes_mr_unet3d"
    assert [check["name"] for check in record["checks"]] == NAMES


def test_names_missing_files(trained_folder):
    (trained_folder.path / "LICENSE").unlink()
    assert _failed(trained_folder) == {
        "files": "bundle boxes_mr_unet3d: LICENSE is missing; get the bundle again from its source"
    }


def test_what_hangs_on_a_failed_check_is_not_checked(trained_folder):
    trained_folder.metadata["medseg"]["dims"] = 7
    failed = _failed(trained_folder.write())
    assert set(failed) == {"metadata", "components", "weights", "forward pass", "labels"}
    assert failed["components"] == "not checked, because metadata failed"
    assert failed["labels"] == "not checked, because forward pass failed"


def test_components_beyond_the_list_fail(trained_folder):
    trained_folder.config["prepare"] = {"_target_": "os.system", "command": "id"}
    failed = _failed(trained_folder.write())
    assert "asks for os.system at prepare" in failed["components"]
    assert failed["weights"] == "not checked, because components failed"


def test_damaged_weights_fail(trained_folder):
    trained_folder.weights.write_bytes(b"x")
    failed = _failed(trained_folder)
    assert "has sha256" in failed["weights"]
    assert failed["forward pass"] == "not checked, because weights failed"


def test_a_network_that_cannot_take_the_window_fails(trained_folder):
    trained_folder.metadata["medseg"]["channels"].append("t2")
    trained_folder.metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 2
    assert "the network fails on 2 channels of [8, 8, 8]" in _failed(trained_folder.write())["forward pass"]


def test_a_network_that_gives_another_shape_fails(trained_folder, monkeypatch):
    from monai.networks.nets import UNet

    monkeypatch.setattr(UNet, "forward", lambda self, x: x[..., :-1])
    assert "gives (1, 1, 8, 8, 7) for a window" in _failed(trained_folder)["forward pass"]
    monkeypatch.setattr(UNet, "forward", lambda self, x: [x])
    assert "gives () for a window" in _failed(trained_folder)["forward pass"]
    monkeypatch.setattr(UNet, "forward", lambda self, x: x + float("nan"))
    assert "NaN or infinite values on zeros" in _failed(trained_folder)["forward pass"]


def test_labels_that_do_not_match_the_network_fail(trained_folder):
    trained_folder.metadata["medseg"]["labels"].pop()
    failed = _failed(trained_folder.write())
    assert set(failed) == {"labels"}
    assert "gives 3 channels" in failed["labels"]
    assert "1 labels with background need 2" in failed["labels"]


def test_a_card_without_its_sections_fails(trained_folder):
    card = trained_folder.path / "docs/README.md"
    card.write_text("# X\n\nresearch\nuse only\n\n## Training data\n\n## Metrics\n", encoding="utf-8")
    assert "has no section Licence, Limits" in _failed(trained_folder)["card"]
    card.write_text("# X\n## Data\n## License\n## Results\n## Known limits\n", encoding="utf-8")
    assert "does not say 'research use only'" in _failed(trained_folder)["card"]
    card.write_text("## Data\n## License\n## Results\n## Limits\nResearch\nuse only.", encoding="utf-8")
    assert verify_bundle(trained_folder.path).passed


def test_verifying_changes_nothing(trained_folder):
    before = {path: path.read_bytes() for path in trained_folder.path.rglob("*") if path.is_file()}
    torch.manual_seed(1)
    state = torch.get_rng_state()
    verify_bundle(trained_folder.path)
    assert torch.equal(torch.get_rng_state(), state)
    assert before == {path: path.read_bytes() for path in trained_folder.path.rglob("*") if path.is_file()}
