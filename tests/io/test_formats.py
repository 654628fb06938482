import gzip
import os

import nibabel
import numpy as np
import pytest
from PIL import Image

from medseg.errors import InputError, UnreadableFileError
from medseg.io.formats import Format, detect_format, file_source, image_suffix, named_format


@pytest.mark.parametrize(
    ("name", "suffix"),
    [
        ("brain.nii.gz", ".nii.gz"),
        ("BRAIN.NII.GZ", ".NII.GZ"),
        ("a.b.nii.gz", ".nii.gz"),
        ("1.2.840.5", ""),
        ("x.tiff", ".tiff"),
        ("x.ome.tif", ".tif"),
        ("nii.gz", ""),
        ("x.json", ""),
        ("x.gz", ""),
    ],
)
def test_image_suffix(name, suffix):
    assert image_suffix(name) == suffix


def nifti(path):
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), path)
    return path


def test_formats_by_content(tmp_path):
    nifti(tmp_path / "x.nii.gz").rename(tmp_path / "nifti")
    nibabel.save(nibabel.Nifti2Image(np.zeros((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "two.nii")
    nibabel.save(nibabel.Nifti1Pair(np.zeros((3, 4, 5), np.uint8), np.eye(4)), tmp_path / "pair.img")
    (tmp_path / "x.nrrd").write_bytes(b"NRRD0004\n")
    (tmp_path / "x.mha").write_bytes(b"ObjectType = Image\nNDims = 3\n")
    Image.new("L", (3, 3)).save(tmp_path / "x.png")
    (tmp_path / "dicom").write_bytes(bytes(128) + b"DICM")
    (tmp_path / "old_dicom").write_bytes(b"\x08\0\x05\0")
    (tmp_path / "x.dcm").write_bytes(b"no preamble, still DICOM by name")
    expected = {
        "nifti": Format.NIFTI, "two.nii": Format.NIFTI, "pair.img": Format.NIFTI, "pair.hdr": Format.NIFTI,
        "x.nrrd": Format.ITK, "x.mha": Format.ITK, "x.png": Format.PICTURE, "dicom": Format.DICOM,
        "old_dicom": Format.DICOM, "x.dcm": Format.DICOM,
    }  # fmt: skip
    assert {name: detect_format(tmp_path / name) for name in expected} == expected


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.nii.gz", b"", "is empty"),
        ("x.nii.gz", b"this is not a scan", "is a text file, but its name says NIfTI"),
        ("x.nii.gz", gzip.compress(b"this is not a scan"), "is a text file, but its name says NIfTI"),
        ("x.nii.gz", b"\x1f\x8b\x08", "damaged or truncated gzip"),
        ("x.nii.gz", gzip.compress(bytes(range(256)) * 9)[:40], "damaged or truncated gzip"),
        ("x.nii.gz", b"\x1f\x8b" + bytes(50), "damaged or truncated gzip"),
        ("x", bytes(range(200, 256)) * 9, "is of no known format, but expected NIfTI, NRRD"),
        ("x", b"\xff\x00\x01", "is only 3 bytes of no known format"),
        ("x.mha", b"hello", "its name says NRRD or MetaImage"),
        ("x.nii", b"\x89PNG\r\n\x1a\n", "holds a picture image but its name says NIfTI"),
    ],
)
def test_refused(tmp_path, name, content, message):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UnreadableFileError, match=message):
        detect_format(tmp_path / name)


def test_missing_folder_and_closed(tmp_path, monkeypatch):
    with pytest.raises(InputError, match="there is no file"):
        detect_format(tmp_path / "none")
    with pytest.raises(InputError, match="is a folder where one image file is expected"):
        detect_format(tmp_path)
    path = nifti(tmp_path / "x.nii")

    def closed(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", closed)
    with pytest.raises(InputError, match="cannot be opened: Permission denied"):
        detect_format(path)


def test_named_format(tmp_path):
    assert named_format(tmp_path / "x.IMA") is Format.DICOM
    assert named_format(tmp_path / "x.txt") is None


def test_source_depends_on_the_bytes_alone(tmp_path):
    (tmp_path / "a").write_bytes(os.urandom(3_000_000))
    (tmp_path / "b").write_bytes((tmp_path / "a").read_bytes())
    assert file_source([tmp_path / "a"]) == file_source([tmp_path / "b"])
    assert file_source([tmp_path / "a", tmp_path / "b"]) != file_source([tmp_path / "a"])
