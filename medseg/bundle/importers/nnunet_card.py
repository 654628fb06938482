"""Writes the card and the licence note of a bundle that comes from nnU-Net."""

from __future__ import annotations

from pathlib import Path

from medseg.bundle.files import shown
from medseg.bundle.importers.checkpoint import Checkpoint
from medseg.bundle.importers.nnunet_config import label_names
from medseg.bundle.importers.nnunet_plans import NnunetModel

_LICENCE = (
    "The licence of these weights is that of the nnU-Net result folder that they were imported from.\n"
    "The folder does not state it: ask whoever gave it to you before you pass the weights on.\n"
)


def write_card(
    folder: Path, name: str, model: NnunetModel, folds: list[str], checkpoints: list[Checkpoint]
) -> None:
    """Writes ``docs/README.md`` and ``LICENSE``: what is known of the model, and what is not.

    Args:
        folder: the bundle's.
        name: the bundle's.
        model: what nnU-Net's files say.
        folds: names of the folds.
        checkpoints: one of each fold.
    """
    trainers = ", ".join(sorted({shown(checkpoint.trainer)[1:-1] for checkpoint in checkpoints}))
    files = ", ".join(f"fold {f}: {c.path.name}" for f, c in zip(folds, checkpoints, strict=True))
    labels = "\n".join(f"- {index}: {name}" for index, name in sorted(label_names(model).items()))
    channels = ", ".join(shown(channel.name)[1:-1] for channel in model.channels)
    text = f"""# {name}

Imported from an nnU-Net v2 result folder; none of its code was run. Research use only. Not a medical device.

- data set {model.dataset}, plans {model.plans}, configuration {model.configuration}, trainer {trainers}
- {files}
- {model.network.kind}, window {list(model.patch)}, planned spacing {list(model.spacing)} mm
- channels {channels}

Labels:

{labels}

## Data

Named {model.dataset} by its maker; the folder says no more.

## Licence

That of the folder it comes from; see LICENSE.

## Results

None came with the folder. Score it on your own data: `medseg evaluate`.

## Limits

The network is taken to be the one that the plans describe. A trainer that changes its activations or norms
without changing the shapes of its weights cannot be told apart: compare a few scans with nnU-Net's own
result where the trainer is not nnUNetTrainer.
"""
    (folder / "docs").mkdir()
    (folder / "docs" / "README.md").write_text(text, encoding="utf-8")
    (folder / "LICENSE").write_text(_LICENCE, encoding="utf-8")
