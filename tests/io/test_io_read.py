import gzip
import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image

import medseg.io.dicom_series
from medseg.errors import (
    GeometryMismatchError,
    IncompleteSeriesError,
    InputError,
    LabelTableError,
    LimitExceededError,
    UnreadableFileError,
)
from medseg.io.limits import Limits
from medseg.io.read import check_voxels, read_case, read_segmentation, read_volume
from medseg.spatial import CaseRef, Geometry, LabelTable, Volume

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
RNG = np.random.default_rng(0)
ARRAY = RNG.integers(0, 100, (5, 6, 7)).astype(np.int16)
RGB = RNG.integers(0, 255, (4, 6, 3), np.uint8)


def nifti(path, array=ARRAY, affine=None):
    nibabel.save(nibabel.Nifti1Image(array, np.eye(4) if affine is None else affine, dtype=array.dtype), path)
    return path


def nrrd(path, array=ARRAY):
    sitk.WriteImage(sitk.GetImageFromArray(np.ascontiguousarray(array.transpose(2, 1, 0))), str(path))
    return path


def picture(path, array=RGB):
    Image.fromarray(array).save(path)
    return path


def case(**channels):
    return CaseRef(
        "c1", {name: path if isinstance(path, tuple) else (path,) for name, path in channels.items()}
    )


# Voxels.


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_values_that_are_no_numbers_are_counted(value):
    array = np.arange(24.0).reshape(2, 3, 4)
    array[0, :2, 0] = value
    with pytest.raises(InputError, match=r"x holds 2 NaN or infinite voxels of 24"):
        check_voxels(array, "x")


def test_nan_and_infinities_together():
    with pytest.raises(InputError, match="3 NaN or infinite"):
        check_voxels(np.array([np.nan, np.inf, -np.inf, 1.0]), "x")


@pytest.mark.parametrize("dtype", [np.uint8, np.int16, np.float32, np.float64])
def test_constant_image(dtype):
    with pytest.raises(InputError, match=r"is 7.* in every voxel"):
        check_voxels(np.full((2, 3, 4), 7, dtype), "x")


def test_good_voxels():
    check_voxels(ARRAY, "x")


# Volumes.


def test_formats(tmp_path):
    paths = [nifti(tmp_path / "x.nii.gz"), nrrd(tmp_path / "x.nrrd"), nrrd(tmp_path / "x.mha")]
    for path in paths:
        np.testing.assert_array_equal(read_volume(path).array, ARRAY)
        np.testing.assert_array_equal(read_volume((path,)).array, ARRAY)
    volume = read_volume(picture(tmp_path / "x.png", RGB[..., 0]))
    np.testing.assert_array_equal(volume.array[:, :, 0].T, RGB[..., 0])


def test_colour_is_not_one_channel(tmp_path):
    with pytest.raises(InputError, match=r"coloured picture \(red, green, blue\) where one channel"):
        read_volume(picture(tmp_path / "x.png"))


def test_no_files():
    with pytest.raises(InputError, match="no files are given"):
        read_volume(())


@pytest.mark.parametrize("value", [np.nan, 5.0])
@pytest.mark.parametrize("extension", ["nii", "nrrd"])
def test_unusable_voxels_of_any_format(tmp_path, value, extension):
    array = np.full((5, 6, 7), value, np.float32)
    path = tmp_path / f"x.{extension}"
    (nifti if extension == "nii" else nrrd)(path, array)
    with pytest.raises(InputError, match=rf"x\.{extension} (holds|is)"):
        read_volume(path)


def test_unusable_picture(tmp_path):
    with pytest.raises(InputError, match=r"x\.png is 0 in every voxel"):
        read_volume(picture(tmp_path / "x.png", np.zeros((4, 6), np.uint8)))


def test_series_go_to_the_dicom_reader(tmp_path, monkeypatch):
    seen = []

    def read_stack(files, limits, *, key=None):
        seen.append((files, key))
        return Volume(ARRAY, Geometry(np.eye(4), ARRAY.shape))

    monkeypatch.setattr(medseg.io.dicom_series, "read_stack", read_stack)
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    read_volume(tmp_path / "a", part="axial")
    read_volume((tmp_path / "a", tmp_path / "b"))
    read_case(CaseRef("c1", {"ct": (tmp_path / "a",)}, {"ct": "echo 2"}))
    read_case(CaseRef("c1", {"t1": (tmp_path / "a",), "t2": (tmp_path / "a",)}, {"t2": "echo 2"}))
    assert [key for _, key in seen] == ["axial", None, "echo 2", None, "echo 2"]
    with pytest.raises(InputError, match="the series of 2 files is 0"):
        monkeypatch.setattr(
            medseg.io.dicom_series,
            "read_stack",
            lambda *a, **k: Volume(np.zeros((2, 3, 4)), Geometry(np.eye(4), (2, 3, 4))),
        )
        read_volume((tmp_path / "a", tmp_path / "b"))


def test_limits_reach_each_reader(tmp_path):
    paths = [nifti(tmp_path / "x.nii"), nrrd(tmp_path / "x.nrrd"), picture(tmp_path / "x.png")]
    for path in paths:
        with pytest.raises(LimitExceededError):
            read_case(case(image=path), Limits(max_voxels=10))


# Cases.


def test_case_of_one_volume(tmp_path):
    found = read_case(case(t1=nifti(tmp_path / "x.nii")))
    assert (found.id, list(found.channels)) == ("c1", ["t1"])


def test_case_of_pictures(tmp_path):
    assert list(read_case(case(image=picture(tmp_path / "x.png"))).channels) == ["red", "green", "blue"]
    grey = read_case(case(dapi=picture(tmp_path / "y.png", RGB[..., 0])))
    assert list(grey.channels) == ["dapi"]


def test_a_colour_that_does_not_occur_is_no_fault(tmp_path):
    array = RGB.copy()
    array[..., 2] = 0
    assert len(read_case(case(image=picture(tmp_path / "x.png", array))).channels) == 3
    with pytest.raises(InputError, match="in every voxel"):
        read_case(case(image=picture(tmp_path / "y.png", np.full((4, 6, 3), 9, np.uint8))))


def test_case_of_several_channels(tmp_path):
    found = read_case(case(t1=nifti(tmp_path / "a.nii"), t2=nifti(tmp_path / "b.nii", ARRAY + 1)))
    assert list(found.channels) == ["t1", "t2"]
    other = nifti(tmp_path / "c.nii", affine=np.diag([2, 1, 1, 1]))
    with pytest.raises(GeometryMismatchError, match=r"^case 'c1': channel 't2'"):
        read_case(case(t1=tmp_path / "a.nii", t2=other))


@pytest.mark.parametrize("error", [IncompleteSeriesError, LimitExceededError, UnreadableFileError])
def test_the_class_is_kept_and_the_case_named(tmp_path, monkeypatch, error):
    def read_nifti(*args):
        raise error("what is wrong")

    monkeypatch.setattr("medseg.io.nifti.read_nifti", read_nifti)
    with pytest.raises(error, match=r"^case 'c1': what is wrong$"):
        read_case(case(image=nifti(tmp_path / "x.nii")))


@pytest.mark.parametrize(
    "damage",
    [
        lambda raw: raw[: len(raw) // 2],
        lambda raw: gzip.compress(gzip.decompress(raw)[:600]),
        lambda raw: b"",
        lambda raw: b"this is not a scan",
    ],
)
def test_damaged_files_are_named_with_their_case(tmp_path, damage):
    path = nifti(tmp_path / "x.nii.gz")
    path.write_bytes(damage(path.read_bytes()))
    with pytest.raises(UnreadableFileError, match=r"^case 'c1': .*x\.nii\.gz"):
        read_case(case(image=path))


# Segmentations.


@pytest.mark.parametrize("dtype", ["u1", "i2", "i8", "f4", "f8"])
@pytest.mark.parametrize("extension", ["nii", "nrrd"])
def test_whole_numbers_of_any_type(tmp_path, dtype, extension):
    labels = np.zeros((5, 6, 7), dtype)
    labels[1, 2, 3], labels[2, 2, 2] = 3, 200
    path = tmp_path / f"x.{extension}"
    (nifti if extension == "nii" else nrrd)(path, labels)
    found = read_segmentation(path)
    assert found.labels.dtype == np.uint8
    np.testing.assert_array_equal(found.labels, labels)
    assert [(label.index, label.name) for label in found.table] == [(3, "label_3"), (200, "label_200")]
    assert found.source.startswith("sha256:")


def test_given_table(tmp_path):
    labels = np.zeros((3, 4, 5), np.uint8)
    labels[1, 1, 1] = 3
    nifti(tmp_path / "x.nii", labels)
    table = LabelTable.numbered([1, 2, 3])
    assert read_segmentation(tmp_path / "x.nii", table).table is table
    with pytest.raises(LabelTableError, match="holds 3"):
        read_segmentation(tmp_path / "x.nii", LabelTable.numbered([1]))


def test_background_alone_is_allowed(tmp_path):
    found = read_segmentation(nifti(tmp_path / "x.nii", np.zeros((3, 4, 5), np.uint8)))
    assert len(found.table) == 0


@pytest.mark.parametrize(
    ("value", "dtype", "message"),
    [
        (0.5, "f4", "holds 0.5 where whole label indices"),
        (-1, "i2", "holds -1 where"),
        (-2.0, "f4", "holds -2.0 where"),
        (np.nan, "f4", "NaN or infinite"),
        (np.inf, "f8", "NaN or infinite"),
        (1e30, "f8", r"holds 1e\+30 where label indices below"),
    ],
)
def test_values_that_are_no_labels(tmp_path, value, dtype, message):
    labels = np.zeros((3, 4, 5), dtype)
    labels[1, 1, 1] = value
    with pytest.raises(InputError, match=message):
        read_segmentation(nifti(tmp_path / "x.nii", labels))


def test_label_pictures(tmp_path):
    labels = RNG.integers(0, 300, (4, 6), np.uint16)
    found = read_segmentation(picture(tmp_path / "x.png", labels))
    np.testing.assert_array_equal(found.labels[:, :, 0].T, labels)
    with pytest.raises(InputError, match="coloured picture"):
        read_segmentation(picture(tmp_path / "y.png"))


def test_dicom_is_no_label_map_here(tmp_path):
    (tmp_path / "a").write_bytes(bytes(128) + b"DICM")
    with pytest.raises(UnreadableFileError, match="is a DICOM file where a label map is expected"):
        read_segmentation(tmp_path / "a")


def test_many_labels_are_read_in_time(tmp_path):
    labels = np.arange(70_000, dtype=np.int32).reshape(100, 70, 10)
    assert len(read_segmentation(nifti(tmp_path / "x.nii", labels)).table) == 69_999


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set MEDSEG_DATA)")
def test_real_label_maps():
    for path in [
        *sorted((DATA / "hippocampus" / "labelsTr").glob("*.nii.gz"))[::20],
        DATA / "organs" / "ct_organs.nii.gz",
    ]:
        found = read_segmentation(path)
        np.testing.assert_array_equal(found.labels, np.asarray(nibabel.load(path).dataobj))
