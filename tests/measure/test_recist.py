"""Target lesions and the response by their sums, on the rules of RECIST 1.1."""

import itertools

import numpy as np
import pytest

from medseg.errors import ConfigurationError, InputError
from medseg.instances.split import split
from medseg.measure.change import LesionChange, TimePoint, measure_change
from medseg.measure.recist import (
    CAVEAT,
    Diameters,
    Response,
    check_node_labels,
    choose_targets,
    follow_targets,
    lesion_diameters,
    min_long_diameter_mm,
    recist_measurements,
    response,
)
from medseg.phantoms import box, oblique_geometry
from medseg.spatial import Label, LabelTable, Segmentation

TABLE = LabelTable((Label(1, "liver_lesion", kind="thing"), Label(2, "node", kind="thing")))
GRID = oblique_geometry((120, 100, 40), (1.0, 1.0, 2.0))


def one(label, number, long_mm, short_mm=5.0, node=False):
    return Diameters(label, number, long_mm, short_mm, node)


def fate(status, previous, current, label="a"):
    return LesionChange(label, status, previous, current, None, None, None, None)


def test_two_per_organ_five_in_all_largest_first():
    lesions = [one("liver", n, 10 + n) for n in range(4)] + [one("lung", 10 + n, 30 + n) for n in range(3)]
    lesions += [one("bone", 20, 11), one("skin", 21, 12)]
    targets = choose_targets(lesions)
    assert [t.instance for t in targets.chosen] == [12, 11, 3, 2, 21]
    assert targets.measurable == 9
    assert targets.sum_mm == 32 + 31 + 13 + 12 + 12


def test_the_choice_has_the_largest_sum_of_all_that_keep_the_rules():
    random = np.random.default_rng(0)
    for _ in range(30):
        lesions = [one(f"o{random.integers(3)}", n, float(random.uniform(5, 40))) for n in range(8)]
        allowed = [
            sum(x.long_mm for x in chosen)
            for size in range(6)
            for chosen in itertools.combinations([x for x in lesions if x.long_mm >= 10], size)
            if all(sum(x.label == o for x in chosen) <= 2 for o in ("o0", "o1", "o2"))
        ]
        assert (choose_targets(lesions).sum_mm or 0) == pytest.approx(max(allowed))


def test_nodes_go_by_the_short_axis_and_are_one_organ():
    lesions = [
        one("left", 1, 40, 14.9, node=True),
        one("left", 2, 20, 15, node=True),
        one("right", 3, 30, 18, node=True),
        one("hilum", 4, 22, 16, node=True),
        one("liver", 5, 17, 3),
    ]
    targets = choose_targets(lesions)
    assert [(t.instance, t.size_mm) for t in targets.chosen] == [(3, 18), (5, 17), (4, 16)]
    assert targets.measurable == 4


def test_the_smallest_measurable_lesion():
    assert choose_targets([one("liver", 1, 9.99)]).sum_mm is None
    assert choose_targets([one("liver", 1, 10)]).sum_mm == 10
    assert choose_targets([one("liver", 1, 13)], 14).sum_mm is None
    assert choose_targets([]).chosen == ()


@pytest.mark.parametrize(
    ("shape", "step", "expected"), [((9, 9, 9), 5, 10), ((9, 9, 9), 7, 14), ((9, 9, 1), 7, 10)]
)
def test_thick_slices_raise_the_bound(shape, step, expected):
    assert min_long_diameter_mm(oblique_geometry(shape, (1, 1, step), (5, 8, 3))) == pytest.approx(expected)
    assert min_long_diameter_mm(oblique_geometry((9, 9, 9), (6, 1, 1), orientation="SRA")) == pytest.approx(
        12
    )


@pytest.mark.parametrize(
    ("baseline", "current", "nadir", "expected"),
    [
        (100, 70, None, "PR"),
        (100, 70.1, None, "SD"),
        (100, 119.9, None, "SD"),
        (100, 120, None, "PD"),
        (20, 24, None, "SD"),
        (20, 25, None, "PD"),
        (100, 0, None, "CR"),
        (100, 60, 50, "PD"),
        (100, 59, 50, "PR"),
        (100, 80, 75, "SD"),
        (100, 4.9, 0, "PR"),
        (100, 5, 0, "PD"),
        (0.3, 0.21, None, "PR"),
    ],
)
def test_the_categories(baseline, current, nadir, expected):
    assert response(baseline, current, nadir_mm=nadir) == expected


def test_new_lesions_and_normal_nodes():
    assert response(100, 10, new_lesion=True) == Response.PROGRESSIVE
    assert response(100, 9, all_gone=True) == Response.COMPLETE
    assert response(100, 9, all_gone=False) == Response.PARTIAL


@pytest.mark.parametrize(
    ("sums", "message"),
    [
        ((-1, 5, None), "0 or more"),
        ((10, float("nan"), None), "finite"),
        ((10, 5, float("inf")), "finite"),
        ((0, 5, None), "above 0"),
        ((10, 5, 11), "no more than it"),
    ],
)
def test_impossible_sums_are_refused(sums, message):
    with pytest.raises(InputError, match=message):
        response(sums[0], sums[1], nadir_mm=sums[2])


def test_unknown_node_labels_are_refused():
    check_node_labels(("node",), TABLE)
    with pytest.raises(ConfigurationError, match=r"no label is called nodes; choose .*liver_lesion, node"):
        check_node_labels(("nodes",), TABLE)
    with pytest.raises(ConfigurationError, match="from: none"):
        check_node_labels(("nodes",), LabelTable(()))


def test_following_targets():
    targets = choose_targets([one("a", 1, 40), one("a", 2, 30), one("b", 3, 20), one("a", 4, 11)])
    now = [one("a", 1, 15), one("a", 2, 12), one("b", 3, 20)]
    split_up = [fate("shrunk", (1,), (1, 2)), fate("gone", (2,), ()), fate("stable", (3,), (3,), "b")]
    split_up.append(fate("gone", (4,), ()))
    found = follow_targets(targets, split_up, now)
    assert (found.baseline_mm, found.current_mm, found.response) == (90, 47, "PR")
    assert found.sizes == {1: 15, 2: 12, 3: 20}
    merged = [fate("grown", (1, 2), (1,)), fate("gone", (3,), (), "b"), fate("gone", (4,), ())]
    assert follow_targets(targets, merged, [one("a", 1, 60)]).current_mm == 60
    gone = [fate("gone", (n,), ()) for n in (1, 2, 3, 4)]
    assert follow_targets(targets, gone, []).response == "CR"
    fresh = follow_targets(targets, [*gone, fate("new", (), (7,))], [one("a", 7, 6)])
    assert (fresh.new_lesions, fresh.response) == (1, "PD")


def test_targets_outside_the_later_scan_and_no_targets():
    targets = choose_targets([one("a", 1, 40)])
    outside = follow_targets(targets, [fate("outside", (1,), ())], [])
    assert (outside.current_mm, outside.response) == (None, None)
    assert "outside the later scan" in outside.reason
    fresh = follow_targets(targets, [fate("outside", (1,), ()), fate("new", (), (2,))], [one("a", 2, 9)])
    assert (fresh.response, fresh.reason) == ("PD", None)
    none = follow_targets(choose_targets([]), [fate("new", (), (1,))], [one("a", 1, 9)])
    assert (none.response, none.new_lesions, none.reason) == (
        None,
        1,
        "no measurable lesion at the earlier time",
    )


def test_nodes_that_became_normal_are_a_complete_response():
    targets = choose_targets([one("n", 1, 30, 20, node=True)])
    small = [one("n", 1, 14, 9.9, node=True), one("n", 2, 12, 8, node=True)]
    found = follow_targets(targets, [fate("shrunk", (1,), (1,), "n"), fate("new", (), (2,), "n")], small)
    assert (found.response, found.current_mm, found.new_lesions) == ("CR", 9.9, 0)
    large = [small[0], one("n", 2, 12, 10, node=True)]
    found = follow_targets(targets, [fate("shrunk", (1,), (1,), "n"), fate("new", (), (2,), "n")], large)
    assert (found.response, found.new_lesions) == ("PD", 1)


def scan(*boxes):
    labels = np.zeros(GRID.shape, np.uint8)
    for index, centre, size in boxes:
        labels[box(GRID, centre, size)] = index
    segmentation = Segmentation(labels, GRID, TABLE)
    return TimePoint.of(segmentation, split(segmentation))


def test_known_boxes_from_the_label_map_to_the_response():
    # Boxes of 12 × 16 mm have a diagonal of 20 mm; nodes of 30 × 16 have a short axis below 34.
    before = scan((1, (-30, 0, 0), (12, 16, 8)), (1, (0, 0, 0), (24, 32, 8)), (1, (30, 0, 0), (3, 4, 4)))
    lesions = lesion_diameters(before.measurements)
    targets = choose_targets(lesions, min_long_diameter_mm(GRID))
    assert targets.sum_mm == pytest.approx(20 + 40)
    after = scan((1, (-30, 0, 0), (6, 8, 8)), (1, (0, 0, 0), (12, 16, 8)), (1, (30, 0, 0), (3, 4, 4)))
    now = lesion_diameters(after.measurements)
    found = follow_targets(targets, measure_change(before, after).lesions, now)
    assert (found.current_mm, found.response) == (pytest.approx(30), "PR")
    entries = {(m.instance, m.name): m for m in recist_measurements(now, found.sizes, "no target")}
    assert entries[None, "recist_target_sum_mm"].value == pytest.approx(30)
    assert CAVEAT in entries[None, "recist_target_sum_mm"].method
    assert entries[3, "recist_diameter_mm"].reason == "no target"
    products = sum(lesion.long_mm * lesion.short_mm for lesion in now)
    assert entries[None, "who_product_sum_mm2"].value == pytest.approx(products)
    bare = {(m.instance, m.name): m for m in recist_measurements(now, {}, "no target")}
    assert bare[None, "recist_target_sum_mm"].reason == "no target lesion"


def test_node_labels_are_told_apart():
    found = lesion_diameters(
        scan((1, (0, 0, 0), (12, 16, 8)), (2, (30, 0, 0), (30, 16, 8))).measurements, ["node"]
    )
    assert [(lesion.label, lesion.node) for lesion in found] == [("liver_lesion", False), ("node", True)]
    assert found[1].size_mm == found[1].short_mm < found[1].long_mm == pytest.approx(34)
