"""Series that hold several stacks, classic and in one enhanced file."""

from __future__ import annotations

import random

import dicom_phantom as dp
import numpy as np
import pytest
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from medseg.errors import IncompleteSeriesError, UnreadableFileError
from medseg.io.dicom_frames import Header, classic_frame
from medseg.io.dicom_series import find_stacks, read_stack, scan


@pytest.mark.parametrize(
    ("attribute", "values", "words"),
    [
        ("EchoTime", (4.6, 9.2), "echo time"),
        ("EchoNumbers", (1, 2), "echo"),
        ("DiffusionBValue", (0.0, 1000.0), "b-value"),
        ("AcquisitionNumber", (1, 2), "acquisition"),
        ("ImageType", (["ORIGINAL", "PRIMARY", "M"], ["ORIGINAL", "PRIMARY", "P"]), "image type"),
        ("TriggerTime", (0, 40), "trigger time"),
    ],
)
def test_repeated_positions_are_split_by_what_differs(tmp_path, attribute, values, words):
    slices = []
    for n, each in enumerate(values):
        part = dp.series(modality="MR", **{attribute: each})
        slices += [dp.changed(ds, SOPInstanceUID=f"1.2.{n}.{k}") for k, ds in enumerate(part)]
    stacks = find_stacks(dp.write(slices, tmp_path))
    assert [stack.slices for stack in stacks] == [dp.SLICES] * 2
    assert len({stack.key for stack in stacks}) == 2
    assert all(words in stack.key for stack in stacks)
    for stack in stacks:
        assert dp.worst_error(read_stack(stack.files)) <= 0.51
        assert stack.verdict == "warning"


def test_two_keys_together(tmp_path):
    slices = [
        dp.changed(ds, SOPInstanceUID=f"1.2.{echo}.{time}.{n}")
        for echo in (1, 2)
        for time in (1, 2)
        for n, ds in enumerate(dp.series(EchoNumbers=echo, TemporalPositionIdentifier=time))
    ]
    stacks = find_stacks(dp.write(slices, tmp_path))
    assert [stack.slices for stack in stacks] == [dp.SLICES] * 4
    assert sum("temporal position 2, echo 1" in stack.key for stack in stacks) == 1


def test_a_key_of_each_slice_splits_nothing(tmp_path):
    slices = dp.series()
    extra = dp.changed(slices[3], SOPInstanceUID="1.9")
    dp.set_pixels(extra, dp.coded(extra) + 5)
    for n, ds in enumerate([*slices, extra]):
        ds.AcquisitionTime = f"1200{n:02d}"
    (stack,) = find_stacks(dp.write([*slices, extra], tmp_path))
    assert "duplicate positions" in stack.reasons[0]


def test_copies_of_a_series_in_two_folders(tmp_path):
    dp.write(dp.series(), tmp_path / "a")
    dp.write(dp.series(), tmp_path / "b")
    stacks = find_stacks(tmp_path)
    assert [stack.slices for stack in stacks] == [dp.SLICES] * 2
    assert {stack.key for stack in stacks} == {"axial, 36 × 40, folder 1", "axial, 36 × 40, folder 2"}
    assert all("SECRET" not in reason for stack in stacks for reason in stack.reasons)


def test_two_planes_in_one_series(tmp_path):
    files = dp.write(dp.series("axial"), tmp_path) + dp.write(dp.series("coronal"), tmp_path, "b")
    stacks = find_stacks(files)
    assert {stack.key for stack in stacks} == {"axial, 36 × 40", "coronal, 36 × 40"}
    with pytest.raises(IncompleteSeriesError, match="several stacks"):
        read_stack(files)
    assert read_stack(files, key="axial, 36 × 40").geometry.orientation == "LPS"
    with pytest.raises(IncompleteSeriesError, match="0 stacks are called 'nothing'"):
        read_stack(files, key="nothing")


def test_stacks_alike_are_numbered(tmp_path):
    files = dp.write(dp.series(FrameOfReferenceUID="1.1"), tmp_path)
    files += dp.write(dp.series(FrameOfReferenceUID="1.2"), tmp_path, "b")
    assert {stack.key for stack in find_stacks(files)} == {
        "axial, 36 × 40 (1 of 2)",
        "axial, 36 × 40 (2 of 2)",
    }


def test_many_strays_beside_a_small_stack(tmp_path):
    files = dp.write(dp.series(offsets=[0, 2.5]), tmp_path)
    for n in range(3):
        files += dp.write([dp.make_slice(dp.positions()[n], "axial", n, Columns=50 + n)], tmp_path, f"s{n}")
    with pytest.raises(IncompleteSeriesError, match="no stack holds most"):
        read_stack(files)


def test_a_usable_stack_beside_a_larger_refused_one(tmp_path):
    files = dp.write(dp.series("axial", [0, 1, 5, 6, 9, 11]), tmp_path)
    files += dp.write(dp.series("coronal", [0, 2.5]), tmp_path, "b")
    with pytest.raises(IncompleteSeriesError, match="several stacks"):
        read_stack(files)


def test_only_localizers(tmp_path):
    files = dp.write(dp.series(ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path)
    with pytest.raises(IncompleteSeriesError, match=r"^localizer"):
        read_stack(files)


def test_images_without_orientation(tmp_path):
    slices = dp.series() + [dp.changed(ds, ImageOrientationPatient=None) for ds in dp.series()]
    stacks = find_stacks(dp.write(slices, tmp_path))
    assert {stack.key for stack in stacks} == {"axial, 36 × 40", "no orientation, 36 × 40"}


def test_enhanced_file_with_two_time_points(tmp_path):
    order = random.Random(2).sample(range(2 * dp.SLICES), 2 * dp.SLICES)
    (path,) = dp.write([dp.enhanced("oblique", temporal=(1, 2), order=order)], tmp_path)
    stacks = find_stacks(path)
    assert [stack.slices for stack in stacks] == [dp.SLICES] * 2
    assert all(stack.files == (path,) for stack in stacks)
    with pytest.raises(IncompleteSeriesError, match="several stacks"):
        read_stack([path])
    for stack in stacks:
        assert dp.worst_error(read_stack([path], key=stack.key)) <= 1.6


def test_enhanced_file_split_by_its_dimensions_alone(tmp_path):
    ds = dp.enhanced(temporal=(1, 2))
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence[0].TemporalPositionIndex
    stacks = find_stacks(dp.write([ds], tmp_path))
    assert {stack.key for stack in stacks} == {
        "axial, 36 × 40, dimension 1 1",
        "axial, 36 × 40, dimension 1 2",
    }


def test_enhanced_frames_that_nothing_tells_apart(tmp_path):
    ds = dp.enhanced(temporal=(1, 2))
    for group in ds.PerFrameFunctionalGroupsSequence:
        del group.FrameContentSequence
    files = dp.write([ds], tmp_path)
    with pytest.raises(IncompleteSeriesError, match="duplicate positions"):
        read_stack(files)


def test_one_enhanced_file_for_each_time_point(tmp_path):
    files = dp.write([dp.enhanced(), dp.changed(dp.enhanced(), SOPInstanceUID="1.77")], tmp_path)
    stacks = find_stacks(files)
    assert [len(stack.files) for stack in stacks] == [1, 1]
    assert {stack.key for stack in stacks} == {"axial, 36 × 40, file 1", "axial, 36 × 40, file 2"}


def test_enhanced_file_that_describes_too_few_frames(tmp_path):
    ds = dp.enhanced()
    ds.PerFrameFunctionalGroupsSequence = Sequence(list(ds.PerFrameFunctionalGroupsSequence)[:-1])
    with pytest.raises(UnreadableFileError, match="holds 12 frames but describes 11"):
        read_stack(dp.write([ds], tmp_path))


def test_enhanced_file_with_a_gap(tmp_path):
    with pytest.raises(IncompleteSeriesError, match="missing slice"):
        read_stack(dp.write([dp.enhanced(offsets=[0, 2.5, 5, 10, 12.5, 15])], tmp_path))


def test_enhanced_geometry_at_the_top_of_the_file(tmp_path):
    ds = dp.enhanced()
    shared = ds.SharedFunctionalGroupsSequence[0]
    ds.PixelSpacing = shared.PixelMeasuresSequence[0].PixelSpacing
    ds.ImageOrientationPatient = shared.PlaneOrientationSequence[0].ImageOrientationPatient
    ds.SharedFunctionalGroupsSequence = Sequence([Dataset()])
    assert dp.worst_error(read_stack(dp.write([ds], tmp_path))) <= 1.6


def test_enhanced_frame_type_marks_a_localizer(tmp_path):
    ds = dp.enhanced()
    kind = Dataset()
    kind.FrameType = ["ORIGINAL", "PRIMARY", "LOCALIZER", "NONE"]
    ds.SharedFunctionalGroupsSequence[0].CTImageFrameTypeSequence = Sequence([kind])
    with pytest.raises(IncompleteSeriesError, match=r"^localizer"):
        read_stack(dp.write([ds], tmp_path))


def test_every_file_ends_in_one_place(tmp_path):
    dp.write(dp.series(), tmp_path / "a")
    dp.write(dp.series("coronal", ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"]), tmp_path / "a", "loc")
    dp.write([dp.enhanced(temporal=(1, 2))], tmp_path / "b")
    (tmp_path / "c.txt").write_text("text", encoding="utf-8")
    inventory = scan(tmp_path)
    placed = {path for stack in inventory.stacks for path in stack.files}
    left = {item.path for item in inventory.other}
    assert placed.isdisjoint(left)
    assert placed | left == {path for path in tmp_path.rglob("*") if path.is_file()}


def test_a_header_of_a_private_syntax_is_not_native(tmp_path):
    path = dp.write(dp.series()[:1], tmp_path)[0]
    frame = scan(path)
    assert frame.stacks[0].slices == 1
    ds = dp.reread(path)
    fields = dict.fromkeys(Header.__slots__)
    header = Header(**{**fields, "transfer_syntax": "1.2.3", "path": path, "image_type": ()})
    assert not header.native
    assert classic_frame(ds, header).position == tuple(map(float, ds.ImagePositionPatient))
    assert np.isfinite(classic_frame(ds, header).spacing).all()
