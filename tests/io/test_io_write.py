import gzip
import shutil
import subprocess
import sys

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError
from medseg.io.read import read_segmentation, read_volume
from medseg.io.write import NOTICE, write_instances, write_segmentation, write_volume
from medseg.spatial import Geometry, LabelTable, Segmentation, Volume

OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([1.0, 2.0, 3.0]), [10, -20, 30]
)
EXTENSIONS = (".nii", ".nii.gz", ".nrrd", ".mha")
RNG = np.random.default_rng(0)


def volume_of(dtype="f4", affine=OBLIQUE, shape=(5, 6, 7)):
    array = (RNG.random(shape) * 100).astype(dtype)
    return Volume(array, Geometry(affine, shape))


def segmentation_of(highest, shape=(5, 6, 7), dtype=np.uint32, **options):
    labels = np.zeros(shape, dtype)
    labels.flat[1] = highest
    return Segmentation(labels, Geometry(OBLIQUE, shape, **options), LabelTable.numbered([highest]))


def names(folder):
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "u2", "i4", "u4", "i8", "u8", "f4", "f8"])
def test_read_of_write_is_the_same(tmp_path, extension, dtype):
    volume = volume_of(dtype)
    write_volume(volume, tmp_path / ("x" + extension))
    again = read_volume(tmp_path / ("x" + extension))
    assert again.array.dtype == volume.array.dtype
    np.testing.assert_array_equal(again.array, volume.array)
    np.testing.assert_allclose(again.geometry.affine, OBLIQUE, atol=1e-4)
    assert names(tmp_path) == ["x" + extension]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    angles=st.tuples(*[st.floats(-3, 3)] * 3),
    spacing=st.tuples(*[st.floats(0.01, 50)] * 3),
    flips=st.tuples(*[st.sampled_from([-1, 1])] * 3),
    shear=st.sampled_from([0.0, 0.2]),
    origin=st.tuples(*[st.floats(-500, 500)] * 3),
    order=st.permutations(range(3)),
    extension=st.sampled_from(EXTENSIONS),
)
def test_any_grid_comes_back(tmp_path_factory, angles, spacing, flips, shear, origin, order, extension):
    matrix = nibabel.eulerangles.euler2mat(*angles) @ np.diag(np.array(spacing) * flips)
    matrix[:, 1] += shear * matrix[:, 0]
    affine = nibabel.affines.from_matvec(matrix[:, order], origin)
    path = tmp_path_factory.mktemp("grid", numbered=True) / ("x" + extension)
    volume = volume_of("i2", affine, (3, 4, 2))
    write_volume(volume, path)
    again = read_volume(path)
    np.testing.assert_allclose(again.geometry.affine, affine, atol=1e-4)
    np.testing.assert_array_equal(again.array, volume.array)


def test_nifti_header(tmp_path):
    write_volume(volume_of(), tmp_path / "x.nii.gz")
    image = nibabel.load(tmp_path / "x.nii.gz")
    header = image.header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    np.testing.assert_allclose(header.get_qform(), OBLIQUE, atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"
    assert header["descrip"].tobytes().rstrip(b"\0").decode() == NOTICE
    np.testing.assert_array_equal(np.asarray(image.dataobj), read_volume(tmp_path / "x.nii.gz").array)


def test_sheared_grid_has_no_qform(tmp_path):
    affine = OBLIQUE.copy()
    affine[:3, 1] += 0.2 * affine[:3, 0]
    write_volume(volume_of(affine=affine), tmp_path / "x.nii")
    header = nibabel.load(tmp_path / "x.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 0)


def test_simpleitk_sees_the_same_place(tmp_path):
    volume = volume_of("i2")
    for extension in EXTENSIONS:
        write_volume(volume, tmp_path / ("x" + extension))
        image = sitk.ReadImage(str(tmp_path / ("x" + extension)))
        x, y, z = image.TransformIndexToPhysicalPoint((4, 2, 3))
        np.testing.assert_allclose(volume.geometry.to_world((4, 2, 3)), (-x, -y, z), atol=1e-4)
        assert image[4, 2, 3] == volume.array[4, 2, 3]


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".tif"])
def test_same_bytes_each_time(tmp_path, extension):
    volume = volume_of("u2", shape=(5, 6, 1))
    paths = [tmp_path / ("first" + extension), tmp_path / ("second" + extension)]
    for path in paths:
        write_volume(volume, path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    if extension == ".nii.gz":
        assert paths[0].read_bytes()[3:8] == bytes(5)  # no name, no time


@pytest.mark.parametrize(("dtype", "stored"), [(bool, np.uint8), (np.float16, np.float32)])
@pytest.mark.parametrize("extension", EXTENSIONS)
def test_types_that_formats_lack(tmp_path, dtype, stored, extension):
    array = RNG.integers(0, 2, (3, 4, 5)).astype(dtype)
    write_volume(Volume(array, Geometry(np.eye(4), array.shape)), tmp_path / ("x" + extension))
    again = read_volume(tmp_path / ("x" + extension)).array
    assert again.dtype == stored
    np.testing.assert_array_equal(again, array)


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize(("highest", "dtype"), [(1, "u1"), (255, "u1"), (256, "u2"), (65_536, "u4")])
def test_segmentation_in_the_smallest_type(tmp_path, extension, highest, dtype):
    segmentation = segmentation_of(highest)
    write_segmentation(segmentation, tmp_path / ("x" + extension))
    again = read_segmentation(tmp_path / ("x" + extension))
    assert again.labels.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(again.labels, segmentation.labels)
    assert (
        nibabel.load(tmp_path / "x.nii").get_data_dtype() == np.dtype(dtype) if extension == ".nii" else True
    )


def test_empty_table(tmp_path):
    empty = Segmentation(np.zeros((2, 3, 4), np.uint16), Geometry(np.eye(4), (2, 3, 4)), LabelTable(()))
    write_segmentation(empty, tmp_path / "x.nii")
    assert read_segmentation(tmp_path / "x.nii").labels.dtype == np.uint8


@pytest.mark.parametrize(
    ("highest", "nifti", "tif"), [(65_535, np.uint16, np.uint16), (65_536, np.int32, np.uint32)]
)
def test_instances(tmp_path, highest, nifti, tif):
    ids = np.zeros((5, 6, 1), np.int32)
    ids[2, 3, 0] = highest
    geometry = Geometry(np.eye(4), ids.shape)
    for extension in EXTENSIONS:
        write_instances(ids, geometry, tmp_path / ("x" + extension))
        again = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / ("x" + extension))))
        assert again.dtype == nifti
        np.testing.assert_array_equal(again.transpose(2, 1, 0), ids)
    write_instances(ids, geometry, tmp_path / "x.tif")
    picture = tifffile.imread(tmp_path / "x.tif")
    assert picture.dtype == tif
    np.testing.assert_array_equal(picture, ids[:, :, 0].T)


def test_no_instances(tmp_path):
    ids = np.zeros((3, 4, 5), np.int32)
    write_instances(ids, Geometry(np.eye(4), ids.shape), tmp_path / "x.nii")
    assert not np.asarray(nibabel.load(tmp_path / "x.nii").dataobj).any()


@pytest.mark.parametrize("value", [-1, 1 << 31])
def test_instance_ids_out_of_range(tmp_path, value):
    ids = np.full((3, 4, 5), value, np.int64)
    with pytest.raises(InputError, match=f"{value}.*expected 0 to 2147483647"):
        write_instances(ids, Geometry(np.eye(4), ids.shape), tmp_path / "x.nii")
    assert names(tmp_path) == []


def test_picture_is_rows_by_columns(tmp_path):
    segmentation = segmentation_of(3, (6, 4, 1), calibrated=False)
    write_segmentation(segmentation, tmp_path / "x.tif")
    picture = tifffile.imread(tmp_path / "x.tif")
    assert picture.shape == (4, 6)
    np.testing.assert_array_equal(picture, segmentation.labels[:, :, 0].T)
    again = read_segmentation(tmp_path / "x.tif")
    assert not again.geometry.calibrated
    np.testing.assert_array_equal(again.labels, segmentation.labels)


def test_refusals(tmp_path):
    with pytest.raises(
        ConfigurationError, match=r"x\.mhd names no format that is written; expected \.nii\.gz"
    ):
        write_volume(volume_of(), tmp_path / "x.mhd")
    with pytest.raises(InputError, match="7 slices cannot be one picture"):
        write_volume(volume_of(), tmp_path / "x.tif")
    unknown = Volume(np.zeros((3, 4, 1)), Geometry(np.eye(4), (3, 4, 1), calibrated=False))
    for extension in EXTENSIONS:
        with pytest.raises(GeometryMismatchError, match="pixel size of this image is unknown"):
            write_volume(unknown, tmp_path / ("x" + extension))
    assert names(tmp_path) == []


@pytest.mark.parametrize("extension", EXTENSIONS)
def test_output_folder_that_cannot_be_written(tmp_path, extension):
    (tmp_path / "file").write_text("not a folder")
    for folder in ("none", "file"):
        with pytest.raises(ConfigurationError, match="cannot be written"):
            write_volume(volume_of(), tmp_path / folder / ("x" + extension))


@pytest.mark.parametrize("extension", [*EXTENSIONS, ".tif"])
def test_full_disk(tmp_path, extension):
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(tmp_path)]
    if shutil.which("mount") is None or subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no small file system can be mounted here (needs root)")
    try:
        shape = (200, 300, 1)
        noise = Volume(RNG.random(shape), Geometry(np.eye(4), shape))
        with pytest.raises(ConfigurationError, match="cannot be written"):
            write_volume(noise, tmp_path / ("x" + extension))
        assert names(tmp_path) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)


@pytest.mark.parametrize("moment", [0.0, 0.02, 0.05, 0.1])
def test_killed_while_writing(tmp_path, moment):
    code = (
        "import sys, numpy as np; from pathlib import Path\n"
        "from medseg.io.write import write_volume; from medseg.spatial import Geometry, Volume\n"
        "v = Volume(np.random.default_rng(0).random((100, 100, 60)), Geometry(np.eye(4), (100, 100, 60)))\n"
        "print('ready', flush=True); write_volume(v, Path(sys.argv[1]))\n"
    )
    path = tmp_path / "x.nii.gz"
    command = [sys.executable, "-c", code, str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
        child.stdout.readline()
        try:
            child.wait(moment)
        except subprocess.TimeoutExpired:
            child.kill()
    if path.exists():
        assert len(gzip.decompress(path.read_bytes())) == 352 + 100 * 100 * 60 * 8
    assert all(name.startswith(".") or name == "x.nii.gz" for name in names(tmp_path))
