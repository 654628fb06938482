"""The body-weight standardised uptake value of PET images, where everything that it needs is stored."""

from __future__ import annotations

from datetime import datetime, timedelta

from pydicom.dataset import Dataset

from medseg.io.dicom_fields import number, text, text_list

_SECONDS_PER_DAY = 86_400


def suv_factor(dataset: Dataset) -> float | None:
    """What activity in Bq/ml is multiplied with to give SUVbw, or None where it is not known for sure.

    SUVbw = activity (Bq/ml) × weight (g) / dose (Bq) decayed to the reference time of the images, after the
    vendor-neutral pseudo-code of the Quantitative Imaging Biomarkers Alliance. Units GML are SUVbw already.
    Only attenuation- and decay-corrected images count, with decay correction to the start of the series or
    to the administration; a start of the series after its own acquisition is not trusted.
    """
    units = text(dataset, "Units")
    if units == "GML":
        return 1.0 if (text(dataset, "SUVType") or "BW") == "BW" else None
    if units != "BQML" or not {"ATTN", "DECY"} <= set(text_list(dataset, "CorrectedImage")):
        return None
    items = dataset.get("RadiopharmaceuticalInformationSequence")
    weight_kg = number(dataset, "PatientWeight")
    if not items or weight_kg is None or weight_kg <= 0:
        return None
    dose, half_life = number(items[0], "RadionuclideTotalDose"), number(items[0], "RadionuclideHalfLife")
    if not dose or not half_life or dose < 0 or half_life < 0:
        return None
    decay_s = _decay_seconds(dataset, items[0])
    if decay_s is None:
        return None
    return float(weight_kg * 1000.0 / (dose * 2.0 ** (-decay_s / half_life)))


def _decay_seconds(dataset: Dataset, drug: Dataset) -> float | None:
    """Time from administration to the moment that the images are corrected to."""
    correction = text(dataset, "DecayCorrection")
    if correction == "ADMIN":
        return 0.0
    start = _moment(text(dataset, "SeriesDate"), text(dataset, "SeriesTime"))
    acquired = _moment(text(dataset, "AcquisitionDate"), text(dataset, "AcquisitionTime"))
    if correction != "START" or start is None or acquired is None or start > acquired:
        return None
    stamp = text(drug, "RadiopharmaceuticalStartDateTime")
    injected = _moment(stamp[:8], stamp[8:].split("+")[0].split("-")[0]) if stamp else None
    if injected is None:
        injected = _moment(text(dataset, "SeriesDate"), text(drug, "RadiopharmaceuticalStartTime"))
        if injected is not None and injected > start:
            injected -= timedelta(days=1)
    if injected is None or not 0 <= (start - injected).total_seconds() <= _SECONDS_PER_DAY:
        return None
    return (start - injected).total_seconds()


def _moment(date: str | None, time: str | None) -> datetime | None:
    """A DICOM date and time, or None where either is absent or malformed."""
    if not date or not time:
        return None
    head, _, fraction = time.partition(".")
    try:
        moment = datetime.strptime(date + head.ljust(6, "0"), "%Y%m%d%H%M%S")
        return moment + timedelta(seconds=float("0." + (fraction or "0")))
    except ValueError:
        return None
