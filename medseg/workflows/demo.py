"""The main job on a scan that any machine has: the template that nilearn ships."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

from medseg.bundle.bundle import load_bundle
from medseg.bundle.store import find_bundle
from medseg.errors import ConfigurationError
from medseg.inference.predictor import PredictorOptions
from medseg.io.atomic import made_folder
from medseg.io.limits import Limits
from medseg.io.read import read_volume
from medseg.io.write import write_volume
from medseg.spatial.crop import crop_to_box_mm
from medseg.spatial.resample import resample_volume
from medseg.workflows.outputs import CaseResult, Listener
from medseg.workflows.segment import SegmentOptions, segment

BUNDLE = "hippocampus_mr_unet3d"
DESCRIPTION = (
    "ICBM152 2009a symmetric T1 template (Fonov 2011): the average of 152 healthy adults' MR scans in MNI "
    "space, not one patient. It is smoother than a single scan, so boundaries are softer than usual. Cropped "
    "around one hippocampus by its position in MNI millimetres."
)
BOXES_MM = {
    "left_hippocampus": ((-43.0, -48.0, -35.0), (-8.0, 4.0, 7.0)),
    "right_hippocampus": ((8.0, -48.0, -35.0), (43.0, 4.0, 7.0)),
}
"""Boxes in MNI space, RAS+ mm: lower and upper corner."""

_TEMPLATE = "mni_icbm152_t1_tal_nlin_sym_09a_converted.nii.gz"


def demo(
    out: Path,
    bundle_folders: Sequence[Path] = (),
    limits: Limits | None = None,
    listener: Listener | None = None,
    cache: Path | None = None,
) -> list[CaseResult]:
    """Crops both hippocampi of the template, segments, measures and reports them under ``out``.

    ``cache`` is as in `PredictorOptions`.

    Raises:
        ConfigurationError: nilearn is not installed, or ``out`` cannot be written.
        BundleError: the bundle cannot be used.
    """
    limits = limits or Limits()
    bundle = load_bundle(find_bundle(BUNDLE, bundle_folders))
    head = read_volume(template_path(), limits)
    inputs = made_folder(out / "input")
    for name, (lower, upper) in BOXES_MM.items():
        part = crop_to_box_mm(head.geometry, lower, upper)
        write_volume(resample_volume(head, part), inputs / f"{name}.nii.gz")
    options = SegmentOptions(PredictorOptions(cache=cache), limits, description=DESCRIPTION)
    return segment([inputs], bundle, out, options, listener)


def template_path() -> Path:
    """Where nilearn keeps the template; nilearn itself is not imported.

    Raises:
        ConfigurationError: nilearn is not installed, or ships no such file.
    """
    spec = find_spec("nilearn")
    locations = spec.submodule_search_locations if spec is not None else None
    for location in locations or ():
        path = Path(location) / "datasets" / "data" / _TEMPLATE
        if path.is_file():
            return path
    raise ConfigurationError(
        "the demo's scan comes with the nilearn package, which is not installed or lacks it; "
        "install it with: pip install 'medseg[demo]'"
    )
