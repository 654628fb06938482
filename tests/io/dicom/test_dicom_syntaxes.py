"""Every compression decodes to what the uncompressed phantom holds."""

from __future__ import annotations

import dicom_phantom as dp
import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medseg.errors import LimitExceededError, UnreadableFileError
from medseg.io.dicom_headers import read_frames
from medseg.io.dicom_pixels import codestream_size
from medseg.io.dicom_series import find_stacks, read_stack
from medseg.io.limits import Limits

COMPRESSED = [RLELossless, JPEGLSLossless, JPEG2000Lossless]


def rewritten(files, syntax):
    """The files once more in another transfer syntax."""
    for path in files:
        ds = pydicom.dcmread(path)
        if syntax in COMPRESSED:
            ds.compress(syntax)
            ds.save_as(path, enforce_file_format=True)
        elif syntax == ExplicitVRBigEndian:
            ds.PixelData = np.frombuffer(ds.PixelData, "<i2").astype(">i2").tobytes()
            fresh = pydicom.Dataset()
            for element in ds:
                fresh.add(element)
            fresh.file_meta = ds.file_meta
            fresh.file_meta.TransferSyntaxUID = syntax
            fresh.save_as(path, implicit_vr=False, little_endian=False, enforce_file_format=True)
        else:
            ds.file_meta.TransferSyntaxUID = syntax
            ds.save_as(path, implicit_vr=syntax.is_implicit_VR, little_endian=True, enforce_file_format=True)
    return files


@pytest.mark.parametrize("signed", [0, 1], ids=["unsigned", "signed"])
@pytest.mark.parametrize(
    "syntax",
    [*COMPRESSED, ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian],
    ids=lambda uid: uid.keyword,
)
def test_syntax(tmp_path, syntax, signed):
    slices = dp.series("oblique", PixelRepresentation=signed, RescaleIntercept=-1024 if signed else -3000)
    plain = read_stack(dp.write(slices, tmp_path / "a"))
    other = read_stack(rewritten(dp.write(slices, tmp_path / "b"), syntax))
    assert dp.worst_error(other) <= 0.51
    assert np.array_equal(plain.array, other.array)
    assert plain.array.dtype == other.array.dtype


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.keyword)
def test_compressed_multi_frame(tmp_path, syntax):
    files = rewritten(dp.write([dp.enhanced("coronal", order=range(11, -1, -1))], tmp_path), syntax)
    assert dp.worst_error(read_stack(files)) <= 1.6


@pytest.mark.parametrize("syntax", COMPRESSED, ids=lambda uid: uid.keyword)
@pytest.mark.parametrize("share", [0.5, 0.98])
def test_compressed_and_truncated(tmp_path, syntax, share):
    files = rewritten(dp.write(dp.series(), tmp_path), syntax)
    content = files[2].read_bytes()
    pixels = content.index(b"\xe0\x7f\x10\x00")
    files[2].write_bytes(content[: pixels + int((len(content) - pixels) * share)])
    assert find_stacks(files)[0].verdict == "refused"
    with pytest.raises(UnreadableFileError, match="compressed pixel data are truncated"):
        read_stack(files)


def test_no_end_mark_is_let_pass_when_the_last_fragment_is_whole(tmp_path):
    files = rewritten(dp.write(dp.series(), tmp_path), RLELossless)
    files[2].write_bytes(files[2].read_bytes()[:-8])
    (frame,) = read_frames(files[2], Limits())
    assert frame.header.fault is None


@pytest.mark.parametrize("syntax", [JPEGLSLossless, JPEG2000Lossless], ids=lambda uid: uid.keyword)
def test_codestream_that_claims_another_size(tmp_path, syntax):
    files = rewritten(dp.write(dp.series(), tmp_path), syntax)
    ds = pydicom.dcmread(files[5])
    ds.Rows = 41
    ds.save_as(files[5])
    for path in files:
        if path != files[5]:
            other = pydicom.dcmread(path)
            other.Rows = 41
            other.save_as(path)
    with pytest.raises(LimitExceededError, match="claim 40 × 36; the header says 41 × 36"):
        read_stack(files)


def test_codestream_size_of_other_streams():
    assert codestream_size(b"\0" * 64) is None
    assert codestream_size(b"\xff\xd8\xff\xe0\0\4ab\xff\xff\xc0\0\x0b\x08\0\x05\0\x07\x01") == (5, 7)
    assert codestream_size(b"\xff\xd8\xff\xe0\0\4ab") is None
    assert codestream_size(b"\xff\xd8nothing that is a marker") is None


def test_unused_high_bits_do_not_count(tmp_path):
    slices = dp.series(BitsStored=12, HighBit=11, PixelRepresentation=0, RescaleIntercept=-1500)
    clean = read_stack(dp.write(slices, tmp_path / "a"))
    for ds in slices:
        stored = np.frombuffer(ds.PixelData, "<u2")
        assert stored.max() < 4096
        ds.PixelData = (stored | 0xA000).astype("<u2").tobytes()
    assert np.array_equal(read_stack(dp.write(slices, tmp_path / "b")).array, clean.array)


def test_signed_pixels_of_twelve_bits(tmp_path):
    slices = dp.series(BitsStored=12, HighBit=11)
    for ds in slices:
        stored = np.frombuffer(ds.PixelData, "<i2")
        assert stored.min() >= -2048
        assert stored.max() < 2048
        ds.PixelData = (stored & 0x0FFF).astype("<u2").tobytes()
    assert dp.worst_error(read_stack(dp.write(slices, tmp_path))) <= 0.51


@pytest.mark.parametrize(
    ("intercept", "factor", "dtype"),
    [
        (0, 1, np.int16),
        (32_000, 1, np.uint16),
        (-40_000, 1, np.int32),
        (0.5, 1, np.float32),
        (0, 0.5, np.float32),
    ],
)
def test_smallest_exact_type_of_the_whole_stack(tmp_path, intercept, factor, dtype):
    slices = dp.series()
    for n, ds in enumerate(slices):
        ds.PixelData = np.full((ds.Rows, ds.Columns), n * 100, "<i2").tobytes()
        ds.RescaleIntercept = intercept if n == 7 or intercept > 0 else 0
        ds.RescaleSlope = factor if n == 7 else 1
    volume = read_stack(dp.write(slices, tmp_path))
    assert volume.array.dtype == dtype
    assert volume.array[0, 0, 7] == 700 * factor + intercept
    assert volume.array[0, 0, 6] == 600 + (intercept if intercept > 0 else 0)


def test_values_beyond_32_bits_become_float(tmp_path):
    slices = dp.series()
    slices[3].RescaleIntercept = 2**40
    volume = read_stack(dp.write(slices, tmp_path))
    assert volume.array.dtype == np.float32


def test_eight_bit_pixels_stay(tmp_path):
    slices = dp.series(modality="MR")
    for n, ds in enumerate(slices):
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 8, 8, 7, 0
        ds.PixelData = np.full((ds.Rows, ds.Columns), n, np.uint8).tobytes()
    volume = read_stack(dp.write(slices, tmp_path))
    assert volume.array.dtype == np.uint8
    assert volume.array[0, 0].tolist() == list(range(dp.SLICES))


def test_big_endian_without_preamble_and_meta(tmp_path):
    files = rewritten(dp.write(dp.series(), tmp_path), ExplicitVRBigEndian)
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x00\x08\x00\x08") :])
    assert dp.worst_error(read_stack(files)) <= 0.51


def test_private_syntax_is_refused(tmp_path):
    files = dp.write(dp.series(), tmp_path)
    for path in files:
        path.write_bytes(path.read_bytes().replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.113619.5.2\0\0"))
    with pytest.raises(UnreadableFileError, match="its transfer syntax is not one of the DICOM standard"):
        read_stack(files)


def test_excess_bytes_warn_no_one(tmp_path):
    slices = dp.series()
    slices[4].PixelData += bytes(4 * 40 * 36)
    assert dp.worst_error(read_stack(dp.write(slices, tmp_path))) <= 0.51
