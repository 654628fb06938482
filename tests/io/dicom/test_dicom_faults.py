"""Each refusal that the phantom matrix does not reach, by its name."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import dicom_phantom as dp
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import DeflatedExplicitVRLittleEndian

import medseg.io.dicom_headers as headers
from medseg.errors import (
    GeometryMismatchError,
    IncompleteSeriesError,
    InputError,
    LimitExceededError,
    UnreadableFileError,
)
from medseg.io.dicom_checks import check_decoder
from medseg.io.dicom_series import find_stacks, read_stack, scan
from medseg.io.limits import DEFAULT_LIMITS, Limits


def refuse(files, error, words, limits=DEFAULT_LIMITS):
    with pytest.raises(error, match=words) as caught:
        read_stack(files, limits)
    assert type(caught.value) is error
    assert "SECRET" not in str(caught.value)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"ImagePositionPatient": None}, "no image position"),
        ({"ImageOrientationPatient": None}, "no image orientation"),
        ({"PixelSpacing": None}, "no pixel spacing"),
        ({"PixelSpacing": [0, 1]}, "no pixel spacing"),
        ({"PixelSpacing": ["nan", 1]}, "no pixel spacing"),
        ({"ImagePositionPatient": [1, 2]}, "no image position"),
        ({"ImageType": ["DERIVED", "PRIMARY", "MOSAIC"]}, "Siemens mosaic"),
        ({"SamplesPerPixel": 3, "PhotometricInterpretation": "RGB"}, r"colour \(RGB\) series"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "colour"),
    ],
)
@pytest.mark.filterwarnings("ignore:Invalid value for VR:UserWarning")
def test_missing_or_wrong_for_a_whole_series(tmp_path, changes, words):
    files = dp.write([dp.changed(ds, **changes) for ds in dp.series()], tmp_path)
    refuse(files, IncompleteSeriesError, words)
    (stack,) = find_stacks(files)
    assert (stack.verdict, stack.shape, stack.spacing_mm, stack.geometry) == ("refused", None, None, None)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"RescaleSlope": None}, "inconsistent rescale: 11 of 12"),
        ({"RescaleSlope": None, "RescaleIntercept": None}, "inconsistent rescale: 11 of 12"),
        ({"RescaleSlope": 0}, "slope is 0"),
        ({"RescaleType": "OD"}, r"different units \(HU, OD\)"),
    ],
)
def test_rescale_that_differs_in_one_slice(tmp_path, changes, words):
    slices = dp.series(RescaleType="HU")
    slices[4] = dp.changed(slices[4], **changes)
    refuse(dp.write(slices, tmp_path), IncompleteSeriesError, words)


def test_half_a_rescale_everywhere(tmp_path):
    files = dp.write([dp.changed(ds, RescaleIntercept=None) for ds in dp.series()], tmp_path)
    refuse(files, IncompleteSeriesError, "inconsistent rescale: 0 of 12")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"BitsAllocated": 64}, "bits allocated are not supported"),
        ({"BitsStored": 20}, "20 bits stored of 16"),
        ({"HighBit": 11}, "highest bit is 11"),
        ({"NumberOfFrames": 3}, "3 frames that have no positions"),
        ({"ModalityLUTSequence": Sequence([Dataset()])}, "lookup table"),
    ],
)
def test_one_file_with_a_fault(tmp_path, changes, words):
    slices = dp.series()
    slices[4] = dp.changed(slices[4], **changes)
    files = dp.write(slices, tmp_path)
    refuse(files, UnreadableFileError, f"1 of 12.*-21.00 mm.*{words}")


def test_fault_in_a_file_without_position(tmp_path):
    slices = [dp.changed(ds, ImagePositionPatient=None, BitsStored=20) for ds in dp.series()]
    refuse(dp.write(slices, tmp_path), UnreadableFileError, "12 of 12.*of the first: its 20 bits")


def test_directions_that_are_no_right_angle(tmp_path):
    slices = dp.series(ImageOrientationPatient=[1, 0, 0, 0.1, 0.995, 0])
    refuse(dp.write(slices, tmp_path), GeometryMismatchError, "between rows and columns")
    slices = dp.series(ImageOrientationPatient=[2, 0, 0, 0, 1, 0])
    refuse(dp.write(slices, tmp_path), GeometryMismatchError, "lengths 2 and 1")
    slices = dp.series(ImageOrientationPatient=[0, 0, 0, 0, 0, 0])
    refuse(dp.write(slices, tmp_path), GeometryMismatchError, "lengths 0 and 0")


def test_spacing_that_no_scanner_makes(tmp_path):
    refuse(dp.write(dp.series(PixelSpacing=[500, 1]), tmp_path), GeometryMismatchError, "spacing of")


def test_slices_side_by_side(tmp_path):
    slices = dp.series()
    beside = dp.make_slice(dp.positions()[3] + [60, 0, 0], "axial", 40)
    refuse(
        dp.write([*slices, beside], tmp_path), IncompleteSeriesError, "side by side in one plane at -23.50"
    )


def test_slices_off_the_line(tmp_path):
    places = dp.positions()
    places[6] = places[6] + [3.0, 0, 0]
    slices = [dp.make_slice(place, "axial", n) for n, place in enumerate(places)]
    refuse(dp.write(slices, tmp_path), IncompleteSeriesError, "not lie on one line: the one at -16.00 mm")


def test_larger_than_the_limits(tmp_path):
    files = dp.write(dp.series(), tmp_path)
    refuse(files, LimitExceededError, "DICOM stack", Limits(max_voxels=5000))
    assert find_stacks(files, Limits(max_voxels=5000))[0].verdict == "refused"
    inventory = scan(files, Limits(max_voxels=100))
    assert inventory.counts == {"too large": 12}
    refuse(files, LimitExceededError, "DICOM file", Limits(max_voxels=100))


def test_frames_beyond_all_measure(tmp_path):
    ds = dp.changed(dp.series()[0], Rows=65_535, Columns=65_535, NumberOfFrames=100_000)
    refuse(dp.write([ds], tmp_path), LimitExceededError, "claims")


def test_deflated_file_that_grows(tmp_path, monkeypatch):
    (path,) = dp.write([dp.changed(dp.series()[0])], tmp_path)
    content = path.read_bytes()
    ds = dp.reread(path)
    ds.file_meta.TransferSyntaxUID = DeflatedExplicitVRLittleEndian
    ds.save_as(path, enforce_file_format=True)
    assert scan(path).stacks[0].slices == 1
    monkeypatch.setattr(headers, "_MAX_INFLATED_HEADER_BYTES", len(content) // 2)
    refuse([path], LimitExceededError, "deflated DICOM file grows beyond")
    with path.open("ab") as stream:
        stream.write(zlib.compress(b""))
    monkeypatch.setattr(headers, "_MAX_INFLATED_HEADER_BYTES", 2**30)
    refuse([path], LimitExceededError, "deflated DICOM file claims", Limits(max_array_bytes=100))


def test_transfer_syntaxes_without_a_decoder(tmp_path, monkeypatch):
    files = dp.write(dp.series(), tmp_path)
    for path in files:
        content = path.read_bytes()
        path.write_bytes(content.replace(b"1.2.840.10008.1.2.1\0", b"1.2.840.10008.1.2.9\0"))
    assert {item.kind for item in scan(files).other} <= {"damaged DICOM"}
    with pytest.raises(UnreadableFileError, match=r"MPEG2.*cannot be decoded"):
        check_decoder("1.2.840.10008.1.2.4.100")

    class Absent:
        is_available = False

    monkeypatch.setattr("medseg.io.dicom_checks.get_decoder", lambda uid: Absent())
    for uid, package in [
        ("1.2.840.10008.1.2.4.90", "pylibjpeg-openjpeg"),
        ("1.2.840.10008.1.2.4.80", "pyjpegls"),
        ("1.2.840.10008.1.2.4.70", "python-gdcm"),
        ("1.2.840.10008.1.2.4.201", "pylibjpeg-openjpeg"),
        ("1.2.840.10008.1.2.5", "pylibjpeg-rle"),
    ]:
        with pytest.raises(UnreadableFileError, match=f"install {package} "):
            check_decoder(uid)


def test_no_image_among_the_files(tmp_path):
    with pytest.raises(UnreadableFileError, match=r"no DICOM image among the 0 file\(s\)"):
        read_stack([])
    (tmp_path / "a").write_text("hello", encoding="utf-8")
    with pytest.raises(UnreadableFileError, match=r"1 file\(s\) given \(not DICOM\)"):
        read_stack([tmp_path / "a"])
    with pytest.raises(InputError, match="no file or folder called 'absent'"):
        find_stacks(tmp_path / "absent")
    assert find_stacks([]) == []


def test_objects_that_are_no_scan(tmp_path):
    kinds = {
        "1.2.840.10008.1.3.10": "DICOMDIR",
        "1.2.840.10008.5.1.4.1.1.66.4": "segmentation",
        "1.2.840.10008.5.1.4.1.1.66.7": "segmentation",
        "1.2.840.10008.5.1.4.1.1.66.1": "raw data or registration",
        "1.2.840.10008.5.1.4.1.1.88.33": "structured report",
        "1.2.840.10008.5.1.4.1.1.11.1": "presentation state",
        "1.2.840.10008.5.1.4.1.1.104.1": "encapsulated document",
        "1.2.840.10008.5.1.4.1.1.481.3": "structure set",
        "1.2.840.10008.5.1.4.1.1.481.2": "dose",
        "1.2.840.10008.5.1.4.1.1.481.5": "radiotherapy object",
        "1.2.840.10008.5.1.4.1.1.9.1.1": "waveform",
    }
    for n, uid in enumerate(kinds):
        ds = dp.changed(dp.series()[0], SOPClassUID=uid)
        ds.file_meta.MediaStorageSOPClassUID = uid
        dp.write([ds], tmp_path, f"k{n}")
    dp.write([dp.changed(dp.series()[0], Rows=None)], tmp_path, "norows")
    inventory = scan(tmp_path)
    assert inventory.stacks == ()
    wanted = [*kinds.values(), "no image"]
    assert inventory.counts == {kind: wanted.count(kind) for kind in wanted}
    assert all(item.reason for item in inventory.other)


def test_pipes_links_and_closed_files(tmp_path):
    dp.write(dp.series(), tmp_path / "in" / "deeper")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to(tmp_path, target_is_directory=True)
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    inventory = scan(tmp_path)
    assert [stack.slices for stack in inventory.stacks] == [dp.SLICES]
    assert inventory.counts == {"not a file": 1, "not readable": 1}
    assert scan(tmp_path, recursive=False).stacks == ()
    (tmp_path / "link").symlink_to(tmp_path / "in" / "deeper", target_is_directory=True)
    assert len(scan(tmp_path).stacks) == 1
    assert len(scan(tmp_path / "link").stacks) == 1
    assert scan(tmp_path / "dangling").counts == {"not readable": 1}


def test_random_bytes_are_never_dicom(tmp_path):
    rng = np.random.default_rng(8)
    for n, start in enumerate([b"\x08\x00\x05\x00", b"\x02\x00\x00\x00", b"\x00\x08\x00\x05", b""] * 20):
        (tmp_path / f"{n}.dcm").write_bytes(start + rng.bytes(2000))
    (tmp_path / "marked.dcm").write_bytes(bytes(128) + b"DICM" + rng.bytes(2000))
    inventory = scan(tmp_path)
    assert inventory.stacks == ()
    assert len(inventory.other) == 81


@pytest.mark.slow
def test_damaged_files_never_escape(tmp_path):
    (good,) = dp.write([dp.series()[0]], tmp_path)
    content = bytearray(good.read_bytes())
    rng = np.random.default_rng(9)
    path = tmp_path / "damaged.dcm"
    for _ in range(300):
        mutated = bytearray(content)
        for place in rng.integers(132, 1200, size=4):
            mutated[place] = int(rng.integers(256))
        path.write_bytes(mutated[: int(rng.integers(200, len(mutated)))])
        inventory = scan(path)
        assert len(inventory.stacks) + len(inventory.other) == 1
        with pytest.raises(InputError):
            read_stack([path])


def test_decoders_that_fail_are_mapped(tmp_path, monkeypatch):
    files = dp.write(dp.series(), tmp_path)

    class Panic(BaseException):
        pass

    for error in (RecursionError, Panic):

        def boom(*args, error=error, **kwargs):
            raise error("SECRET")

        monkeypatch.setattr("medseg.io.dicom_pixels.pixel_array", boom)
        refuse(files, UnreadableFileError, rf"cannot be decoded \({error.__name__}\)")

    def stop(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr("medseg.io.dicom_pixels.pixel_array", stop)
    with pytest.raises(KeyboardInterrupt):
        read_stack(files)
    monkeypatch.setattr("medseg.io.dicom_pixels.pixel_array", lambda *a, **k: np.zeros((2, 2), np.int16))
    refuse(files, UnreadableFileError, r"a frame decodes to \(2, 2\)")


def test_files_that_break_while_hashed(tmp_path, monkeypatch):
    slices = dp.series()
    files = dp.write([*slices, slices[2]], tmp_path)
    reads = headers.pydicom.dcmread

    def failing(source, **options):
        if isinstance(source, Path):
            raise OSError
        return reads(source, **options)

    monkeypatch.setattr(headers.pydicom, "dcmread", failing)
    assert "duplicate positions" in find_stacks(files)[0].reasons[0]


def test_warnings_worth_a_word(tmp_path):
    changes = {"PixelPaddingValue": -2000, "LossyImageCompression": "01", "RescaleType": "US"}
    stack = find_stacks(dp.write(dp.series(**changes), tmp_path / "a"))[0]
    assert stack.verdict == "warning"
    assert [reason.split(":")[0] for reason in stack.reasons] == [
        "pixel padding value",
        "lossy compression",
        "CT whose rescale type is 'unspecified'",
    ]
    slices = [dp.changed(ds, RescaleSlope=None, RescaleIntercept=None) for ds in dp.series()]
    for ds in slices:
        del ds.SeriesInstanceUID
    files = dp.write(slices, tmp_path / "b")
    stack = find_stacks(files)[0]
    assert [reason[:14] for reason in stack.reasons] == ["the files name", "CT without res"]
    volume = read_stack(files)
    assert (str(volume.unit), volume.source, stack.uid) == ("arbitrary", None, None)


def test_ct_in_another_unit_is_not_hu(tmp_path):
    files = dp.write(dp.series(RescaleType="MGML"), tmp_path / "a")
    assert str(read_stack(files).unit) == "arbitrary"
    assert "another unit (MGML)" in find_stacks(files)[0].reasons[0]
    derived = ["DERIVED", "PRIMARY", "PERFUSION"]
    unspecified = dp.series(RescaleType="US", ImageType=derived)
    assert str(read_stack(dp.write(unspecified, tmp_path / "b")).unit) == "arbitrary"
    assert str(read_stack(dp.write(dp.series(RescaleType="US"), tmp_path / "c")).unit) == "HU"
