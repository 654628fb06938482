import os
from pathlib import Path

import numpy as np
import pydicom
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydicom.dataset import FileMetaDataset
from pydicom.uid import CTImageStorage, EnhancedSRStorage, ExplicitVRLittleEndian, generate_uid

import medseg.io.find
from medseg.errors import IncompleteSeriesError, InputError, UnreadableFileError
from medseg.io.dicom_headers import Other
from medseg.io.dicom_series import Inventory, Stack
from medseg.io.find import CHANNEL, find_cases
from medseg.io.limits import Limits
from medseg.io.read import read_case

DATA = Path(os.environ.get("MEDSEG_DATA", Path(__file__).resolve().parents[3] / "shared" / "data"))


def touch(*paths):
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    return paths


def ids(found):
    return [case.id for case in found.cases]


def write_series(folder, series_uid=None, slices=4, skip=(), names="{}.dcm", sop_class=CTImageStorage):
    """A small CT series; its pixels are the slice's number."""
    folder.mkdir(parents=True, exist_ok=True)
    series_uid = series_uid or generate_uid()
    frame_uid = generate_uid()
    for number in range(slices):
        if number in skip:
            continue
        meta = FileMetaDataset()
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID = sop_class
        meta.MediaStorageSOPInstanceUID = generate_uid()
        data = pydicom.Dataset()
        data.file_meta = meta
        data.SOPClassUID, data.SOPInstanceUID = sop_class, meta.MediaStorageSOPInstanceUID
        data.SeriesInstanceUID, data.StudyInstanceUID = series_uid, generate_uid()
        data.FrameOfReferenceUID = frame_uid
        data.Modality = "CT"
        if sop_class == CTImageStorage:
            data.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
            data.Rows, data.Columns, data.SamplesPerPixel = 4, 5, 1
            data.PhotometricInterpretation = "MONOCHROME2"
            data.BitsAllocated, data.BitsStored, data.HighBit, data.PixelRepresentation = 16, 16, 15, 1
            data.PixelSpacing, data.ImageOrientationPatient = [1, 1], [1, 0, 0, 0, 1, 0]
            data.ImagePositionPatient = [0, 0, 2.0 * number]
            data.RescaleSlope, data.RescaleIntercept = 1, 0
            data.InstanceNumber = number
            data.PixelData = np.full((4, 5), number, np.int16).tobytes()
        data.save_as(folder / names.format(number), enforce_file_format=True)
    return series_uid


# Files and folders.


def test_one_file(tmp_path):
    (path,) = touch(tmp_path / "a.b.nii.gz")
    found = find_cases([path])
    assert ids(found) == ["a.b"]
    assert dict(found.cases[0].channels) == {CHANNEL: (path,)}
    assert found.refused == ()


def test_folder_is_searched_with_all_in_it(tmp_path):
    touch(*(tmp_path / name for name in ("b.nii.gz", "a/x.nrrd", "a/y.mha", "a/deep/z.png", "a/w.TIF")))
    assert ids(find_cases([tmp_path])) == ["b", "a_w", "a_x", "a_y", "a_deep_z"]


def test_what_is_no_case_is_passed_over(tmp_path):
    touch(
        *(
            tmp_path / name
            for name in (
                "a.nii",
                ".hidden.nii",
                ".git/x.nii",
                ".x.0123abcd.1.0123abcd.tmp/x.nii",
                "left.tmp/x.nii",
                "x.tmp",
                "x.json",
                "x.csv",
                "x.html",
                "README",
                "DICOMDIR",
                "x.raw",
            )
        )
    )
    assert ids(find_cases([tmp_path])) == ["a"]


def test_a_pair_is_one_case(tmp_path):
    touch(
        *(tmp_path / name for name in ("a.hdr", "a.img", "B.HDR", "B.IMG", "c.hdr.gz", "c.img.gz", "d.img"))
    )
    assert ids(find_cases([tmp_path])) == ["B", "a", "c", "d"]


def test_given_twice_is_one_case(tmp_path, monkeypatch):
    (path,) = touch(tmp_path / "a" / "x.nii")
    monkeypatch.chdir(tmp_path)
    spellings = [path, tmp_path / "a" / ".." / "a" / "x.nii", Path("a/x.nii"), path.parent]
    assert len(find_cases(spellings).cases) == 1
    assert len(find_cases([path.parent, path.parent, Path("a"), Path("a/../a")]).cases) == 1
    monkeypatch.chdir(path.parent)
    assert ids(find_cases([Path()])) == ["x"]
    assert ids(find_cases([Path("..")])) == ["a_x"]


def test_same_names_in_two_folders(tmp_path):
    touch(tmp_path / "one" / "x.nii", tmp_path / "two" / "x.nii")
    found = ids(find_cases([tmp_path / "one", tmp_path / "two"]))
    assert len(set(found)) == 2
    assert all(name.startswith("x-") for name in found)
    assert ids(find_cases([tmp_path])) == ["one_x", "two_x"]


def test_same_stem_of_two_formats(tmp_path):
    touch(tmp_path / "x.nii", tmp_path / "x.nrrd")
    assert len(set(ids(find_cases([tmp_path])))) == 2


def test_links_are_followed_once(tmp_path):
    touch(tmp_path / "store" / "x.nii")
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "link").symlink_to(tmp_path / "store")
    (tmp_path / "in" / "link" / "loop").symlink_to(tmp_path / "in")
    (tmp_path / "in" / "y.nii").symlink_to(tmp_path / "store" / "x.nii")
    assert ids(find_cases([tmp_path / "in"])) == ["y", "link_x"]


def test_nothing_given_and_missing(tmp_path):
    with pytest.raises(InputError, match="no input is given"):
        find_cases([])
    with pytest.raises(InputError, match="there is no file or folder"):
        find_cases([tmp_path / "none"])


def test_folder_without_an_image(tmp_path):
    with pytest.raises(InputError, match="it is empty"):
        find_cases([tmp_path])
    touch(tmp_path / "a.json", tmp_path / "b.json", tmp_path / "c.docx", tmp_path / "README")
    with pytest.raises(InputError, match=r"holds no image \(1 \.docx, 2 \.json, 1 without extension\)"):
        find_cases([tmp_path])


def test_folder_that_cannot_be_read(tmp_path, monkeypatch):
    def closed(self):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(Path, "iterdir", closed)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        find_cases([tmp_path])


@pytest.mark.parametrize("content", [b"", b"text", bytes(range(200, 250))])
def test_file_of_no_known_format_is_refused_by_name(tmp_path, content):
    (tmp_path / "notes.doc").write_bytes(content)
    found = find_cases([tmp_path / "notes.doc"])
    assert found.cases == ()
    assert found.refused[0].id == "notes.doc"
    assert isinstance(found.refused[0].error, UnreadableFileError)


def test_image_without_extension(tmp_path):
    (tmp_path / "scan").write_bytes(b"NRRD0004\n")
    assert ids(find_cases([tmp_path / "scan"])) == ["scan"]


# DICOM, with the real reader.


def test_series_folder(tmp_path):
    write_series(tmp_path / "1.2.840.5")
    found = find_cases([tmp_path / "1.2.840.5"])
    assert ids(found) == ["1.2.840.5"]
    assert len(found.cases[0].channels[CHANNEL]) == 4
    assert read_case(found.cases[0]).geometry.spacing_mm == (1, 1, 2)


def test_study_of_series_in_folders_named_by_uid(tmp_path):
    for name in ("1.2.55.3.1", "1.2.55.3.2", "1.2.55.3.10"):
        write_series(tmp_path / name)
    assert ids(find_cases([tmp_path])) == ["1.2.55.3.1", "1.2.55.3.10", "1.2.55.3.2"]


def test_several_series_in_one_folder_keep_their_ids(tmp_path):
    folder = tmp_path / "study"
    first = write_series(folder, names="a{}")
    write_series(folder, names="b{}.dcm")
    before = ids(find_cases([folder]))
    assert len(set(before)) == 2
    assert all(name.startswith("study_") for name in before)
    write_series(folder, names="A{}", series_uid=None)
    after = find_cases([folder])
    assert set(before) < set(ids(after))
    assert first not in "".join(ids(after))


def test_gap_is_refused_beside_a_good_series(tmp_path):
    write_series(tmp_path / "good")
    write_series(tmp_path / "gap", slices=8, skip=(3,))
    touch(tmp_path / "x.nii")
    found = find_cases([tmp_path])
    assert ids(found) == ["x", "good"]
    assert [(refused.id, refused.path) for refused in found.refused] == [("gap", tmp_path / "gap")]
    assert isinstance(found.refused[0].error, IncompleteSeriesError)


def test_only_refused_is_no_error(tmp_path):
    write_series(tmp_path / "gap", slices=8, skip=(3,))
    found = find_cases([tmp_path / "gap"])
    assert (len(found.cases), len(found.refused)) == (0, 1)


def test_dicom_without_images(tmp_path):
    write_series(tmp_path / "reports", slices=1, sop_class=EnhancedSRStorage)
    with pytest.raises(InputError, match=r"holds no image .1 structured report"):
        find_cases([tmp_path / "reports"])
    found = find_cases([tmp_path / "reports" / "0.dcm"])
    assert "holds no image" in str(found.refused[0].error)


def test_one_dicom_file_given(tmp_path):
    write_series(tmp_path)
    found = find_cases([tmp_path / "0.dcm"])
    assert [refused.id for refused in found.refused] == ["0"]
    assert isinstance(found.refused[0].error, IncompleteSeriesError)


def test_file_claims_more_than_the_limit(tmp_path):
    write_series(tmp_path / "s", slices=2)
    found = find_cases([tmp_path / "s"], Limits(max_voxels=10))
    assert found.cases == ()
    assert len({refused.id for refused in found.refused}) == len(found.refused) > 0


def test_stacks_that_share_a_file_are_told_apart(tmp_path, monkeypatch):
    (path,) = touch(tmp_path / "enhanced")

    def stack(key, files=(path,)):
        return Stack(files, "1.2", "MR", None, 3, (3, 3, 3), (1, 1, 1), "usable", (), None, None, key)

    stacks = (stack("echo 1"), stack("echo 2"), stack(None, (tmp_path / "other",)))
    other = (Other(path, "structured report", "no image"),)
    monkeypatch.setattr(medseg.io.find, "scan", lambda *args, **kwargs: Inventory(stacks, other))
    found = find_cases([tmp_path])
    assert [dict(case.parts) for case in found.cases] == [{CHANNEL: "echo 1"}, {CHANNEL: "echo 2"}, {}]
    assert len(set(ids(found))) == 3


@pytest.mark.skipif(not DATA.is_dir(), reason=f"no real data at {DATA} (set MEDSEG_DATA)")
def test_real_folders():
    found = find_cases([DATA / "dicom"])
    assert {refused.id for refused in found.refused} == {
        "vendors_failing_uneven_increment",
        "vendors_ge_anatomical_001_single_slice",
        "vendors_generic_rgb_001",
    }
    for name in ("vendors_ge_anatomical_001", "vendors_philips_anatomical_001", "seg_ct-3slice"):
        case = next(case for case in found.cases if case.id == name)
        assert read_case(case).geometry.shape[2] == len(case.channels[CHANNEL])


segments = st.sampled_from(["a", "A", "b", "a_b", "a.b", "1.2.3", "B"])
extensions = st.sampled_from([".nii", ".nii.gz", ".png", ".mha"])


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    tree=st.lists(
        st.tuples(st.lists(segments, min_size=1, max_size=3), extensions),
        unique_by=str,
        min_size=1,
        max_size=8,
    ),
    singly=st.booleans(),
)
def test_each_file_of_any_tree_is_one_case_with_its_own_id(tmp_path_factory, tree, singly):
    root = tmp_path_factory.mktemp("tree", numbered=True)
    paths = {root.joinpath(*parts[:-1], parts[-1] + suffix) for parts, suffix in tree}
    touch(*paths)
    found = find_cases(sorted(paths) if singly else [root])
    assert {case.channels[CHANNEL][0] for case in found.cases} == paths
    assert len({case.id.casefold() for case in found.cases}) == len(paths)
    assert ids(find_cases(sorted(paths) if singly else [root])) == ids(found)
