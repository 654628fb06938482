"""Standardised uptake: by hand, and refused wherever a tag is missing or not to be trusted."""

from __future__ import annotations

import dicom_phantom as dp
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg.io.dicom_series import read_stack
from medseg.io.dicom_suv import suv_factor
from medseg.spatial import Unit

HALF_LIFE_S = 6586.2


def pet(**changes) -> Dataset:
    drug = Dataset()
    drug.RadionuclideTotalDose = 4e8
    drug.RadionuclideHalfLife = HALF_LIFE_S
    drug.RadiopharmaceuticalStartTime = "100000"
    ds = Dataset()
    ds.Units, ds.DecayCorrection = "BQML", "START"
    ds.CorrectedImage = ["DECY", "ATTN", "SCAT"]
    ds.SeriesDate = ds.AcquisitionDate = "20240301"
    ds.SeriesTime, ds.AcquisitionTime = "110000.50", "110001"
    ds.PatientWeight = 80
    ds.RadiopharmaceuticalInformationSequence = Sequence([drug])
    for name, new in changes.items():
        setattr(
            drug if name.startswith("Radi") and name != "RadiopharmaceuticalInformationSequence" else ds,
            name,
            new,
        )
    return ds


def test_by_hand():
    wanted = 80_000 / (4e8 * 0.5 ** (3600.5 / HALF_LIFE_S))
    assert suv_factor(pet()) == pytest.approx(wanted, rel=1e-12)
    assert suv_factor(pet(DecayCorrection="ADMIN")) == pytest.approx(80_000 / 4e8)
    stamped = pet(
        RadiopharmaceuticalStartDateTime="20240301100000.00+0100", RadiopharmaceuticalStartTime=None
    )
    assert suv_factor(stamped) == pytest.approx(wanted)


def test_injected_before_midnight():
    late = pet(RadiopharmaceuticalStartTime="233000", SeriesTime="003000", AcquisitionTime="0031")
    assert suv_factor(late) == pytest.approx(80_000 / (4e8 * 0.5 ** (3600 / HALF_LIFE_S)))


@pytest.mark.parametrize(("kind", "factor"), [(None, 1.0), ("BW", 1.0), ("LBM", None)])
def test_stored_as_suv(kind, factor):
    assert suv_factor(pet(Units="GML", SUVType=kind)) == factor


@pytest.mark.parametrize(
    "changes",
    [
        {"Units": "CNTS"},
        {"CorrectedImage": ["DECY"]},
        {"PatientWeight": None},
        {"PatientWeight": 0},
        {"RadionuclideTotalDose": None},
        {"RadionuclideTotalDose": -1},
        {"RadionuclideHalfLife": None},
        {"RadiopharmaceuticalInformationSequence": None},
        {"DecayCorrection": "NONE"},
        {"SeriesTime": "120000"},
        {"SeriesTime": None},
        {"AcquisitionTime": "ab"},
        {"RadiopharmaceuticalStartTime": None},
        {"RadiopharmaceuticalStartDateTime": "20240227100000"},
        {"RadiopharmaceuticalStartDateTime": "20240302100000"},
    ],
    ids=str,
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
def test_not_known_for_sure(changes):
    assert suv_factor(pet(**changes)) is None


def test_a_series_in_suv(tmp_path):
    slices = dp.series(modality="PT")
    for ds in slices:
        ds.update(pet())
    volume = read_stack(dp.write(slices, tmp_path))
    assert volume.unit is Unit.SUV
    assert volume.array.dtype == np.float32
    factor = suv_factor(pet())
    indices = np.stack(np.indices(volume.geometry.shape), axis=-1)
    wanted = dp.value(volume.geometry.to_world(indices) * [-1, -1, 1]) * factor
    assert np.abs(volume.array - wanted).max() <= 0.51 * factor


def test_slices_that_disagree_give_no_suv(tmp_path):
    slices = dp.series(modality="PT")
    for ds in slices:
        ds.update(pet())
    slices[3].PatientWeight = 70
    assert read_stack(dp.write(slices, tmp_path)).unit is Unit.ARBITRARY
