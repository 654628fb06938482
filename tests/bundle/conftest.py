"""A small nnU-Net v2 result folder with random weights, as nnU-Net writes them."""

from __future__ import annotations

import copy
import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from medseg.modeling.networks.plain_conv_unet import PlainConvUNet
from medseg.modeling.networks.residual_encoder_unet import ResidualEncoderUNet

UNETS = "dynamic_network_architectures.architectures.unet"
RESAMPLING = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
PLANS = {
    "dataset_name": "Dataset007_Twin-Boxes",
    "plans_name": "nnUNetPlans",
    "original_median_spacing_after_transp": [2.0, 1.0, 1.0],
    "image_reader_writer": "SimpleITKIO",
    "transpose_forward": [0, 1, 2],
    "transpose_backward": [0, 1, 2],
    "experiment_planner_used": "ExperimentPlanner",
    "label_manager": "LabelManager",
    "foreground_intensity_properties_per_channel": {
        "0": {"max": 9.0, "mean": 2.0, "median": 2.0, "min": -5.0, "percentile_00_5": -4.0,
              "percentile_99_5": 8.0, "std": 3.0}
    },
    "configurations": {},
}  # fmt: skip
DATASET = {
    "channel_names": {"0": "MRI"},
    "labels": {"background": 0, "front": 1, "back": 2},
    "numTraining": 4,
    "file_ending": ".nii.gz",
}


class NnunetFolder:
    """Dictionaries that a test changes, and `write`, which puts them into ``path``."""

    def __init__(self, root: Path, configuration: str = "3d_fullres", *, residual: bool = False) -> None:
        self.configuration = configuration
        self.path = root / f"nnUNetTrainer__nnUNetPlans__{configuration}"
        self.plans, self.dataset = copy.deepcopy(PLANS), copy.deepcopy(DATASET)
        self.dims = 2 if configuration == "2d" else 3
        self.residual = residual
        self.plans["configurations"][configuration] = self._configuration()
        self.checkpoint = {}
        self.folds = {"fold_0": 0}

    @property
    def chosen(self) -> dict:
        """The configuration's dictionary."""
        return self.plans["configurations"][self.configuration]

    @property
    def arguments(self) -> dict:
        """The network's arguments."""
        return self.chosen["architecture"]["arch_kwargs"]

    def _configuration(self) -> dict:
        dims = self.dims
        counts = {"n_blocks_per_stage": [1, 2]} if self.residual else {"n_conv_per_stage": [2, 2]}
        return {
            "data_identifier": f"nnUNetPlans_{self.configuration}",
            "preprocessor_name": "DefaultPreprocessor",
            "batch_size": 2,
            "patch_size": [8] * dims,
            "spacing": [1.0] * dims,
            "normalization_schemes": ["ZScoreNormalization"],
            "use_mask_for_norm": [False],
            "resampling_fn_data": "resample_data_or_seg_to_shape",
            "resampling_fn_data_kwargs": dict(RESAMPLING),
            "resampling_fn_probabilities": "resample_data_or_seg_to_shape",
            "resampling_fn_probabilities_kwargs": RESAMPLING | {"order": 1},
            "architecture": {
                "network_class_name": f"{UNETS}.{'ResidualEncoder' if self.residual else 'PlainConv'}UNet",
                "arch_kwargs": {
                    "n_stages": 2,
                    "features_per_stage": [4, 6],
                    "conv_op": f"torch.nn.modules.conv.Conv{dims}d",
                    "kernel_sizes": [[3] * dims, [3] * dims],
                    "strides": [[1] * dims, [2] * dims],
                    **counts,
                    "n_conv_per_stage_decoder": [2],
                    "conv_bias": True,
                    "norm_op": f"torch.nn.modules.instancenorm.InstanceNorm{dims}d",
                    "norm_op_kwargs": {"eps": 1e-05, "affine": True},
                    "dropout_op": None,
                    "dropout_op_kwargs": None,
                    "nonlin": "torch.nn.LeakyReLU",
                    "nonlin_kwargs": {"inplace": True},
                },
                "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
            },
        }

    def network(self, seed: int = 0) -> torch.nn.Module:
        """The network that a fold's weights are of."""
        given, kind = self.arguments, ResidualEncoderUNet if self.residual else PlainConvUNet
        outputs = len(self.dataset["labels"]) - ("regions_class_order" in self.dataset)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            return kind(
                len(self.dataset["channel_names"]),
                outputs,
                given["features_per_stage"],
                given["kernel_sizes"],
                given["strides"],
                given.get("n_blocks_per_stage") or given["n_conv_per_stage"],
                given["n_conv_per_stage_decoder"],
            ).eval()

    def weights(self, seed: int = 0) -> dict[str, torch.Tensor]:
        """The same weights by nnU-Net's names, many of them twice."""
        result = {}
        for key, value in self.network(seed).state_dict().items():
            for name in _their_names(key):
                result[name] = value
        return result

    def write(self) -> Path:
        """Writes the whole folder and gives its path."""
        self.path.mkdir(parents=True, exist_ok=True)
        (self.path / "plans.json").write_text(json.dumps(self.plans))
        (self.path / "dataset.json").write_text(json.dumps(self.dataset))
        for fold, seed in self.folds.items():
            (self.path / fold).mkdir(exist_ok=True)
            torch.save(self.content(seed), self.path / fold / "checkpoint_final.pth")
        return self.path

    def content(self, seed: int = 0) -> dict:
        """A checkpoint with what nnU-Net puts beside the weights."""
        return {
            "network_weights": None if "network_weights" in self.checkpoint else self.weights(seed),
            "optimizer_state": {"state": {0: {"momentum_buffer": torch.zeros(3)}}, "param_groups": []},
            "grad_scaler_state": None,
            "logging": {"mean_fg_dice": [np.float64(0.25), np.float32(0.5)], "epoch": np.arange(3)},
            "_best_ema": np.float64(0.5),
            "current_epoch": 2,
            "init_args": {
                "plans": self.plans,
                "configuration": self.configuration,
                "fold": seed,
                "dataset_json": self.dataset,
                "device": torch.device("cpu"),
            },
            "trainer_name": "nnUNetTrainer",
            "inference_allowed_mirroring_axes": tuple(range(self.dims)),
        } | self.checkpoint


def _their_names(key: str) -> list[str]:
    """What nnU-Net calls a tensor of our networks; the reverse of what the importer does."""
    key = re.sub(r"^stem\.", "encoder.stem.convs.0.", key)
    key = re.sub(r"^encoder\.(\d+)\.(\d+)\.(conv|norm)\.", r"encoder.stages.\1.0.convs.\2.\3.", key)
    key = re.sub(r"^encoder\.(\d+)\.(\d+)\.(conv\d|skip)\.", r"encoder.stages.\1.blocks.\2.\3.", key)
    key = key.replace(".skip.", ".skip.1.")
    key = re.sub(r"^decoder\.levels\.(\d+)\.(\d+)\.", r"decoder.stages.\1.convs.\2.", key)
    key = key.replace("decoder.up.", "decoder.transpconvs.").replace("decoder.heads.", "decoder.seg_layers.")
    names = [key]
    numbered = re.sub(r"\.conv\.(?=weight|bias)", ".all_modules.0.", key)
    numbered = re.sub(r"\.norm\.(?=weight|bias)", ".all_modules.1.", numbered)
    names += [numbered] if numbered != key else []
    return names + [f"decoder.{name}" for name in names if name.startswith("encoder.")]


@pytest.fixture
def nnunet_folder(tmp_path):
    """A small ``3d_fullres`` model, not written yet."""
    return NnunetFolder(tmp_path)


@pytest.fixture
def make_nnunet_folder(tmp_path):
    """Other kinds of it."""
    return lambda *arguments, **options: NnunetFolder(tmp_path, *arguments, **options)
