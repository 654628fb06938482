"""Which prediction belongs to which reference."""

from __future__ import annotations

import pytest

from medseg.errors import InputError
from medseg.workflows.pairing import find_pairs


def make(root, *names):
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"")
    return root


def ids(pairs):
    return [pair.case_id for pair in pairs]


def test_folders_by_name_with_those_that_lack_a_side(tmp_path):
    mine = make(tmp_path / "p", "a.nii.gz", "b.nrrd", "notes.txt", ".hidden.nii.gz")
    theirs = make(tmp_path / "r", "a.mha", "c.nii")
    pairs = find_pairs(mine, theirs)
    assert ids(pairs) == ["a", "b", "c"]
    assert [(pair.prediction is None, pair.reference is None) for pair in pairs] == [
        (False, False), (False, True), (True, False),
    ]  # fmt: skip


def test_suffixes_come_off_on_both_sides(tmp_path):
    mine, theirs = make(tmp_path / "p", "a_pred.nii.gz"), make(tmp_path / "r", "a_seg.nii.gz")
    assert ids(find_pairs(mine, theirs, suffixes=("_pred", "_seg"))) == ["a"]
    with pytest.raises(InputError, match="'a_pred', references 'a_seg'"):
        find_pairs(mine, theirs)


def test_results_of_segment_have_the_id_of_their_folder(tmp_path):
    mine = make(tmp_path / "p", "a/segmentation.nii.gz", "a/instances.nii.gz", "a/preview.png")
    theirs = make(tmp_path / "r", "a.nii.gz")
    (pair,) = find_pairs(mine, theirs)
    assert (pair.case_id, pair.prediction.name) == ("a", "segmentation.nii.gz")
    (pair,) = find_pairs(mine, theirs, instance_maps=True)
    assert pair.prediction.name == "instances.nii.gz"


def test_two_files_are_one_case_and_a_file_picks_its_case(tmp_path):
    mine = make(tmp_path / "p", "x.nii.gz", "y.nii.gz")
    theirs = make(tmp_path / "r", "x.nii.gz", "y.nii.gz")
    assert ids(find_pairs(mine / "x.nii.gz", theirs / "y.nii.gz")) == ["y"]
    assert ids(find_pairs(mine, theirs / "y.nii.gz")) == ["y"]


def test_refusals(tmp_path):
    mine, theirs = make(tmp_path / "p", "a.nii.gz", "a.nrrd"), make(tmp_path / "r", "a.nii.gz")
    with pytest.raises(InputError, match="are both case 'a'"):
        find_pairs(mine, theirs)
    with pytest.raises(InputError, match="there is no file or folder"):
        find_pairs(tmp_path / "nowhere", theirs)
    with pytest.raises(InputError, match="holds no label map"):
        find_pairs(make(tmp_path / "e", "a.txt"), theirs)


def test_results_below_an_input_are_passed_over(tmp_path):
    both = make(tmp_path / "d", "a.nii.gz", "out/b.nii.gz")
    assert ids(find_pairs(both, both, exclude=[both / "out"])) == ["a"]
    (tmp_path / "d" / "loop").symlink_to(tmp_path / "d")
    assert ids(find_pairs(both, both, exclude=[both / "out"])) == ["a"]


def test_many_ids_are_shown_in_part(tmp_path):
    mine = make(tmp_path / "p", *(f"p{n}.nii" for n in range(5)))
    with pytest.raises(InputError, match="'p0', 'p1', 'p2' and 2 more"):
        find_pairs(mine, make(tmp_path / "r", "a.nii"))
