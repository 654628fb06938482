"""Writes the configuration and the metadata of a bundle that comes from nnU-Net."""

from __future__ import annotations

import json
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

import yaml

from medseg.bundle.files import METADATA
from medseg.bundle.importers.nnunet_plans import NnunetModel

CONFIG = "configs/inference.yaml"
RESEARCH = "Research use only. Not a medical device; not for clinical decisions."
_BATCH = {2: 4, 3: 1}
_STAND_ALONE = """
# The stand-alone ends
bundle_root: .
dataset_dir: .
image: "$@dataset_dir + '/image.nii.gz'"
output_dir: "$@bundle_root + '/eval'"
device: "$torch.device('cuda:0' if torch.cuda.is_available() else 'cpu')"
load:
  _target_: monai.transforms.Compose
  transforms:
    - {_target_: monai.transforms.LoadImaged, keys: image, ensure_channel_first: true}
    - _target_: medseg.modeling.nnunet_transforms.ToNnunetGridd
      keys: image
      grid: "@grid"
      transform: "@prepare"
restore:
  _target_: monai.transforms.Compose
  transforms:
    - {_target_: medseg.modeling.nnunet_transforms.RestoreNnunetLabelsd, keys: pred, reference: image PAINT}
    - "@save"
save:
  _target_: monai.transforms.SaveImaged
  keys: pred
  output_dir: "@output_dir"
  output_postfix: segmentation
  output_dtype: uint16
  resample: false
  separate_folder: false
  print_log: false
dataset:
  _target_: monai.data.Dataset
  data:
    - image: "@image"
  transform: "@load"
dataloader: {_target_: monai.data.DataLoader, dataset: "@dataset", batch_size: 1}
network: "$@network_def.to(@device)"
checkpoint:
  _target_: monai.handlers.CheckpointLoader
  load_path: "$@bundle_root + '/models/model.pt'"
  load_dict: {model: "@network"}
  map_location: "@device"
evaluator:
  _target_: monai.engines.SupervisedEvaluator
  device: "@device"
  val_data_loader: "@dataloader"
  network: "@network"
  inferer: "@inferer"
  postprocessing: "@restore"
  val_handlers: ["@checkpoint"]
run:
  - "$@evaluator.run()"
"""
_HEAD = """\
# One scan, stand-alone (from the bundle's folder):
#   python -m monai.bundle run --config_file configs/inference.yaml --image SCAN.nii.gz --output_dir OUT
# or: medseg segment SCAN.nii.gz -b BUNDLE -o OUT
"""


def write_configs(
    folder: Path,
    model: NnunetModel,
    folds: int,
    mirror_axes: tuple[int, ...],
    modality: str,
    weights_sha256: str | None,
) -> None:
    """Writes ``configs/inference.yaml`` and ``configs/metadata.json``, over earlier ones.

    Args:
        folder: the bundle's.
        model: what nnU-Net's files say.
        folds: how many networks the mean is taken of.
        mirror_axes: of the prepared volume.
        modality: as the metadata names it.
        weights_sha256: of ``models/model.pt``, or None where there is none yet.
    """
    (folder / "configs").mkdir(exist_ok=True)
    config = yaml.safe_dump(_config(model, folds, mirror_axes), sort_keys=False, default_flow_style=None)
    ends = _STAND_ALONE.replace(" PAINT", "" if model.regions is None else ', paint: "@paint"')
    (folder / CONFIG).write_text(_HEAD + config + ends, encoding="utf-8")
    metadata = json.dumps(_metadata(model, folds, modality, weights_sha256), indent=2)
    (folder / METADATA).write_text(metadata + "\n", encoding="utf-8")


def _config(model: NnunetModel, folds: int, mirror_axes: tuple[int, ...]) -> dict[str, Any]:
    flat = model.dims == 2
    network = model.network.definition(len(model.channels), model.outputs)
    if flat:
        network = {"_target_": "medseg.modeling.networks.wrappers.SliceBySlice", "network": network}
    if folds > 1:
        copies = [json.loads(json.dumps(network)) for _ in range(folds)]
        network = {"_target_": "medseg.modeling.networks.wrappers.FoldEnsemble", "networks": copies}
    config: dict[str, Any] = {
        "grid": {
            "rule": "nnunet",
            "orientation": model.orientation,
            "transpose": list(model.transpose),
            "spacing_mm": [None, *model.spacing] if flat else list(model.spacing),
            "order": model.order,
            "separate": model.separate,
            "in_pixels": model.flat,
        },
        "network_def": network,
        "prepare": _intensities(model),
        "inferer": {
            "_target_": "medseg.modeling.inferers.SpreadWindowInferer",
            "roi_size": [1, *model.patch] if flat else list(model.patch),
            "overlap": 0.5,
            "sw_batch_size": _BATCH[model.dims],
        },
        "activation": {"_target_": "monai.transforms.Activations"},
        "mirror_axes": list(mirror_axes),
    }
    if model.regions is not None:
        config["paint"] = [index for _, index in model.regions]
    return config


def _intensities(model: NnunetModel) -> dict[str, Any]:
    channels = model.channels
    result: dict[str, Any] = {
        "_target_": "medseg.modeling.nnunet.NormalizeByScheme",
        "schemes": [channel.scheme for channel in channels],
        "use_mask": [channel.use_mask for channel in channels],
    }
    if any(channel.scheme == "ct" for channel in channels):
        result |= {
            "means": [channel.mean for channel in channels],
            "stds": [channel.std for channel in channels],
            "lowers": [channel.lower for channel in channels],
            "uppers": [channel.upper for channel in channels],
        }
    return result


def label_names(model: NnunetModel) -> dict[int, str]:
    """Names that a label table takes, by index; other characters become underscores."""
    names: dict[int, str] = {}
    for name, index in model.labels.items():
        plain = re.sub(r"[^A-Za-z0-9 _.()+-]", "_", name).lstrip(" _.()+-")[:56] or "label"
        names[index] = plain if plain not in names.values() else f"{plain} {index}"
    return names


def _metadata(model: NnunetModel, folds: int, modality: str, weights_sha256: str | None) -> dict[str, Any]:
    names = label_names(model)
    channels = [_plain(channel.name) for channel in model.channels]
    outputs = ["background", *names.values()] if model.regions is None else [n for n, _ in model.regions]
    what = f"{_plain(model.dataset)} by nnU-Net, configuration {model.configuration}"
    return {
        "version": "0.1.0",
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {"medseg": version("medseg")},
        "task": f"Segmentation of {', '.join(names.values())}"[:200],
        "description": f"{what}; the mean of {folds} networks." if folds > 1 else f"{what}.",
        "authors": "not stated by the result folder that it was imported from",
        "copyright": "not stated by the result folder that it was imported from",
        "intended_use": RESEARCH,
        "network_data_format": {
            "inputs": {
                "image": {
                    "type": "image",
                    "format": "magnitude",
                    "modality": modality,
                    "num_channels": len(channels),
                    "channel_def": {str(n): name for n, name in enumerate(channels)},
                }
            },
            "outputs": {
                "pred": {
                    "type": "image",
                    "format": "segmentation",
                    "num_channels": model.outputs,
                    "channel_def": {str(n): _plain(name) for n, name in enumerate(outputs)},
                }
            },
        },
        "medseg": {
            "schema": 1,
            "modality": modality,
            "dims": 2 if model.flat else 3,
            "channels": channels,
            "labels": [{"index": index, "name": name} for index, name in sorted(names.items())],
            "weights": None
            if weights_sha256 is None
            else {"file": "models/model.pt", "sha256": weights_sha256},
            "intended_use": RESEARCH,
            "limits": _limits(model),
        },
    }


def _limits(model: NnunetModel) -> list[str]:
    limits = ["What it was trained on, and how well it does, is not stated by the folder that it comes from."]
    if model.orientation is None and not model.flat:
        limits.append(
            "The network sees a scan's axes as they are stored, as in nnU-Net: scans must be stored in the "
            "orientation of the training data."
        )
    return limits


def _plain(text: str) -> str:
    return re.sub(r"[^\x20-\x7e]", "_", text)[:120].strip() or "unnamed"
