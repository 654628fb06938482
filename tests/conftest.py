"""Fixtures that several packages' tests share."""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml

METADATA = {
    "version": "0.1.0",
    "monai_version": "1.6.1",
    "pytorch_version": "2.10.0",
    "numpy_version": "1.26.0",
    "required_packages_version": {},
    "task": "two boxes",
    "description": "A network for tests.",
    "authors": "the maintainers",
    "copyright": "none",
    "network_data_format": {
        "inputs": {"image": {"type": "image", "format": "magnitude", "modality": "MR", "num_channels": 1}},
        "outputs": {"pred": {"type": "image", "format": "segmentation", "num_channels": 3}},
    },
    "medseg": {
        "schema": 1,
        "modality": "MR",
        "dims": 3,
        "channels": ["t1"],
        "labels": [
            {"index": 1, "name": "front", "code": {"scheme": "SCT", "value": "1", "meaning": "Front"}},
            {"index": 2, "name": "back", "kind": "thing", "colour": [1, 2, 3]},
        ],
        "weights": None,
        "intended_use": "tests",
        "limits": ["is not trained"],
    },
}
CONFIG = {
    "device": "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')",
    "grid": {"orientation": "RAS", "spacing_mm": [1.0, 1.0, 1.0]},
    "network_def": {
        "_target_": "monai.networks.nets.UNet",
        "spatial_dims": 3,
        "in_channels": 1,
        "out_channels": 3,
        "channels": [4, 8],
        "strides": [2],
        "norm": "INSTANCE",
    },
    "prepare": {
        "_target_": "monai.transforms.Compose",
        "transforms": [
            {"_target_": "monai.transforms.ScaleIntensity", "channel_wise": True},
            {"_target_": "monai.transforms.NormalizeIntensity", "channel_wise": True},
        ],
    },
    "inferer": {
        "_target_": "monai.inferers.SlidingWindowInferer",
        "roi_size": [8, 8, 8],
        "sw_batch_size": 2,
        "overlap": 0.5,
        "mode": "gaussian",
    },
    "activation": {"_target_": "monai.transforms.Activations", "softmax": True, "dim": 0},
    "mirror_axes": [0],
    "clean": {"_target_": "medseg.modeling.transforms.CleanLabels", "keep_largest": [1], "fill_holes": True},
    "run": ["$@evaluator.run()"],
}
CARD = "# Boxes\n\nFor research use only.\n\n## Data\n\n## Licence\n\n## Results\n\n## Limits\n"


class BundleFolder:
    """A small bundle on disk; tests change its dictionaries and write it again."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.metadata = copy.deepcopy(METADATA)
        self.config = copy.deepcopy(CONFIG)
        for folder in ("configs", "models", "docs"):
            (path / folder).mkdir(parents=True)
        (path / "docs/README.md").write_text(CARD, encoding="utf-8")
        (path / "LICENSE").write_text("Apache-2.0\n", encoding="utf-8")
        self.write()

    @property
    def weights(self) -> Path:
        return self.path / "models/model.pt"

    def write(self) -> BundleFolder:
        (self.path / "configs/metadata.json").write_text(json.dumps(self.metadata), encoding="utf-8")
        self.write_config(yaml.safe_dump(self.config, sort_keys=False))
        return self

    def write_config(self, text: str | bytes) -> None:
        content = text.encode("utf-8", "surrogatepass") if isinstance(text, str) else text
        (self.path / "configs/inference.yaml").write_bytes(content)

    def pin(self) -> BundleFolder:
        """Pins the weights that lie there, whatever they are."""
        digest = hashlib.sha256(self.weights.read_bytes()).hexdigest()
        self.metadata["medseg"]["weights"] = {"file": "models/model.pt", "sha256": digest}
        return self.write()

    def save(self, content: object) -> BundleFolder:
        """Saves ``content`` with torch as the weights and pins them."""
        import torch

        torch.save(content, self.weights)
        return self.pin()

    def network(self) -> object:
        """The network of the unchanged configuration, built by MONAI."""
        import torch
        from monai.networks.nets import UNet

        arguments = {key: value for key, value in CONFIG["network_def"].items() if key != "_target_"}
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(7)
            return UNet(**arguments)


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keeps the tests, and the commands that they start, out of the user's cache."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MEDSEG_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session")
def new_bundle() -> type[BundleFolder]:
    """Makes a sound bundle at a path."""
    return BundleFolder


@pytest.fixture
def bundle_folder(tmp_path: Path) -> BundleFolder:
    """A sound bundle without weights; ``.save(network.state_dict())`` gives it some."""
    return BundleFolder(tmp_path / "boxes_mr_unet3d")


@pytest.fixture
def trained_folder(bundle_folder: BundleFolder) -> BundleFolder:
    """A sound bundle with weights."""
    return bundle_folder.save(bundle_folder.network().state_dict())
