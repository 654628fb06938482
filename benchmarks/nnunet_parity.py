"""Whether an imported nnU-Net v2 model gives the label maps that nnU-Net itself gives.

    python benchmarks/nnunet_parity.py --work FOLDER [--configuration 3d_fullres|2d|3d_lowres]
        [--planner ExperimentPlanner|nnUNetPlannerResEncM] [--regions] [--data FOLDER] [--json FILE]

Runs in an environment that has nnunetv2 beside medseg; keep it apart from the project's own, since nnunetv2
brings its own torch. It takes a few hippocampus crops, plans with nnU-Net's planner, shrinks the network so
that a CPU can train it, trains two folds for some iterations (nnU-Net's trainer builds and saves them), then
segments held-out scans with nnU-Net's predictor and with medseg: one fold and two, mirrored copies on and
off. Some of the scans are changed first: thick slices, other spacing, a margin of zeros. Prints the share of
equal voxels and of equal foreground voxels (Dice of all foreground) for each.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import sys
from pathlib import Path

import nibabel
import numpy as np

DATASET = "Dataset904_HippocampusParity"
TRAINING, HELD_OUT = 10, 3


def main() -> None:
    """Makes the model where it is missing, then compares."""
    arguments = _arguments()
    work = arguments.work.resolve()
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(work / name)
    os.environ.update(nnUNet_compile="f", nnUNet_n_proc_DA="1", nnUNet_def_n_proc="1")
    import torch

    torch.set_num_threads(arguments.threads)
    model = make_model(work, arguments)
    scans = held_out(arguments.data, work)
    rows = compare(model, scans, work)
    for row in rows:
        line = (
            "{case:28} folds {folds:4} mirrored {tta!s:5} equal {equal:.6f} dice {dice:.6f} "
            "foreground {foreground}"
        )
        print(line.format(**row))
    worst = min(row["equal"] for row in rows)
    print(f"least share of equal voxels: {worst:.6f} over {len(rows)} label maps")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))
    empty = sum(row["foreground"] == 0 for row in rows)
    if empty:
        print(f"{empty} label maps are empty on both sides, which shows nothing: train longer (--iterations)")
    sys.exit(0 if worst >= 0.999 and not empty else 1)


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = Path(os.environ.get("MEDSEG_DATA", "../shared/data")) / "hippocampus"
    parser.add_argument("--work", type=Path, required=True, help="where the model and the images are kept")
    parser.add_argument("--data", type=Path, default=default)
    parser.add_argument("--configuration", default="3d_fullres")
    parser.add_argument("--planner", default="ExperimentPlanner")
    parser.add_argument("--regions", action="store_true")
    parser.add_argument("--iterations", type=int, default=80)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path)
    return parser.parse_args()


def make_model(work: Path, arguments: argparse.Namespace) -> Path:
    """The result folder of nnU-Net, two folds trained for some iterations."""
    from nnunetv2.experiment_planning import plan_and_preprocess_api as api

    raw = work / "raw" / DATASET
    if not raw.exists():
        _write_dataset(arguments.data, raw, regions=arguments.regions)
        api.extract_fingerprints([904], num_processes=1)
    plans = api.plan_experiments([904], experiment_planner_class_name=arguments.planner)
    path = work / "preprocessed" / DATASET / f"{plans}.json"
    content = json.loads(path.read_text())
    if "3d_lowres" not in content["configurations"]:
        _add_low_resolution(content)
    for configuration in content["configurations"].values():
        _shrink(configuration)
    path.write_text(json.dumps(content))
    model = work / "results" / DATASET / f"nnUNetTrainer__{plans}__{arguments.configuration}"
    if not (model / "fold_1" / "checkpoint_final.pth").exists():
        api.preprocess([904], plans, (arguments.configuration,), (1,))
        for fold in (0, 1):
            _train(arguments, plans, fold)
    return model


def _write_dataset(data: Path, raw: Path, *, regions: bool) -> None:
    images = sorted((data / "imagesTr").glob("hippocampus_*.nii.gz"))[:TRAINING]
    for folder in ("imagesTr", "labelsTr"):
        (raw / folder).mkdir(parents=True)
    for image in images:
        name = image.name.removesuffix(".nii.gz")
        shutil.copy(image, raw / "imagesTr" / f"{name}_0000.nii.gz")
        shutil.copy(data / "labelsTr" / image.name, raw / "labelsTr" / image.name)
    labels = {"background": 0, "anterior": 1, "posterior": 2}
    if regions:
        labels = {"background": 0, "hippocampus": [1, 2], "posterior": 2}
    description = {
        "channel_names": {"0": "MRI"},
        "labels": labels,
        "numTraining": len(images),
        "file_ending": ".nii.gz",
    }
    if regions:
        description["regions_class_order"] = [1, 2]
    (raw / "dataset.json").write_text(json.dumps(description))


def _add_low_resolution(plans: dict) -> None:
    full = plans["configurations"]["3d_fullres"]
    low = json.loads(json.dumps(full))
    low["spacing"] = [1.7 * value for value in full["spacing"]]
    low["data_identifier"] = f"{plans['plans_name']}_3d_lowres"
    plans["configurations"]["3d_lowres"] = low


def _shrink(configuration: dict) -> None:
    if "architecture" in configuration:
        known = configuration["architecture"]["arch_kwargs"]
        known["features_per_stage"] = [min(8 * 2**n, 48) for n in range(known["n_stages"])]
        configuration["batch_size"] = min(
            configuration["batch_size"], 2 if len(known["strides"][0]) == 3 else 12
        )


def _train(arguments: argparse.Namespace, plans: str, fold: int) -> None:
    """nnU-Net's trainer builds, saves and describes the network; a short loop of its own trains it.

    The loop leaves out augmentation, which would take most of a CPU's time.
    """
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args
    from nnunetv2.training.dataloading.nnunet_dataset import nnUNetDatasetBlosc2

    torch.manual_seed(fold)
    trainer = get_trainer_from_args(
        "904", arguments.configuration, fold, "nnUNetTrainer", plans, device=torch.device("cpu")
    )
    trainer.initialize()
    trainer.configure_rotation_dummyDA_mirroring_and_inital_patch_size()  # tells the axes to mirror
    dataset = nnUNetDatasetBlosc2(trainer.preprocessed_dataset_folder)
    cases = [dataset.load_case(name)[:2] for name in dataset.identifiers]
    cases = [(np.asarray(data[:]), np.asarray(seg[:])) for data, seg in cases]
    rng = np.random.default_rng(fold)
    optimizer = torch.optim.Adam(trainer.network.parameters(), lr=3e-3)
    patch = trainer.configuration_manager.patch_size
    regions = [(1, 2), (2,)] if arguments.regions else None
    for step in range(arguments.iterations):
        drawn = [
            _drawn(*cases[rng.integers(len(cases))], patch, rng) for _ in range(12 if len(patch) == 2 else 2)
        ]
        image, label = (torch.from_numpy(np.stack(part)) for part in zip(*drawn, strict=True))
        loss = _loss(trainer.network(image)[0], label[:, 0].long().clamp(min=0), regions)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 20 == 0:
            print(f"fold {fold} step {step} loss {float(loss):.3f}", flush=True)
    trainer._best_ema = np.float64(0.5)  # as after real epochs: the pickle then holds NumPy's scalars
    trainer.save_checkpoint(str(Path(trainer.output_folder) / "checkpoint_final.pth"))
    base = Path(trainer.output_folder_base)
    (base / "plans.json").write_text(json.dumps(trainer.plans_manager.plans))
    (base / "dataset.json").write_text(json.dumps(trainer.dataset_json))


def _drawn(data: np.ndarray, seg: np.ndarray, patch: list[int], rng: np.random.Generator) -> tuple:
    """A patch of a case, padded where that is smaller, mirrored at random; for 2D one of its slices."""
    if len(patch) == 2:
        plane = rng.integers(data.shape[1])
        data, seg = data[:, plane], seg[:, plane]
    flips = [axis + 1 for axis in range(len(patch)) if rng.random() < 0.5]
    result = []
    starts = [int(rng.integers(max(n - p, 0) + 1)) for n, p in zip(data.shape[1:], patch, strict=True)]
    for array in (data, seg):
        part = array[(slice(None), *(slice(s, s + p) for s, p in zip(starts, patch, strict=True)))]
        missing = [(0, p - n) for n, p in zip(part.shape[1:], patch, strict=True)]
        result.append(np.flip(np.pad(part, [(0, 0), *missing]), flips))
    return tuple(result)


def _loss(logits, label, regions: list[tuple[int, ...]] | None):  # noqa: ANN001, ANN202
    """Cross-entropy in which the foreground counts more."""
    import torch
    from torch.nn import functional

    if regions is None:
        return functional.cross_entropy(logits, label, weight=torch.tensor([1.0, 4.0, 4.0]))
    wanted = torch.stack([sum((label == index).float() for index in region) for region in regions], 1)
    return functional.binary_cross_entropy_with_logits(logits, wanted, pos_weight=torch.tensor(4.0))


def held_out(data: Path, work: Path) -> list[Path]:
    """Scans that were not trained on: as they are, with thick slices, finer, and within zeros."""
    folder = work / "scans"
    folder.mkdir(exist_ok=True)
    images = sorted((data / "imagesTr").glob("hippocampus_*.nii.gz"))[TRAINING : TRAINING + HELD_OUT]
    paths = []
    for image in images:
        original = nibabel.load(image)
        values = np.asarray(original.dataobj).astype(np.float32)
        affine = original.affine
        variants = {"": (values, affine)}
        if not paths:
            thick = affine @ np.diag([1, 1, 3.7, 1])
            fine = affine @ np.diag([0.8, 1.1, 0.6, 1])
            wide = np.pad(values + 1, ((5, 9), (0, 12), (7, 3)))
            variants |= {
                "_thick": (values[:, :, ::4], thick),
                "_fine": (values, fine),
                "_margin": (wide, affine),
            }
        for suffix, (array, placed) in variants.items():
            path = folder / f"{image.name.removesuffix('.nii.gz')}{suffix}_0000.nii.gz"
            nibabel.save(nibabel.Nifti1Image(array, placed), path)
            paths.append(path)
    return paths


def compare(model: Path, scans: list[Path], work: Path) -> list[dict]:
    """One row per scan, number of folds and mirroring."""
    rows = []
    for folds in ((0,), (0, 1)):
        for tta in (False, True):
            theirs = _predict_theirs(model, scans, folds, tta=tta)
            ours = _predict_ours(model, scans, work, folds, tta=tta)
            for scan, one, two in zip(scans, theirs, ours, strict=True):
                total = int((one > 0).sum() + (two > 0).sum())
                shared = int(((one == two) & (one > 0)).sum())
                rows.append({
                    "case": scan.name.removesuffix("_0000.nii.gz"),
                    "folds": "+".join(map(str, folds)),
                    "tta": tta,
                    "equal": float((one == two).mean()),
                    "dice": 2 * shared / total if total else 1.0,
                    "foreground": total,
                })  # fmt: skip
    return rows


def _predict_theirs(model: Path, scans: list[Path], folds: tuple[int, ...], *, tta: bool) -> list[np.ndarray]:
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(
        use_mirroring=tta, device=torch.device("cpu"), perform_everything_on_device=False, allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), folds, "checkpoint_final.pth")
    reader = predictor.plans_manager.image_reader_writer_class()
    results = []
    for scan in scans:
        image, properties = reader.read_images([str(scan)])
        results.append(np.asarray(predictor.predict_single_npy_array(image, properties)).transpose(2, 1, 0))
    return results


def _predict_ours(
    model: Path, scans: list[Path], work: Path, folds: tuple[int, ...], *, tta: bool
) -> list[np.ndarray]:
    import medseg
    from medseg.bundle.importers.nnunet import ImportOptions, import_nnunet

    out = work / "bundles"
    name = f"hippocampus_mr_{bundle_name(model)}_{'_'.join(map(str, folds))}"
    shutil.rmtree(out / name, ignore_errors=True)
    path = import_nnunet(model, out, ImportOptions(name=name, folds=tuple(map(str, folds))))
    predictor = medseg.Predictor(medseg.load_bundle(path), medseg.PredictorOptions(tta=tta, backend="torch"))
    refs = [medseg.CaseRef(scan.stem, {"MRI": (scan,)}) for scan in scans]
    return [predictor.predict(medseg.read_case(ref)).segmentation.labels for ref in refs]


def bundle_name(model: Path) -> str:
    """A bundle's name may hold small letters, digits and underscores alone."""
    return "".join(c if c.isalnum() else "_" for c in model.name.lower())


if __name__ == "__main__":
    main()
