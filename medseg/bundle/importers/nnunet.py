"""From an nnU-Net v2 result folder to a bundle; see `import_nnunet`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, get_args

from medseg.bundle.bundle import load_bundle, resolve_parts
from medseg.bundle.files import file_in_bundle, shown
from medseg.bundle.importers.checkpoint import Checkpoint, read_checkpoint
from medseg.bundle.importers.nnunet_card import write_card
from medseg.bundle.importers.nnunet_config import write_configs
from medseg.bundle.importers.nnunet_network import own_names
from medseg.bundle.importers.nnunet_plans import NnunetModel, read_model
from medseg.bundle.metadata import Modality
from medseg.bundle.store import NAME
from medseg.bundle.weights import check_against, file_sha256
from medseg.errors import BundleNotFoundError, ConfigurationError, InvalidBundleError
from medseg.io.atomic import commit_folder

if TYPE_CHECKING:
    import torch

CHECKPOINTS = ("checkpoint_final.pth", "checkpoint_best.pth")
WEIGHTS = "models/model.pt"
_FOLD = re.compile(r"fold_(\d{1,3}|all)")
_MODALITIES = {
    "CT": r"ct|cbct|ncct|hu",
    "MR": r"mri?|t1\w*|t2\w*|flair|adc|dwi|swi|pd|dce|bold|tof",
    "PT": r"pet|pt|suv|fdg",
    "US": r"us|ultrasound",
}


@dataclass(frozen=True, slots=True)
class ImportOptions:
    """What the result folder does not tell.

    Attributes:
        name: of the bundle; None to make one of the data set's, the modality's and the configuration's.
        folds: such as ``("0",)``; empty for all that are there.
        modality: such as ``CT``; None to tell it from the channels' names.
    """

    name: str | None = None
    folds: tuple[str, ...] = ()
    modality: str | None = None


def import_nnunet(folder: Path, out: Path, options: ImportOptions | None = None) -> Path:
    """Makes a bundle of an nnU-Net v2 result folder, without running or importing anything of it.

    Args:
        folder: named ``Trainer__Plans__configuration``; holds ``plans.json``, ``dataset.json`` and
            ``fold_N/checkpoint_final.pth`` or, where that is missing, ``checkpoint_best.pth``.
        out: folder for bundles; the new one becomes visible there once it is whole.
        options: see `ImportOptions`.

    Returns:
        The new bundle's folder.

    Raises:
        BundleNotFoundError: a file or fold is missing.
        UntrustedBundleError: the plans or a checkpoint ask for code.
        InvalidBundleError: something is damaged, contradicts itself or is not supported.
        ConfigurationError: the options do not fit, or the bundle is there already.
    """
    options = options or ImportOptions()
    folder = Path(folder)
    if not folder.is_dir():
        raise BundleNotFoundError(
            f"{folder} is no folder; expected an nnU-Net v2 result folder (unpack an exported zip first)"
        )
    folds = _folds(folder, options.folds)
    checkpoints = [_checkpoint(folder, fold) for fold in folds]
    model = read_model(folder, _configuration(folder, checkpoints))
    modality = _modality(model, options.modality)
    final = Path(out) / _name(model, modality, options.name)
    if final.exists():
        raise ConfigurationError(f"there is already a bundle {final.name} in {out}; give another --name")
    axes = _mirror_axes(model, checkpoints)
    with commit_folder(final) as working:
        write_configs(working, model, len(folds), axes, modality, weights_sha256=None)
        network = resolve_parts(load_bundle(working), with_weights=False).network
        _write_weights(working, network, checkpoints)
        digest = file_sha256(working / WEIGHTS, final.name)
        write_configs(working, model, len(folds), axes, modality, weights_sha256=digest)
        write_card(working, final.name, model, folds, checkpoints)
        resolve_parts(load_bundle(working))
    return final


def _folds(folder: Path, wanted: tuple[str, ...]) -> list[str]:
    """Which folds to take: those asked for, else all numbered ones, else the one trained on all data."""
    there = sorted(
        (match[1] for path in folder.iterdir() if (match := _FOLD.fullmatch(path.name)) and path.is_dir()),
        key=lambda fold: (not fold.isdigit(), len(fold), fold),
    )
    numbered = [fold for fold in there if fold.isdigit()]
    folds = list(wanted) or numbered or there
    missing = [fold for fold in folds if fold not in there]
    if missing or not folds:
        raise BundleNotFoundError(
            f"{folder.name} has no fold {shown(missing[0])[1:-1] if missing else 'at all'}; there are: "
            f"{', '.join(there) or 'none'}"
        )
    return list(dict.fromkeys(folds))


def _checkpoint(folder: Path, fold: str) -> Checkpoint:
    names = [f"fold_{fold}/{name}" for name in CHECKPOINTS]
    present = [name for name in names if (folder / name).exists()]
    if not present:
        raise BundleNotFoundError(
            f"{folder.name} has neither {names[0]} nor {names[1]}; train the fold first"
        )
    return read_checkpoint(file_in_bundle(folder, present[0]), f"{folder.resolve().name}: {present[0]}")


def _configuration(folder: Path, checkpoints: list[Checkpoint]) -> str:
    """The configuration that was trained, on which the folder's name and all folds agree."""
    found = {checkpoint.configuration for checkpoint in checkpoints}
    parts = folder.resolve().name.split("__")
    if len(parts) == 3:
        found.add(parts[2])
    if len(found) != 1:
        raise InvalidBundleError(
            f"{folder.name}: the folder's name and its checkpoints tell different configurations: "
            f"{', '.join(sorted(shown(name)[1:-1] for name in found))}; expected one training"
        )
    return found.pop()


def _mirror_axes(model: NnunetModel, checkpoints: list[Checkpoint]) -> tuple[int, ...]:
    """Axes of the prepared volume; those of a network for slices come after the slice axis."""
    axes = checkpoints[0].mirror_axes
    if (
        any(checkpoint.mirror_axes != axes for checkpoint in checkpoints)
        or max(axes, default=0) >= model.dims
    ):
        raise InvalidBundleError(
            f"{checkpoints[0].where}: the folds' mirroring axes differ or go beyond {model.dims} axes; "
            "expected those of one training"
        )
    return tuple(axis + 3 - model.dims for axis in axes)


def _write_weights(working: Path, network: torch.nn.Module, checkpoints: list[Checkpoint]) -> None:
    """Every name, shape and number type is compared before a value is read."""
    import torch

    expected = network.state_dict()
    claims = {}
    for number, checkpoint in enumerate(checkpoints):
        prefix = f"members.{number}." if len(checkpoints) > 1 else ""
        inner = "network." if any(key.removeprefix(prefix).startswith("network.") for key in expected) else ""
        for key, claim in own_names(checkpoint).items():
            claims[f"{prefix}{inner}{key}"] = (checkpoint, claim)
    where = checkpoints[0].where if len(checkpoints) == 1 else f"{len(checkpoints)} folds"
    check_against({key: claim for key, (_, claim) in claims.items()}, expected, where)
    state = {key: checkpoint.tensor(claim) for key, (checkpoint, claim) in claims.items()}
    (working / WEIGHTS).parent.mkdir()
    torch.save(state, working / WEIGHTS)


def _modality(model: NnunetModel, given: str | None) -> str:
    known = get_args(Modality)
    if given is not None:
        if given not in known:
            raise ConfigurationError(f"modality {given!r} is not known; expected one of {', '.join(known)}")
        return given
    names = [channel.name for channel in model.channels]
    found = {
        modality
        for modality, pattern in _MODALITIES.items()
        for name in names
        if re.fullmatch(pattern, re.split(r"[\s_(-]", name.strip())[0], re.IGNORECASE)
    }
    if len(found) != 1:
        raise ConfigurationError(
            f"the channels {', '.join(shown(name)[1:-1] for name in names)} do not tell one modality; give "
            f"--modality, one of {', '.join(known)}"
        )
    return found.pop()


def _name(model: NnunetModel, modality: str, given: str | None) -> str:
    if given is None:
        structure = re.sub(r"^Dataset\d+_", "", model.dataset)
        given = re.sub(r"[^a-z0-9]+", "_", f"{structure}_{modality}_nnunet_{model.configuration}".lower())
        given = given.strip("_")
    if not NAME.fullmatch(given) or len(given) > 100:
        raise ConfigurationError(
            f"the name {shown(given)} is not one of a bundle; expected small letters, digits and "
            "underscores, such as liver_ct_nnunet_3d_fullres"
        )
    return given
