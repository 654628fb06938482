import string
import unicodedata
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.io.names import Name, unique_ids

ROOT = Path("/data/in")


def ids_of(*paths, root=ROOT):
    return unique_ids([Name.of_file(root / path, root) for path in paths])


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("brain.nii.gz", "brain"),
        ("a.b.nii.gz", "a.b"),
        ("p1/image.nii.gz", "p1_image"),
        ("1.2.840.5/x.NII.GZ", "1.2.840.5_x"),
        ("a:b?.png", "a_b_"),
        ("x.y/1.2.3", "x.y_1.2.3"),
        (" .nii", "unnamed"),
        ("..nii.gz", "unnamed"),
        ("name. .png", "name"),
    ],
)
def test_one_file(path, expected):
    assert ids_of(path) == [expected]


def test_folders_lose_no_component():
    uids = ["1.2.55.3.1", "1.2.55.3.2", "1.2.55.3.10"]
    assert unique_ids([Name.of_folder(ROOT / uid, ROOT) for uid in uids]) == uids
    assert unique_ids([Name.of_folder(ROOT, ROOT)]) == ["in"]


def test_all_of_a_collision_get_a_hash():
    ids = ids_of("a/b.nii", "a_b.nii", "c.nii")
    assert ids[2] == "c"
    assert all(i.startswith("a_b-") and len(i) == len("a_b-") + 8 for i in ids[:2])
    assert ids[0] != ids[1]
    assert ids_of("a_b.nii", "a/b.nii")[::-1] == ids[:2]


def test_upper_and_lower_case_collide():
    ids = ids_of("Case.nii", "case.nii")
    assert ids[0].casefold() != ids[1].casefold()


def test_same_path_below_two_folders():
    names = [Name.of_file(Path(folder) / "x.nii", Path(folder)) for folder in ("/one", "/two")]
    ids = unique_ids(names)
    assert len(set(ids)) == 2
    assert all(i.startswith("x-") for i in ids)


def test_a_file_named_like_anothers_hash():
    hashed = ids_of("a/b.nii", "a_b.nii")[0]
    ids = ids_of("a/b.nii", "a_b.nii", f"{hashed}.nii")
    assert len(set(ids)) == 3


def test_long_paths_are_cut_and_stay_apart():
    long = "/".join(["a" * 50] * 8)
    ids = ids_of(f"{long}/x.nii", f"{long}/y.nii")
    assert len(set(ids)) == 2
    assert all(len(i.encode()) < 200 for i in ids)


def test_several_in_one_folder():
    name = Name.of_folder(ROOT / "study", ROOT)
    ids = unique_ids([name.within("1.2.3"), name.within("1.2.4")])
    assert len(set(ids)) == 2
    assert all(i.startswith("study_") for i in ids)


def test_names_that_are_no_text():
    assert ids_of("a\udcff.nii") == ["a_"]


part = st.text(
    alphabet=st.sampled_from(string.ascii_letters[:4] + "AB" + "ßéÅ._- \u0301\u212b\udc80"),
    min_size=1,
    max_size=4,
).filter(lambda text: text not in (".", ".."))
paths = st.lists(part, min_size=1, max_size=3).map(lambda parts: str(PurePosixPath(*parts)))
extension = st.sampled_from(["", ".nii", ".nii.gz", ".png", ".NII", ".nrrd"])


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from(["/one", "/two"]), paths, extension, st.sampled_from([(), ("1",), ("2",)])),
        unique=True,
        max_size=10,
    )
)
def test_two_inputs_never_share_an_id(inputs):
    names = {}
    for root, path, suffix, marks in inputs:
        name = Name.of_file(Path(root) / (path + suffix), Path(root))
        name = name.within(*marks) if marks else name
        names[name.absolute] = name
    ids = unique_ids(list(names.values()))
    assert len(ids) == len(names)
    assert len({unicodedata.normalize("NFC", i).casefold() for i in ids}) == len(ids)
    for i in ids:
        assert i not in ("", ".", "..")
        assert "/" not in i
        assert not i.startswith((".", " "))
        assert not i.endswith((".", " "))
        assert len(i.encode()) < 255
