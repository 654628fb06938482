import numpy as np
import pytest
from skimage.morphology import skeletonize

from medseg.errors import GeometryMismatchError, InputError
from medseg.evaluate.skeleton import centreline_dice


def tube(length=40, width=5, gap=None):
    mask = np.zeros((50, 15, 15), dtype=bool)
    centre, half = 7, width // 2
    mask[5 : 5 + length, centre - half : centre + half + 1, centre - half : centre + half + 1] = True
    if gap:
        mask[gap[0] : gap[1]] = False
    return mask


def test_width_does_not_count_but_completeness_does():
    assert centreline_dice(tube(width=5), tube(width=5)) == 1
    assert centreline_dice(tube(width=3), tube(width=7)) > 0.9
    dice = 2 * (tube(width=3) & tube(width=7)).sum() / (tube(width=3).sum() + tube(width=7).sum())
    assert dice < 0.4
    half = centreline_dice(tube(length=20), tube(length=40))
    assert 0.5 < half < 0.75  # all of its skeleton is right, about half of the reference's is found
    assert centreline_dice(tube(gap=(20, 30)), tube()) < 0.95


@pytest.mark.parametrize("axes", [2, 3])
def test_equals_the_formula(axes):
    prediction, reference = tube(width=3, gap=(25, 30)), np.roll(tube(width=5), 2, axis=1)
    if axes == 2:
        prediction, reference = prediction[..., 7], reference[..., 7]
    first, second = skeletonize(prediction) > 0, skeletonize(reference) > 0
    right, found = (first & reference).sum() / first.sum(), (second & prediction).sum() / second.sum()
    expected = 2 * right * found / (right + found) if right + found else 0
    assert centreline_dice(prediction, reference) == pytest.approx(expected, abs=0.02)
    assert centreline_dice(prediction, reference) == centreline_dice(reference, prediction)


def test_monai_gives_the_same_for_tubes():
    """Their loss uses soft skeletons; on a tube one voxel wide both skeletons are the tube itself."""
    torch = pytest.importorskip("torch")
    losses = pytest.importorskip("monai.losses.cldice")
    prediction, reference = tube(width=1, length=30), tube(width=1, length=40)
    pair = [
        torch.stack([torch.from_numpy(~mask), torch.from_numpy(mask)])[None].float()
        for mask in (reference, prediction)
    ]
    theirs = 1 - float(losses.SoftclDiceLoss(iter_=3, smooth=1e-6)(*pair))
    assert centreline_dice(prediction, reference) == pytest.approx(theirs, abs=0.03)


def test_parallel_tubes_share_nothing():
    assert centreline_dice(tube(width=1), np.roll(tube(width=1), 3, axis=1)) == 0


@pytest.mark.parametrize("shape", [(2, 2), (2, 2, 2), (1, 1), (1, 1, 1), (3, 2, 2)])
def test_a_blob_of_a_few_voxels_keeps_a_centreline(shape):
    mask = np.zeros((6,) * len(shape), dtype=bool)
    mask[tuple(slice(1, 1 + n) for n in shape)] = True
    assert centreline_dice(mask, mask) == 1


def test_a_skeleton_that_wears_away_is_the_blob_itself(monkeypatch):
    monkeypatch.setattr("medseg.evaluate.skeleton.skeletonize", np.zeros_like)
    assert centreline_dice(tube(), tube()) == 1


def test_empty_masks():
    nothing = np.zeros_like(tube())
    assert centreline_dice(nothing, nothing) is None
    assert centreline_dice(nothing, tube()) == centreline_dice(tube(), nothing) == 0


def test_refusals():
    with pytest.raises(InputError, match="boolean"):
        centreline_dice(tube().astype(np.uint8), tube())
    with pytest.raises(GeometryMismatchError, match="shape"):
        centreline_dice(tube()[1:], tube())
