import os
from pathlib import Path

import nibabel
import numpy as np
import pytest
import SimpleITK as sitk

from medseg.errors import GeometryMismatchError, InputError, LimitExceededError, UnreadableFileError
from medseg.io.itk import _last_line, read_itk, write_itk
from medseg.io.limits import Limits
from medseg.spatial import Geometry

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))
OBLIQUE = nibabel.affines.from_matvec(
    nibabel.eulerangles.euler2mat(0.2, -0.3, 0.4) @ np.diag([1.0, 2.0, 3.0]), [10, -20, 30]
)
EXTENSIONS = (".nrrd", ".nhdr", ".mha", ".mhd")
NRRD = "NRRD0004\ntype: uchar\ndimension: 3\nsizes: 2 3 4\nencoding: raw\n"
MHA = "ObjectType = Image\nNDims = 3\nBinaryData = True\nDimSize = 2 3 4\nElementType = MET_UCHAR\n"


@pytest.fixture
def array():
    return np.random.default_rng(0).integers(-1000, 1000, (5, 6, 7)).astype(np.int16)


def itk_image(array, affine=OBLIQUE):
    """The same voxels in SimpleITK's own words, by another route than the code under test."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(array, (0, 1, 2), (2, 1, 0))))
    columns = [affine[:3, n] * [-1, -1, 1] for n in range(3)]
    image.SetSpacing([float(np.linalg.norm(c)) for c in columns])
    image.SetDirection(np.stack([c / np.linalg.norm(c) for c in columns], axis=1).ravel().tolist())
    image.SetOrigin([-affine[0, 3], -affine[1, 3], affine[2, 3]])
    return image


def nrrd(
    path,
    fields="space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\n",
    data=bytes(range(24)),
):
    path.write_bytes((NRRD + fields + "\n").encode() + data)
    return path


def mha(path, fields="ElementSpacing = 1 2 3\n", data=bytes(range(24))):
    path.write_bytes((MHA + fields + "ElementDataFile = LOCAL\n").encode() + data)
    return path


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "u8", "i8", "f4", "f8"])
def test_what_simpleitk_wrote(tmp_path, extension, packed, dtype):
    array = np.random.default_rng(0).integers(0, 100, (5, 6, 7)).astype(dtype)
    path = tmp_path / ("x" + extension)
    sitk.WriteImage(itk_image(array), str(path), useCompression=packed)
    volume = read_itk(path)
    assert volume.array.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.geometry.affine, OBLIQUE, atol=1e-9)
    assert volume.source.startswith("sha256:")


def test_a_voxel_lies_where_simpleitk_says(tmp_path, array):
    sitk.WriteImage(itk_image(array), str(tmp_path / "x.nrrd"))
    x, y, z = sitk.ReadImage(str(tmp_path / "x.nrrd")).TransformIndexToPhysicalPoint((4, 2, 3))
    np.testing.assert_allclose(read_itk(tmp_path / "x.nrrd").geometry.to_world((4, 2, 3)), (-x, -y, z))


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
@pytest.mark.parametrize("shear", [0, 0.3])
def test_written_and_read_again(tmp_path, array, extension, shear):
    affine = OBLIQUE.copy()
    affine[:3, 1] += shear * affine[:3, 0]
    path = tmp_path / ("x" + extension)
    write_itk(array, Geometry(affine, array.shape), path, "a notice")
    volume = read_itk(path)
    np.testing.assert_array_equal(volume.array, array)
    np.testing.assert_allclose(volume.geometry.affine, affine, atol=1e-9)
    assert sitk.ReadImage(str(path)).GetMetaData("notice") == "a notice"


def test_writer_that_fails_is_an_os_error(tmp_path, array):
    with pytest.raises(OSError, match="SimpleITK could not write it"):
        write_itk(array, Geometry(np.eye(4), array.shape), tmp_path / "none" / "x.nrrd", "")


@pytest.mark.parametrize("extension", EXTENSIONS)
@pytest.mark.parametrize("packed", [True, False])
def test_every_cut_is_noticed(tmp_path, extension, packed):
    array = np.random.default_rng(0).integers(0, 100, (3, 4, 5)).astype(np.int16)
    path = tmp_path / ("x" + extension)
    sitk.WriteImage(itk_image(array), str(path), useCompression=packed)
    cut = path if extension in (".nrrd", ".mha") else next(p for p in tmp_path.iterdir() if "raw" in p.name)
    whole = cut.read_bytes()
    for length in range(len(whole)):
        cut.write_bytes(whole[:length])
        with pytest.raises(InputError):
            read_itk(path)


@pytest.mark.parametrize("extension", [".nrrd", ".mha"])
def test_no_flipped_bit_of_packed_voxels_passes(tmp_path, array, extension):
    path = tmp_path / ("x" + extension)
    sitk.WriteImage(itk_image(array), str(path), useCompression=True)
    whole = path.read_bytes()
    for position in range(len(whole) - 150, len(whole)):
        damaged = bytearray(whole)
        damaged[position] ^= 16
        path.write_bytes(damaged)
        try:
            volume = read_itk(path)
        except UnreadableFileError:
            continue
        np.testing.assert_array_equal(volume.array, array)


def test_more_voxels_than_claimed_are_refused_where_packed(tmp_path):
    import zlib

    mha(tmp_path / "x.mha", "CompressedData = True\nElementSpacing = 1 1 1\n", zlib.compress(bytes(5000)))
    with pytest.raises(UnreadableFileError, match="claims 24 bytes of voxels but"):
        read_itk(tmp_path / "x.mha")


def test_empty_missing_and_nonsense(tmp_path):
    with pytest.raises(InputError, match="there is no file"):
        read_itk(tmp_path / "x.nrrd")
    (tmp_path / "x.nrrd").write_bytes(b"")
    with pytest.raises(UnreadableFileError, match="empty"):
        read_itk(tmp_path / "x.nrrd")
    (tmp_path / "x.nrrd").write_bytes(b"NRRD0004\n" + bytes(range(256)))
    with pytest.raises(UnreadableFileError, match="damaged, truncated or not of the format"):
        read_itk(tmp_path / "x.nrrd")


def test_claim_beyond_the_limit(tmp_path):
    path = tmp_path / "x.nrrd"
    path.write_bytes(NRRD.replace("2 3 4", "20000 20000 20000").encode() + b"spacings: 1 1 1\n\n")
    with pytest.raises(LimitExceededError, match="20000 × 20000 × 20000"):
        read_itk(path, Limits())


@pytest.mark.parametrize("size", [(4, 5), (4, 5, 6, 2)])
def test_other_than_three_dimensions(tmp_path, size):
    sitk.WriteImage(sitk.Image(size, sitk.sitkUInt8), str(tmp_path / "x.mha"))
    with pytest.raises(InputError, match=rf"is {len(size)}D \({' × '.join(map(str, size))}\)"):
        read_itk(tmp_path / "x.mha")


@pytest.mark.parametrize(("pixel", "components"), [(sitk.sitkVectorUInt8, 3), (sitk.sitkComplexFloat32, 1)])
def test_vectors_and_complex_numbers(tmp_path, pixel, components):
    image = sitk.Image((3, 4, 5), pixel, components) if components > 1 else sitk.Image((3, 4, 5), pixel)
    sitk.WriteImage(image, str(tmp_path / "x.mha"))
    with pytest.raises(InputError, match=r"numbers a voxel \(.*expected one real number"):
        read_itk(tmp_path / "x.mha")


def test_spacing_is_never_made_up(tmp_path):
    for path in (nrrd(tmp_path / "x.nrrd", ""), mha(tmp_path / "x.mha", "")):
        with pytest.raises(GeometryMismatchError, match="states no spacing"):
            read_itk(path)


@pytest.mark.parametrize("spacing", ["1 1 0", "1 -2 1", "1 1 500"])
def test_impossible_spacing(tmp_path, spacing):
    with pytest.raises(GeometryMismatchError, match="spacing of"):
        read_itk(mha(tmp_path / "x.mha", f"ElementSpacing = {spacing}\n"))


def test_singular_directions(tmp_path):
    fields = "ElementSpacing = 1 1 1\nTransformMatrix = 1 0 0 1 0 0 0 0 1\n"
    with pytest.raises(InputError, match=r"singular|damaged"):
        read_itk(mha(tmp_path / "x.mha", fields))


def test_units_other_than_mm(tmp_path):
    fields = "space: left-posterior-superior\nspace directions: (1,0,0) (0,1,0) (0,0,1)\nspace units: {}\n"
    read_itk(nrrd(tmp_path / "x.nrrd", fields.format('"mm" "mm" "mm"')))
    with pytest.raises(GeometryMismatchError, match="lengths in cm, um"):
        read_itk(nrrd(tmp_path / "x.nrrd", fields.format('"um" "cm" "cm"')))


def test_spacing_without_orientation_is_logged(tmp_path, caplog):
    volume = read_itk(nrrd(tmp_path / "x.nrrd", "spacings: 1 2 3\n"))
    assert volume.geometry.spacing_mm == (1, 2, 3)
    assert "left and right may be swapped" in caplog.text


def test_ras_space_is_turned(tmp_path):
    fields = (
        "space: right-anterior-superior\nspace directions: (1,0,0) (0,2,0) (0,0,3)\nspace origin: (4,5,6)\n"
    )
    affine = read_itk(nrrd(tmp_path / "x.nrrd", fields)).geometry.affine
    np.testing.assert_allclose(affine, [[1, 0, 0, 4], [0, 2, 0, 5], [0, 0, 3, 6], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    "fields", ["encoding: ascii\n", "encoding: bzip2\n", "line skip: 1\n", "byte skip: 4\n"]
)
def test_unusual_storage_in_nrrd(tmp_path, fields):
    path = nrrd(tmp_path / "x.nrrd", "spacings: 1 1 1\n" + fields)
    if "encoding" in fields:
        path.write_bytes(path.read_bytes().replace(b"encoding: raw\n", b""))
    with pytest.raises(InputError, match=r"unusual way|damaged"):
        read_itk(path)


def test_text_voxels_in_metaimage(tmp_path):
    path = mha(tmp_path / "x.mha")
    path.write_bytes(path.read_bytes().replace(b"BinaryData = True", b"BinaryData = False"))
    with pytest.raises(InputError, match="unusual way"):
        read_itk(path)


@pytest.mark.parametrize("named", ["../x.raw", "/etc/hostname", "LIST", "none.raw"])
def test_data_file_lies_in_the_same_folder(tmp_path, named):
    folder = tmp_path / "inner"
    folder.mkdir()
    (tmp_path / "x.raw").write_bytes(bytes(24))
    (folder / "x.mhd").write_text(MHA + f"ElementSpacing = 1 1 1\nElementDataFile = {named}\n")
    with pytest.raises(
        InputError, match="as the file that holds its voxels; expected one file in the same folder"
    ):
        read_itk(folder / "x.mhd")


def test_warnings_of_itk_are_left_as_they_were(tmp_path, array):
    sitk.WriteImage(itk_image(array), str(tmp_path / "x.nrrd"))
    before = sitk.ProcessObject.GetGlobalWarningDisplay()
    for shown in (True, False):
        sitk.ProcessObject.SetGlobalWarningDisplay(shown)
        read_itk(tmp_path / "x.nrrd")
        assert sitk.ProcessObject.GetGlobalWarningDisplay() is shown
    sitk.ProcessObject.SetGlobalWarningDisplay(before)


def test_message_without_text():
    assert _last_line(RuntimeError("")) == "no reason given"


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set MEDSEG_DATA)")
def test_real_nrrd():
    volume = read_itk(DATA / "single_lesion" / "brain1_image.nrrd")
    assert volume.array.shape == (256, 256, 25)
    assert volume.geometry.orientation == "LAS"
