"""The faults that series have in practice, in four planes: read exactly, or refused by the fault's name."""

from __future__ import annotations

import random

import dicom_phantom as dp
import numpy as np
import pytest

from medseg.errors import IncompleteSeriesError, InputError, UnreadableFileError
from medseg.io.dicom_series import find_stacks, read_stack, scan
from medseg.spatial import Unit

HALF = 0.5001


@pytest.fixture(params=list(dp.PLANES))
def plane(request) -> str:
    return request.param


def refused(files, words: str, error: type[InputError] = IncompleteSeriesError) -> None:
    """Reading raises, and the inventory says the same beforehand."""
    with pytest.raises(error, match=words) as caught:
        read_stack(files)
    assert "SECRET" not in str(caught.value)
    verdicts = [(stack.verdict, stack.error) for stack in find_stacks(files)]
    assert any(
        verdict == "refused" and type(found) is error and str(found) == str(caught.value)
        for verdict, found in verdicts
    )


def exact(files, n: int = dp.SLICES, tolerance: float = HALF):
    volume = read_stack(files)
    assert volume.geometry.shape == (dp.COLUMNS, dp.ROWS, n)
    assert dp.worst_error(volume) <= tolerance
    return volume


def test_a_shuffled_instance_numbers(tmp_path, plane):
    slices = dp.series(plane)
    for ds, number in zip(slices, random.Random(3).sample(range(1, 99), len(slices)), strict=True):
        ds.InstanceNumber = number
    files = dp.write(slices, tmp_path)
    random.Random(1).shuffle(files)
    volume = exact(files)
    assert volume.unit is Unit.HU
    assert volume.source == dp.SERIES
    assert volume.array.dtype == np.int16
    assert volume.geometry.frame_of_reference_uid == "1.2.3.4"
    assert volume.geometry.spacing_mm == pytest.approx((1.3, 0.8, 2.5))
    (stack,) = find_stacks(tmp_path)
    assert (stack.verdict, stack.reasons, stack.error, stack.key) == ("usable", (), None, None)
    assert (stack.modality, stack.slices, stack.uid) == ("CT", dp.SLICES, dp.SERIES)
    assert stack.geometry.same_grid(volume.geometry)
    assert [dp.reread(f).ImagePositionPatient for f in stack.files] == [
        ds.ImagePositionPatient for ds in slices
    ]


@pytest.mark.parametrize("gone", [(5,), (4, 5), (3, 8)])
def test_b_missing_slices(tmp_path, plane, gone):
    slices = [ds for n, ds in enumerate(dp.series(plane)) if n not in gone]
    origin = float(dp.positions(plane)[0] @ dp.normal(plane))
    before = origin + (gone[0] - 1) * dp.STEP
    gap = dp.STEP * (3 if gone == (4, 5) else 2)
    refused(
        dp.write(slices, tmp_path),
        rf"missing slice.*between {before:.2f} and {before + gap:.2f} mm \(gap {gap:.2f} mm\)",
    )


def test_b_missing_slice_of_three(tmp_path):
    refused(dp.write(dp.series(offsets=[0, 2.5, 7.5]), tmp_path), "missing slice")


def test_c_same_slice_twice(tmp_path, plane):
    slices = dp.series(plane)
    files = dp.write([*slices, slices[4]], tmp_path)
    exact(files)
    (stack,) = find_stacks(files)
    assert stack.verdict == "warning"
    assert "identical pixels" in stack.reasons[0]
    assert len(stack.files) == dp.SLICES


def test_c_duplicate_position_with_other_pixels(tmp_path, plane):
    slices = dp.series(plane)
    other = dp.changed(slices[4], SOPInstanceUID="1.2.9")
    dp.set_pixels(other, dp.coded(other) + 1)
    refused(dp.write([*slices, other], tmp_path), "duplicate positions with different pixels at")


def test_d_localizer_in_the_series(tmp_path, plane):
    across = "sagittal" if plane != "sagittal" else "axial"
    localizer = dp.series(across, [0.0], ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
    files = dp.write(dp.series(plane), tmp_path) + dp.write(localizer, tmp_path, "loc")
    exact(files)
    main, scout = find_stacks(tmp_path)
    assert main.verdict == "warning"
    assert "localizer" in main.reasons[0]
    assert scout.verdict == "refused"
    assert scout.key == "localizer"
    refused(scout.files, "localizer")


def test_e_two_series_in_one_folder(tmp_path, plane):
    files = dp.write(dp.series(plane), tmp_path)
    files += dp.write(dp.series(plane, SeriesInstanceUID="1.2.5", offsets=[0, 3, 6]), tmp_path, "b")
    stacks = find_stacks(tmp_path)
    assert sorted(stack.slices for stack in stacks) == [3, dp.SLICES]
    for stack in stacks:
        exact(stack.files, stack.slices)
    with pytest.raises(IncompleteSeriesError, match="several stacks"):
        read_stack(files)


@pytest.mark.parametrize("offsets", [[0, 2.5, 5, 7.5, 10, 15, 20, 25, 30], [0, 2.5, 5.6, 8.1], [0, 1, 3, 7]])
def test_f_uneven_spacing(tmp_path, plane, offsets):
    refused(dp.write(dp.series(plane, offsets), tmp_path), "uneven spacing: steps run from")


@pytest.mark.parametrize("degrees", [15.0, -15.0, 0.5])
def test_g_gantry_tilt(tmp_path, plane, degrees):
    along_rows = np.array(dp.PLANES[plane][3:], float) * np.tan(np.deg2rad(degrees))
    slices = [
        dp.make_slice(position + along_rows * n * dp.STEP, plane, n)
        for n, position in enumerate(dp.positions(plane))
    ]
    refused(dp.write(slices, tmp_path), f"gantry tilt.*{abs(degrees):.2f} degrees")


@pytest.mark.parametrize("first_is_zero", [False, True])
def test_h_pet_slope_of_each_slice(tmp_path, plane, first_is_zero):
    slices = dp.series(plane, modality="PT")
    for n, ds in enumerate(slices):
        values = dp.coded(ds)
        ds.RescaleSlope = 0.08 * (n + 1)
        dp.set_pixels(ds, values)
        if first_is_zero and n == 0:
            ds.PixelData = bytes(len(ds.PixelData))
    volume = read_stack(dp.write(slices, tmp_path))
    assert volume.array.dtype == np.float32
    assert volume.unit is Unit.ARBITRARY
    start = 1 if first_is_zero else 0
    indices = np.stack(np.indices(volume.geometry.shape), axis=-1)[:, :, start:]
    wanted = dp.value(volume.geometry.to_world(indices) * [-1, -1, 1])
    assert np.abs(volume.array[:, :, start:] - wanted).max() < 1.0
    assert not first_is_zero or not volume.array[:, :, 0].any()


def test_i_pixels_not_square(tmp_path, plane):
    volume = exact(dp.write(dp.series(plane, PixelSpacing=[0.5, 1.5]), tmp_path))
    assert volume.geometry.spacing_mm == pytest.approx((1.5, 0.5, 2.5))


@pytest.mark.parametrize(("kept", "words"), [(0, "no pixel data"), (12, "truncated"), (-2, "truncated")])
def test_k_truncated_file(tmp_path, plane, kept, words):
    files = dp.write(dp.series(plane), tmp_path)
    content = files[3].read_bytes()
    pixels = content.index(b"\xe0\x7f\x10\x00")
    files[3].write_bytes(content[: pixels + kept] if kept >= 0 else content[:kept])
    refused(files, f"1 of 12 image.*at .* mm.*{words}", UnreadableFileError)


def test_k_cut_before_its_rows(tmp_path):
    files = dp.write(dp.series(), tmp_path)
    files[3].write_bytes(files[3].read_bytes()[:400])
    inventory = scan(tmp_path)
    assert len(inventory.other) == 1
    assert "missing slice" in inventory.stacks[0].reasons[0]


def test_l_without_preamble(tmp_path, plane):
    files = dp.write(dp.series(plane), tmp_path)
    for path in files:
        path.write_bytes(path.read_bytes()[132:])
    exact(files)
    bare = tmp_path / "bare"
    bare.mkdir()
    without_meta = []
    for n, ds in enumerate(dp.series(plane)):
        path = bare / f"{n}"
        del ds.file_meta.TransferSyntaxUID
        ds.save_as(path, implicit_vr=True, little_endian=True, enforce_file_format=False)
        content = path.read_bytes()
        path.write_bytes(content[content.index(b"\x08\x00\x08\x00") :])
        without_meta.append(path)
    exact(without_meta)


@pytest.mark.parametrize("modality", ["CT", "MR"])
def test_m_enhanced_multi_frame(tmp_path, plane, modality):
    order = random.Random(5).sample(range(dp.SLICES), dp.SLICES)
    files = dp.write([dp.enhanced(plane, modality=modality, order=order)], tmp_path)
    volume = exact(files, tolerance=1.6)
    assert volume.array.dtype == np.float32
    (stack,) = find_stacks(tmp_path)
    assert (stack.verdict, stack.slices) == ("usable", dp.SLICES)


def test_o_unsigned_beyond_32767(tmp_path, plane):
    changes = {"PixelRepresentation": 0, "RescaleIntercept": -40_000}
    volume = exact(dp.write(dp.series(plane, **changes), tmp_path))
    assert volume.array.dtype == np.int16


def test_p_lying_thickness_and_spacing_between_slices(tmp_path, plane):
    exact(dp.write(dp.series(plane, SpacingBetweenSlices=20, SliceThickness=-1), tmp_path))


def test_q_intercept_of_each_slice(tmp_path, plane):
    slices = dp.series(plane)
    for n, ds in enumerate(slices):
        values = dp.coded(ds)
        ds.RescaleIntercept = -1000 * n
        dp.set_pixels(ds, values)
    assert exact(dp.write(slices, tmp_path)).array.dtype == np.int16


@pytest.mark.parametrize(("where", "verdict"), [(5, "refused"), (11, "warning")])
def test_r_one_slice_with_another_matrix(tmp_path, plane, where, verdict):
    slices = dp.series(plane)
    slices[where] = dp.make_slice(dp.positions(plane)[where], plane, where, Columns=38)
    files = dp.write(slices, tmp_path)
    main = find_stacks(tmp_path)[0]
    assert main.verdict == verdict
    if verdict == "refused":
        refused(files, "missing slice")
    else:
        assert "38 × 40" in main.reasons[0]
        exact(files, 11)


def test_s_junk_beside_the_series(tmp_path, plane):
    dp.write(dp.series(plane), tmp_path)
    (tmp_path / "Thumbs.db").write_bytes(random.Random(0).randbytes(5000))
    (tmp_path / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
    (tmp_path / "empty").touch()
    (tmp_path / "looks.dcm").write_bytes(b"\x08\x00" + random.Random(1).randbytes(3000))
    (stack,) = find_stacks(tmp_path)
    exact(stack.files)
    assert scan(tmp_path).counts == {"empty file": 1, "not DICOM": 3}


def test_t_two_time_points_in_one_series(tmp_path, plane):
    slices = dp.series(plane, TemporalPositionIdentifier=1)
    slices += dp.series(plane, TemporalPositionIdentifier=2)
    for n, ds in enumerate(slices):
        ds.SOPInstanceUID = f"1.2.7.{n}"
    files = dp.write(slices, tmp_path)
    stacks = find_stacks(tmp_path)
    assert [stack.slices for stack in stacks] == [dp.SLICES] * 2
    assert [stack.verdict for stack in stacks] == ["warning"] * 2
    assert {stack.key.split(", ")[-1] for stack in stacks} == {"temporal position 1", "temporal position 2"}
    for stack in stacks:
        exact(stack.files)
    with pytest.raises(IncompleteSeriesError, match=r"several stacks.*temporal position 2"):
        read_stack(files)
    assert read_stack(files, key=stacks[1].key).geometry.shape == stacks[1].shape


def test_u_positions_that_jitter(tmp_path, plane):
    rng = np.random.default_rng(4)
    slices = [
        dp.make_slice(position + rng.uniform(-0.008, 0.008, 3), plane, n)
        for n, position in enumerate(dp.positions(plane))
    ]
    exact(dp.write(slices, tmp_path), tolerance=HALF + 0.03 * 25)
    assert find_stacks(tmp_path)[0].verdict == "usable"


def test_v_monochrome1_is_not_inverted(tmp_path, plane):
    files = dp.write(dp.series(plane, PhotometricInterpretation="MONOCHROME1"), tmp_path)
    exact(files)
    (stack,) = find_stacks(tmp_path)
    assert stack.verdict == "warning"
    assert "MONOCHROME1" in stack.reasons[0]


def test_w_secondary_capture_in_the_series(tmp_path, plane):
    capture = dp.changed(dp.series(plane)[0], SOPClassUID="1.2.840.10008.5.1.4.1.1.7", SOPInstanceUID="1.2.8")
    files = dp.write(dp.series(plane), tmp_path) + dp.write([capture], tmp_path, "sc")
    exact(files)
    main, other = find_stacks(tmp_path)
    assert main.verdict == "warning"
    refused(other.files, "secondary capture")
    del capture.ImagePositionPatient
    dp.write([capture], tmp_path, "sc")
    inventory = scan(tmp_path)
    assert inventory.counts == {"secondary capture": 1}
    assert len(inventory.stacks) == 1


@pytest.mark.parametrize("flip", [(1, -1), (-1, 1), (-1, -1)])
def test_x_rows_and_columns_flipped(tmp_path, plane, flip):
    orientation = np.array(dp.PLANES[plane], float) * np.repeat(flip, 3)
    exact(dp.write(dp.series(plane, ImageOrientationPatient=orientation.tolist()), tmp_path))


def test_y_single_slice(tmp_path, plane):
    refused(dp.write(dp.series(plane, [0.0]), tmp_path), "single slice")


def test_z_orientation_that_drifts(tmp_path, plane):
    slices = []
    for n, position in enumerate(dp.positions(plane)):
        angle = np.deg2rad(n)
        row, column = np.array(dp.PLANES[plane][:3], float), np.array(dp.PLANES[plane][3:], float)
        turned = np.cos(angle) * row + np.sin(angle) * column
        other = np.cos(angle) * column - np.sin(angle) * row
        slices.append(dp.make_slice(position, plane, n, ImageOrientationPatient=[*turned, *other]))
    refused(dp.write(slices, tmp_path), "mixed orientations")
