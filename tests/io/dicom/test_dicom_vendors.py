"""Real series of many vendors: read as SimpleITK and the references beside them do, or refused by name."""

from __future__ import annotations

import os
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medseg.io.dicom_series import Stack, find_stacks, read_stack, scan
from medseg.spatial import Unit

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).parents[4] / "shared" / "data"))
VENDORS = DATA / "dicom" / "vendors"
REFUSED = {
    "failing/uneven_increment": "missing slice",
    "ge/anatomical/001_single_slice": "single slice",
    "generic/rgb/001": "colour (RGB) series",
}
FOLDERS = [
    "failing/uneven_increment", "ge/anatomical/001", "ge/anatomical/001_implicit",
    "ge/anatomical/001_single_slice", "generic/anatomical/001", "generic/anatomical/001_implicit",
    "generic/anatomical/002_non_isotropic", "generic/compressed/001", "generic/compressed_j2k/001",
    "generic/compressed_jpeg/001", "generic/compressed_jpegls/001", "generic/compressed_rle/001",
    "generic/rgb/001", "hitachi/anatomical/001", "hitachi/anatomical/001_implicit",
    "hyperfine/anatomical/001", "philips/anatomical/001", "philips/anatomical/001_implicit",
    "siemens/anatomical/001", "siemens/anatomical/001_implicit", "siemens_multiframe/anatomical/001",
]  # fmt: skip

needs_data = pytest.mark.skipif(
    not VENDORS.is_dir(), reason=f"the vendors' series are not there: no {VENDORS.name} under MEDSEG_DATA"
)


def itk_volume(stack: Stack) -> tuple[np.ndarray, np.ndarray]:
    """Array (i, j, k) and RAS affine as SimpleITK gives them."""
    sitk.ProcessObject.SetGlobalWarningDisplay(False)
    if len(stack.files) > 1:
        reader = sitk.ImageSeriesReader()
        reader.SetFileNames([str(path) for path in stack.files])
        image = reader.Execute()
    else:
        image = sitk.ReadImage(str(stack.files[0]))
    affine_lps = np.eye(4)
    affine_lps[:3, :3] = np.array(image.GetDirection()).reshape(3, 3) * np.array(image.GetSpacing())
    affine_lps[:3, 3] = image.GetOrigin()
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), np.diag([-1, -1, 1, 1]) @ affine_lps


def check_like_itk(stack: Stack) -> None:
    volume = read_stack(stack.files, key=stack.key)
    array, affine = itk_volume(stack)
    assert np.abs(affine - volume.geometry.affine).max() < 1e-3
    assert np.abs(array.astype(np.float64) - volume.array).max() < 1e-4


@needs_data
@pytest.mark.parametrize("name", FOLDERS)
def test_series_of_a_vendor(name):
    (stack,) = find_stacks(VENDORS / name)
    if name in REFUSED:
        assert stack.verdict == "refused"
        assert stack.reasons[0].startswith(REFUSED[name])
        with pytest.raises(type(stack.error)) as caught:
            read_stack(stack.files)
        assert str(caught.value) == stack.reasons[0]
        return
    assert stack.verdict == "usable"
    check_like_itk(stack)
    check_like_reference(stack, VENDORS / f"{name}_ground_truth.nii.gz")


def check_like_reference(stack: Stack, path: Path) -> None:
    """Every voxel of the NIfTI reference lies where ours lies and holds the same value."""
    volume = read_stack(stack.files)
    image = nibabel.load(path)
    values = np.asarray(image.dataobj, dtype=np.float64).squeeze()
    indices = np.stack(np.indices(values.shape), axis=-1)
    mine = volume.geometry.to_index(nibabel.affines.apply_affine(image.affine, indices))
    nearest = np.rint(mine).astype(int)
    assert np.abs(mine - nearest).max() < 0.02
    assert sorted(values.shape) == sorted(volume.array.shape)
    assert np.abs(volume.array[tuple(np.moveaxis(nearest, -1, 0))] - values).max() < 0.51


@needs_data
def test_every_vendor_file_ends_in_one_place():
    inventory = scan(VENDORS)
    placed = [path for stack in inventory.stacks for path in stack.files]
    left = [item.path for item in inventory.other]
    assert sorted(placed + left) == sorted(path for path in VENDORS.rglob("*") if path.is_file())
    assert set(inventory.counts) == {"not DICOM"}


@needs_data
def test_ct_beside_segmentations():
    stacks = {stack.files[0].parent.name: stack for stack in find_stacks(DATA / "dicom" / "seg")}
    assert set(stacks) == {"ct-3slice", "image", "multiframe"}
    assert scan(DATA / "dicom" / "seg").counts == {"not DICOM": 4, "segmentation": 2}
    for stack in stacks.values():
        check_like_itk(stack)
    assert read_stack(stacks["ct-3slice"].files).unit is Unit.HU
    classic, enhanced = read_stack(stacks["image"].files), read_stack(stacks["multiframe"].files)
    assert classic.geometry.shape == enhanced.geometry.shape == (23, 38, 3)


@needs_data
def test_ct_that_names_no_series():
    (stack,) = find_stacks(DATA / "organs" / "ct_dicom")
    assert (stack.shape, stack.uid, stack.verdict) == ((512, 512, 20), None, "warning")
    assert stack.spacing_mm == pytest.approx((0.9765625, 0.9765625, 2.0))
    check_like_itk(stack)
    assert read_stack(stack.files).unit is Unit.HU


def test_files_that_pydicom_ships():
    root = Path(pydicom.__file__).parent / "data" / "test_files"
    inventory = scan(root)
    left = {item.path for item in inventory.other}
    placed = {path for stack in inventory.stacks for path in stack.files}
    assert placed.isdisjoint(left)
    assert placed | left == {path for path in root.rglob("*") if path.is_file()} - {
        path for path in placed | left if path.is_dir()
    }
    assert inventory.counts["DICOMDIR"] >= 1
    usable = [stack for stack in inventory.stacks if stack.verdict != "refused"]
    ct = next(stack for stack in usable if stack.modality == "CT")
    assert ct.shape == (16, 16, 5)
    check_like_itk(ct)


def test_supplemental_enhanced_ct():
    data_store = pytest.importorskip("data_store", reason="pydicom-data is not installed")
    path = Path(data_store.__file__).parent / "data" / "eCT_Supplemental.dcm"
    if not path.is_file():
        pytest.skip("pydicom-data has no eCT_Supplemental.dcm")
    (stack,) = find_stacks(path)
    volume = read_stack([path])
    assert volume.geometry.shape == (512, 512, 2) == stack.shape
    assert volume.unit is Unit.ARBITRARY, "it is a map of blood volume, stored as CT"
    array, affine = itk_volume(stack)
    assert np.allclose(volume.geometry.to_index(affine[:3, 3]), [0, 0, 1])
    assert np.array_equal(array[:, :, ::-1], volume.array)
