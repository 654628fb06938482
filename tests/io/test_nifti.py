import gzip
import hashlib
import logging
import os
import tracemalloc
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from medseg.errors import GeometryMismatchError, InputError, LimitExceededError, UnreadableFileError
from medseg.io.limits import Limits
from medseg.io.nifti import read_nifti
from medseg.spatial import Volume

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([1.0, 2.0, 3.0]), [10, -20, 30]
)


def save(path, array, affine=OBLIQUE, kind=nibabel.Nifti1Image, **fields):
    image = kind(array, affine)
    image.header.set_xyzt_units("mm")
    for name, value in fields.items():
        image.header[name] = value
    nibabel.save(image, path)
    return path


def patched(path, offset, data):
    """Change bytes of an uncompressed file."""
    raw = bytearray(path.read_bytes())
    raw[offset : offset + len(data)] = data
    path.write_bytes(raw)
    return path


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


# Reading what others wrote.


@pytest.mark.parametrize(
    "kind", [nibabel.Nifti1Image, nibabel.Nifti2Image, nibabel.Nifti1Pair, nibabel.Nifti2Pair]
)
@pytest.mark.parametrize("packed", ["", ".gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_equals_nibabel(tmp_path, kind, packed, dtype):
    array = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)
    pair = kind in (nibabel.Nifti1Pair, nibabel.Nifti2Pair)
    path = tmp_path / (("x.img" if pair else "x.nii") + packed)
    image = kind(array, OBLIQUE, dtype=dtype)
    nibabel.save(image, path)
    volume = read_nifti(path)
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.geometry.affine, nibabel.load(path).affine, atol=1e-6)
    if pair:
        header = tmp_path / ("x.hdr" + packed)
        assert read_nifti(header).source == volume.source
        files = [header, path]
    else:
        files = [path]
    assert volume.source == "sha256:" + hashlib.sha256(b"".join(f.read_bytes() for f in files)).hexdigest()


@pytest.mark.parametrize("kind", [nibabel.Nifti1Image, nibabel.Nifti2Image])
def test_big_endian(tmp_path, array, kind):
    header = kind.header_class(endianness=">")
    header.set_data_dtype(np.dtype(">i2"))
    image = kind(array.astype(">i2"), OBLIQUE, header)
    nibabel.save(image, tmp_path / "x.nii")
    assert (tmp_path / "x.nii").read_bytes()[:2] == b"\0\0"
    volume = read_nifti(tmp_path / "x.nii")
    assert volume.array.dtype.isnative
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.geometry.affine, OBLIQUE, atol=1e-5)


def test_upper_case_pair(tmp_path, array):
    nibabel.save(nibabel.Nifti1Pair(array, OBLIQUE), tmp_path / "x.img")
    (tmp_path / "x.img").rename(tmp_path / "X.IMG")
    (tmp_path / "x.hdr").rename(tmp_path / "X.HDR")
    np.testing.assert_array_equal(read_nifti(tmp_path / "X.IMG").array, array)


def test_gzip_under_a_plain_name_and_the_reverse(tmp_path, array):
    raw = save(tmp_path / "x.nii", array).read_bytes()
    (tmp_path / "y.nii").write_bytes(gzip.compress(raw))
    (tmp_path / "z.nii.gz").write_bytes(raw)
    np.testing.assert_array_equal(read_nifti(tmp_path / "y.nii").array, array)
    np.testing.assert_array_equal(read_nifti(tmp_path / "z.nii.gz").array, array)


def test_gzip_of_several_members(tmp_path, array):
    raw = save(tmp_path / "x.nii", array).read_bytes()
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(raw[:500]) + gzip.compress(raw[500:]))
    np.testing.assert_array_equal(read_nifti(tmp_path / "y.nii.gz").array, array)


def test_extensions_are_passed_over(tmp_path, array):
    image = nibabel.Nifti1Image(array, OBLIQUE)
    image.header.extensions.append(nibabel.nifti1.Nifti1Extension("comment", b"x" * 1000))
    nibabel.save(image, tmp_path / "x.nii.gz")
    np.testing.assert_array_equal(read_nifti(tmp_path / "x.nii.gz").array, array)


@pytest.mark.parametrize("shape", [(5, 6), (5, 6, 7, 1), (5, 6, 7, 1, 1), (5,)])
def test_singleton_axes(tmp_path, shape):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    volume = read_nifti(save(tmp_path / "x.nii", array))
    assert volume.array.shape == (*shape, 1, 1)[:3]
    np.testing.assert_array_equal(volume.array.reshape(shape), array)


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set MEDSEG_DATA)")
def test_real_files_equal_nibabel():
    files = [
        next(DATA.glob(f"{folder}/**/*.nii.gz"))
        for folder in ("hippocampus", "ms_lesions", "organs", "vertebrae")
    ]
    for path in files:
        volume, image = read_nifti(path), nibabel.load(path)
        np.testing.assert_array_equal(volume.array, np.asarray(image.dataobj))
        np.testing.assert_allclose(volume.geometry.affine, image.affine, atol=1e-6)


# Scaling.


@pytest.mark.parametrize(
    ("dtype", "values", "slope", "intercept", "expected"),
    [
        ("i2", (-5, 3), 0.5, 10, np.float32),
        ("u1", (0, 255), 1.0, -1024, np.float32),
        ("i4", (0, 1000), 2.0, 0, np.float32),
        ("i4", (0, (1 << 24) + 1), 2.0, 0, np.float64),
        ("f4", (0, 1), 2.0, 0, np.float32),
        ("f8", (0, 1), 2.0, 0, np.float64),
        ("f4", (0, 1e30), 1e20, 0, np.float64),
        ("i2", (-5, 3), float("nan"), 7, np.int16),
        ("i2", (-5, 3), 0, 7, np.int16),
        ("i2", (-5, 3), 1, 0, np.int16),
    ],
)
def test_scaling(tmp_path, dtype, values, slope, intercept, expected):
    array = np.zeros((2, 3, 4), dtype)
    array[0, 0, :2] = values
    path = save(tmp_path / "x.nii", array)
    patched(path, 112, np.array([slope, intercept], "<f4").tobytes())
    volume = read_nifti(path)
    assert volume.array.dtype == expected
    if expected is np.int16:
        slope, intercept = 1, 0
    np.testing.assert_allclose(
        volume.array, array.astype(np.float64) * np.float32(slope) + intercept, rtol=1e-6
    )


@pytest.mark.parametrize("intercept", [float("nan"), float("inf")])
def test_intercept_that_is_no_number(tmp_path, array, intercept):
    path = patched(save(tmp_path / "x.nii", array), 112, np.array([2, intercept], "<f4").tobytes())
    with pytest.raises(UnreadableFileError, match="intercept"):
        read_nifti(path)


# Where it lies.


def header_with(path, array, sform=None, qform=None, sform_code=0, qform_code=0):
    image = nibabel.Nifti1Image(array, None)
    image.header.set_zooms((1.5, 2.5, 3.5))
    image.header["qform_code"], image.header["sform_code"] = qform_code, sform_code
    if sform is not None:
        image.header["srow_x"], image.header["srow_y"], image.header["srow_z"] = sform[:3]
    if qform is not None:
        image.header.set_qform(qform, qform_code)
        image.header["sform_code"] = sform_code
    path.write_bytes(image.header.binaryblock + b"\0" * 4 + array.tobytes(order="F"))
    return path


def header_of(path, array, **forms):
    path = header_with(path, array, **forms)
    # nibabel leaves the offset open until it saves.
    return patched(patched(path, 108, np.float32(352).tobytes()), 344, b"n+1\0")


def test_sform_goes_before_qform_with_a_warning(tmp_path, array, caplog):
    other = OBLIQUE.copy()
    other[:3, 3] += 1
    path = header_of(tmp_path / "x.nii", array, sform=OBLIQUE, qform=other, sform_code=1, qform_code=1)
    with caplog.at_level(logging.WARNING):
        volume = read_nifti(path)
    np.testing.assert_allclose(volume.geometry.affine, OBLIQUE, atol=1e-5)
    assert "up to 1.73 mm apart" in caplog.text


def test_agreeing_forms_give_no_warning(tmp_path, array, caplog):
    path = header_of(tmp_path / "x.nii", array, sform=OBLIQUE, qform=OBLIQUE, sform_code=1, qform_code=1)
    with caplog.at_level(logging.WARNING):
        read_nifti(path)
    assert caplog.text == ""


def test_unusable_qform_beside_an_sform_is_only_logged(tmp_path, array, caplog):
    path = header_of(tmp_path / "x.nii", array, sform=OBLIQUE, sform_code=1, qform_code=1)
    patched(path, 256, np.array([2, 2, 2], "<f4").tobytes())
    with caplog.at_level(logging.WARNING):
        volume = read_nifti(path)
    np.testing.assert_allclose(volume.geometry.affine, OBLIQUE, atol=1e-5)
    assert "unusable qform beside its sform" in caplog.text


def test_qform_without_sform(tmp_path, array):
    path = header_of(tmp_path / "x.nii", array, sform=np.eye(4) * 7, qform=OBLIQUE, qform_code=1)
    np.testing.assert_allclose(read_nifti(path).geometry.affine, OBLIQUE, atol=1e-5)


def test_left_handed_qform(tmp_path, array):
    flipped = OBLIQUE @ np.diag([-1, 1, 1, 1])
    path = header_of(tmp_path / "x.nii", array, qform=flipped, qform_code=1)
    np.testing.assert_allclose(read_nifti(path).geometry.affine, flipped, atol=1e-5)


def test_neither_form_is_read_as_nibabel_does_with_a_warning(tmp_path, array, caplog):
    path = header_of(tmp_path / "x.nii", array)
    with caplog.at_level(logging.WARNING):
        volume = read_nifti(path)
    np.testing.assert_allclose(volume.geometry.affine, nibabel.load(path).affine)
    assert volume.geometry.spacing_mm == (1.5, 2.5, 3.5)
    assert "left and right" in caplog.text


@pytest.mark.parametrize("sizes", [(0, 1, 1), (1, -1, 1), (1, 1, float("nan"))])
@pytest.mark.parametrize("code", [0, 1])
def test_unusable_voxel_sizes_where_only_they_say(tmp_path, array, sizes, code):
    path = header_of(tmp_path / "x.nii", array, qform_code=code)
    patched(path, 80, np.array(sizes, "<f4").tobytes())
    with pytest.raises(GeometryMismatchError, match="voxel sizes"):
        read_nifti(path)


def test_unusable_quaternion(tmp_path, array):
    path = patched(
        header_of(tmp_path / "x.nii", array, qform_code=1), 256, np.array([2, 2, 2], "<f4").tobytes()
    )
    with pytest.raises(GeometryMismatchError, match="unusable qform"):
        read_nifti(path)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_non_finite_sform(tmp_path, array, value):
    path = patched(save(tmp_path / "x.nii", array), 280, np.float32(value).tobytes())
    with pytest.raises(GeometryMismatchError, match=r"sform of x\.nii .* NaN or infinite"):
        read_nifti(path)


def test_non_finite_qform(tmp_path, array):
    path = header_of(tmp_path / "x.nii", array, qform=OBLIQUE, qform_code=1)
    patched(path, 268, np.float32(np.inf).tobytes())
    with pytest.raises(GeometryMismatchError, match=r"qform of x\.nii .* NaN or infinite"):
        read_nifti(path)


def test_singular_sform_is_never_replaced_by_the_qform(tmp_path, array):
    flat = OBLIQUE.copy()
    flat[:3, 2] = 0
    path = header_of(tmp_path / "x.nii", array, sform=flat, qform=OBLIQUE, sform_code=1, qform_code=1)
    with pytest.raises(GeometryMismatchError, match=r"sform of x\.nii .* singular"):
        read_nifti(path)


@pytest.mark.parametrize("scale", [1e-5, 1e4])
def test_spacing_outside_the_limits(tmp_path, array, scale):
    path = save(tmp_path / "x.nii", array, np.diag([scale, scale, scale, 1]))
    with pytest.raises(GeometryMismatchError, match="spacing of"):
        read_nifti(path)


@pytest.mark.parametrize(("unit", "factor"), [(0, 1), (1, 1000), (2, 1), (3, 1e-3), (2 + 8, 1)])
@pytest.mark.parametrize("form", ["sform", "qform"])
def test_units_of_length(tmp_path, array, unit, factor, form):
    in_unit = np.diag([1 / factor, 1 / factor, 1 / factor, 1]) @ OBLIQUE
    path = header_of(tmp_path / "x.nii", array, **{form: in_unit, f"{form}_code": 1})
    patched(path, 123, bytes([unit]))
    np.testing.assert_allclose(read_nifti(path).geometry.affine, OBLIQUE, atol=1e-4)


def test_unknown_unit_of_length(tmp_path, array):
    path = patched(save(tmp_path / "x.nii", array), 123, bytes([5]))
    with pytest.raises(GeometryMismatchError, match="unknown unit 5"):
        read_nifti(path)


# Refusals.


def test_four_dimensions_are_named(tmp_path, array):
    path = save(tmp_path / "x.nii.gz", np.stack([array] * 3, -1))
    with pytest.raises(InputError, match=r"4D \(5 × 6 × 7 × 3\) where one 3D volume is expected; split it"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        (np.complex64, "complex64"),
        (np.complex128, "complex128"),
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1")]), "RGB"),
        (np.dtype([("R", "u1"), ("G", "u1"), ("B", "u1"), ("A", "u1")]), "RGBA"),
    ],
)
def test_colour_and_complex_are_named(tmp_path, dtype, name):
    path = save(tmp_path / "x.nii", np.zeros((3, 3, 3), dtype))
    with pytest.raises(InputError, match=f"has {name} voxels"):
        read_nifti(path)


@pytest.mark.parametrize(
    ("offset", "data", "message"),
    [
        (0, b"abcd", "does not begin with a NIfTI header"),
        (344, b"abcd", "no NIfTI mark"),
        (40, np.int16(0).tobytes(), "claims 0 dimensions"),
        (42, np.int16(-5).tobytes(), "each must be 1 or more"),
        (70, np.int16(77).tobytes(), "unknown type 77"),
        (72, np.int16(8).tobytes(), "claims 8 bits a voxel but its data type int16 has 16"),
        (108, np.float32(100).tobytes(), "begin at byte 100"),
        (108, np.float32(352.5).tobytes(), "begin at byte 352.5"),
        (108, np.float32(np.nan).tobytes(), "begin at byte nan"),
        (108, np.float32(1e30).tobytes(), r"begin at byte 1e\+30"),
        (108, np.float32(4096).tobytes(), "ends within its header|truncated"),
    ],
)
def test_header_that_contradicts_itself(tmp_path, array, offset, data, message):
    path = patched(save(tmp_path / "x.nii", array), offset, data)
    with pytest.raises(InputError, match=message):
        read_nifti(path)


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"this is not a scan", "does not begin"), (b"\1", "ends within its header")],
)
def test_files_that_are_no_image(tmp_path, content, message):
    (tmp_path / "x.nii.gz").write_bytes(content)
    with pytest.raises(UnreadableFileError, match=message):
        read_nifti(tmp_path / "x.nii.gz")


def test_missing_file_folder_and_missing_half(tmp_path, array):
    with pytest.raises(InputError, match="there is no file"):
        read_nifti(tmp_path / "x.nii")
    with pytest.raises(InputError, match="is a folder"):
        read_nifti(tmp_path)
    nibabel.save(nibabel.Nifti1Pair(array, OBLIQUE), tmp_path / "x.img")
    (tmp_path / "x.img").rename(tmp_path / "gone")
    with pytest.raises(InputError, match=r"x\.img is not beside it"):
        read_nifti(tmp_path / "x.hdr")
    (tmp_path / "gone").rename(tmp_path / "y.img")
    with pytest.raises(InputError, match=r"y\.hdr is not beside it"):
        read_nifti(tmp_path / "y.img")


def test_failing_disk(tmp_path, array, monkeypatch):
    path = save(tmp_path / "x.nii", array)

    def failing(*args, **kwargs):
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("medseg.io.nifti.file_source", failing)
    with pytest.raises(InputError, match=r"cannot be read: Input/output error"):
        read_nifti(path)


def bomb(shape, payload=b"\0" * 4):
    header = nibabel.Nifti1Header()
    header.set_data_dtype(np.float64)
    header.set_data_shape(shape)
    header["magic"] = b"n+1"
    header["vox_offset"] = 352
    return header.binaryblock + payload


@pytest.mark.parametrize("limits", [Limits(), Limits(max_array_bytes=1 << 45)])
@pytest.mark.parametrize("packed", [True, False])
def test_small_file_that_claims_ten_gigabytes(tmp_path, limits, packed):
    path = tmp_path / ("x.nii.gz" if packed else "x.nii")
    path.write_bytes(gzip.compress(bomb((1100, 1100, 1100))) if packed else bomb((1100, 1100, 1100)))
    tracemalloc.start()
    with pytest.raises((LimitExceededError, UnreadableFileError)):
        read_nifti(path, limits)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10_000_000


def test_terabyte_header(tmp_path):
    (tmp_path / "x.nii.gz").write_bytes(gzip.compress(bomb((32000, 32000, 1000))))
    with pytest.raises(LimitExceededError, match="MEDSEG_MAX_VOXELS"):
        read_nifti(tmp_path / "x.nii.gz")


def test_stream_that_never_ends_is_not_unpacked(tmp_path, array):
    raw = save(tmp_path / "x.nii", array).read_bytes()
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(raw + bytes(100_000_000), 1))
    tracemalloc.start()
    with pytest.raises(UnreadableFileError, match="more than 1024 bytes beyond"):
        read_nifti(tmp_path / "y.nii.gz")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 5_000_000


def test_a_little_more_than_claimed_is_logged(tmp_path, array, caplog):
    raw = save(tmp_path / "x.nii", array).read_bytes() + bytes(10)
    (tmp_path / "y.nii").write_bytes(raw)
    (tmp_path / "y.nii.gz").write_bytes(gzip.compress(raw))
    for name in ("y.nii", "y.nii.gz"):
        with caplog.at_level(logging.WARNING):
            np.testing.assert_array_equal(read_nifti(tmp_path / name).array, array)
        assert f"{name} holds bytes beyond its voxels" in caplog.text


def test_wrong_checksum(tmp_path, array):
    raw = bytearray(gzip.compress(save(tmp_path / "x.nii", array).read_bytes()))
    raw[-6] ^= 1
    (tmp_path / "y.nii.gz").write_bytes(raw)
    with pytest.raises(UnreadableFileError, match="CRC"):
        read_nifti(tmp_path / "y.nii.gz")


def test_no_flipped_bit_of_a_packed_file_changes_a_voxel(tmp_path, array):
    raw = gzip.compress(save(tmp_path / "x.nii", array).read_bytes(), mtime=0)
    path = tmp_path / "y.nii.gz"
    for position in range(10, len(raw)):
        damaged = bytearray(raw)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            volume = read_nifti(path)
        except InputError:
            continue
        # A few bits after the end of the packed data mean nothing.
        np.testing.assert_array_equal(volume.array, array)


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("pair", [True, False])
def test_every_cut_is_noticed(tmp_path, packed, pair):
    array = np.random.default_rng(0).integers(0, 9, (4, 5, 6)).astype(np.int16)
    name = ("x.img" if pair else "x.nii") + (".gz" if packed else "")
    path = tmp_path / name
    nibabel.save((nibabel.Nifti1Pair if pair else nibabel.Nifti1Image)(array, OBLIQUE), path)
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(UnreadableFileError):
            read_nifti(path)


def test_cut_before_packing(tmp_path, array):
    raw = save(tmp_path / "x.nii", array).read_bytes()
    for length in range(0, len(raw), 13):
        (tmp_path / "y.nii.gz").write_bytes(gzip.compress(raw[:length]))
        with pytest.raises(UnreadableFileError):
            read_nifti(tmp_path / "y.nii.gz")


@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(changes=st.lists(st.tuples(st.integers(0, 351), st.integers(0, 255)), min_size=1, max_size=6))
@example(changes=[(40, 7)])
def test_damaged_headers_give_a_sound_volume_or_a_typed_error(tmp_path_factory, changes):
    folder = tmp_path_factory.mktemp("fuzz", numbered=True)
    path = save(folder / "x.nii", np.zeros((3, 4, 5), np.int16))
    raw = bytearray(path.read_bytes())
    for position, value in changes:
        raw[position] = value
    path.write_bytes(raw)
    with np.errstate(all="ignore"):
        try:
            volume = read_nifti(path, Limits(max_array_bytes=1 << 20))
        except InputError:
            return
    assert isinstance(volume, Volume)
    assert np.isfinite(volume.geometry.affine).all()
    assert all(1e-3 <= spacing <= 100 for spacing in volume.geometry.spacing_mm)
