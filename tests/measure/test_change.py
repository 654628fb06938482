"""Two examinations with known growth: matching, statuses, volumes, refusals."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from medseg.errors import ConfigurationError, GeometryMismatchError, InputError, LabelTableError
from medseg.instances.split import split
from medseg.measure.change import NOT_REGISTERED, ChangeOptions, TimePoint, measure_change
from medseg.measure.pairing import PairingOptions, pair_lesions
from medseg.phantoms import ball, box, oblique_geometry
from medseg.spatial import Geometry, Label, LabelTable, Segmentation, Unit, Volume
from medseg.spatial.crop import crop_geometry
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_segmentation

TABLE = LabelTable((Label(1, "lesion", kind="thing"), Label(2, "node", kind="thing"), Label(3, "organ")))
GRID = oblique_geometry((100, 90, 60), (1.0, 1.1, 1.5), (8, -5, 12), "LPS")


def draw(geometry, *shapes):
    labels = np.zeros(geometry.shape, np.uint8)
    for index, mask in shapes:
        labels[mask] = index
    return Segmentation(labels, geometry, TABLE)


def point(segmentation, image=None):
    return TimePoint.of(segmentation, split(segmentation), image)


def spheres(geometry, *balls):
    """(index, centre, radius) each."""
    return draw(geometry, *((index, ball(geometry, centre, radius)) for index, centre, radius in balls))


# grows, shrinks, stays, goes; then grows, shrinks, stays, comes. Diameters follow the volumes' cube roots.
BEFORE = ((1, (-30, -20, -15), 6), (1, (0, -20, 0), 9), (1, (30, -20, 15), 8), (2, (-30, 20, 0), 7))
AFTER = ((1, (-30, -19, -15), 8), (1, (0, -20, 0), 7), (1, (30, -20, 15), 8), (1, (30, 20, 10), 5))


@pytest.fixture(scope="module")
def pair():
    return point(spheres(GRID, *BEFORE)), point(spheres(GRID, *AFTER))


def by_status(change):
    return {lesion.status: lesion for lesion in change.lesions}


@pytest.mark.parametrize("way", ["overlap", "centre"])
def test_each_lesion_has_its_known_fate(pair, way):
    change = measure_change(*pair, ChangeOptions(pairing=PairingOptions(way, max_distance_mm=3)))
    assert len(change.lesions) == 5
    found = by_status(change)
    assert set(found) == {"grown", "shrunk", "stable", "new", "gone"}
    assert found["grown"].change_percent == pytest.approx(100 * ((8 / 6) ** 3 - 1), rel=0.03)
    assert found["shrunk"].change_percent == pytest.approx(100 * ((7 / 9) ** 3 - 1), rel=0.03)
    assert found["stable"].change_ml == 0
    assert (found["gone"].label, found["gone"].current, found["gone"].current_ml) == ("node", (), 0)
    assert found["gone"].change_percent == -100
    assert (found["new"].previous_ml, found["new"].change_percent) == (0, None)
    assert found["new"].change_ml == found["new"].current_ml == pytest.approx(0.524, rel=0.03)
    assert change.notes == (NOT_REGISTERED,)
    assert ("share 10%" if way == "overlap" else "3 mm apart") in change.method


def test_measurements_of_labels_and_lesions(pair):
    change = measure_change(*pair)
    table = {(m.label, m.instance, m.name): m for m in change.measurements}
    assert len(table) == len(change.measurements)
    counts = {
        key[2]: m.value for key, m in table.items() if key[0] == "lesion" and key[2].startswith("lesions_")
    }
    assert counts == {
        "lesions_new": 1, "lesions_gone": 0, "lesions_grown": 1, "lesions_shrunk": 1, "lesions_stable": 1,
        "lesions_outside": 0,
    }  # fmt: skip
    assert table["node", None, "lesions_gone"].value == 1
    assert (
        table["node", None, "lesion_load_change_ml"].value == -table["node", None, "previous_volume_ml"].value
    )
    assert table["node", None, "volume_change_percent"].value == -100
    assert table["organ", None, "previous_volume_ml"].value == 0
    assert "0 or less" in table["organ", None, "volume_change_percent"].reason
    assert ("organ", None, "lesions_new") not in table
    old = sum(lesion.previous_ml for lesion in change.lesions if lesion.label == "lesion")
    new = sum(lesion.current_ml for lesion in change.lesions if lesion.label == "lesion")
    assert table["lesion", None, "volume_change_ml"].value == pytest.approx(new - old)
    assert table["lesion", None, "volume_change_percent"].value == pytest.approx(100 * (new - old) / old)
    (number,) = by_status(change)["new"].current
    assert "no earlier volume" in table["lesion", number, "volume_change_percent"].reason
    assert table["lesion", number, "previous_volume_ml"].value == 0
    (number,) = by_status(change)["grown"].current
    assert table["lesion", number, "volume_change_percent"].value > 100


def test_a_scan_compared_with_itself_is_stable_and_swapping_turns_signs(pair):
    same = measure_change(pair[0], pair[0])
    assert {lesion.status for lesion in same.lesions} == {"stable"}
    assert all(lesion.previous == lesion.current for lesion in same.lesions)
    there, back = measure_change(*pair), measure_change(*reversed(pair))
    swapped = {(lesion.current, lesion.previous, -lesion.change_ml) for lesion in back.lesions}
    assert {(lesion.previous, lesion.current, lesion.change_ml) for lesion in there.lesions} == swapped


@pytest.mark.parametrize("way", ["overlap", "centre"])
def test_grids_and_orientations_do_not_matter(pair, way):
    options = ChangeOptions(pairing=PairingOptions(way))
    expected = [(lesion.status, lesion.label) for lesion in measure_change(*pair, options).lesions]
    fine = oblique_geometry((130, 130, 120), (0.8, 0.8, 0.7), (0, 0, 0))
    finer = point(spheres(fine, *AFTER))
    turned = point(resample_segmentation(pair[1].segmentation, reoriented(GRID, "SRA")))
    for current in (finer, turned):
        lesions = measure_change(pair[0], current, options).lesions
        assert sorted((lesion.status, lesion.label) for lesion in lesions) == sorted(expected)
    backwards = measure_change(finer, pair[0], options)
    assert sorted(lesion.status for lesion in backwards.lesions) == sorted(status for status, _ in expected)


def test_the_overlap_of_the_same_grid_is_that_of_brute_force():
    random = np.random.default_rng(5)
    geometry = oblique_geometry((24, 24, 24), (1, 1, 1))
    maps = []
    for _ in range(2):
        labels = np.zeros(geometry.shape, np.uint8)
        for start in random.integers(0, 19, (14, 3)):
            labels[tuple(slice(s, s + random.integers(2, 6)) for s in start)] = random.integers(1, 3)
        maps.append(split(Segmentation(labels, geometry, TABLE)))
    before, after = maps
    links = set()
    for p, c in itertools.product(before.instances, after.instances):
        one, other = before.ids == p.id, after.ids == c.id
        shared = (one & other).sum()
        if p.label == c.label and shared and shared >= 0.3 * min(one.sum(), other.sum()):
            links.add((p.id, c.id))
    groups = pair_lesions(before, after, PairingOptions(min_overlap=0.3))
    assert sorted(n for group in groups for n in group.previous) == [i.id for i in before.instances]
    assert sorted(n for group in groups for n in group.current) == [i.id for i in after.instances]
    joined = {(p, c) for group in groups for p in group.previous for c in group.current}
    assert links <= joined
    where = {("p", n): k for k, group in enumerate(groups) for n in group.previous}
    where |= {("c", n): k for k, group in enumerate(groups) for n in group.current}
    for k, group in enumerate(groups):
        inside = [link for link in links if where["p", link[0]] == k]
        # A group hangs together by its links alone: a tree at least.
        assert len(inside) >= len(group.previous) + len(group.current) - 1


def test_splitting_and_merging_are_one_group_each():
    centre = GRID.centre_mm
    whole = draw(GRID, (1, box(GRID, centre, (40, 10, 10))))
    parts = draw(GRID, *((1, box(GRID, centre + np.array([x, 0, 0]), (14, 10, 10))) for x in (-12, 12)))
    halves = measure_change(point(whole), point(parts))
    (lesion,) = halves.lesions
    assert (lesion.previous, lesion.current, lesion.status) == ((1,), (1, 2), "shrunk")
    entry = {(m.instance, m.name): m for m in halves.measurements}
    assert "split into lesions 1, 2" in entry[2, "volume_change_ml"].reason
    (lesion,) = measure_change(point(parts), point(whole)).lesions
    assert (lesion.previous, lesion.current, lesion.status) == ((1, 2), (1,), "grown")


def test_the_most_pairs_within_reach_then_the_nearest():
    before = spheres(GRID, (1, (0, 0, 0), 3), (1, (12, 0, 0), 3))
    after = spheres(GRID, (1, (10, 0, 0), 3), (1, (22, 0, 0), 3))
    changed = measure_change(
        point(before), point(after), ChangeOptions(pairing=PairingOptions("centre", max_distance_mm=10.5))
    )
    assert sorted(lesion.status for lesion in changed.lesions) == ["stable", "stable"]
    nearest = ChangeOptions(pairing=PairingOptions("centre", max_distance_mm=5))
    changed = measure_change(point(before), point(after), nearest)
    assert sorted(lesion.status for lesion in changed.lesions) == ["gone", "new", "stable"]


def test_labels_are_never_mixed():
    before, after = spheres(GRID, (1, (0, 0, 0), 6)), spheres(GRID, (2, (0, 0, 0), 6))
    for way in ("overlap", "centre"):
        change = measure_change(point(before), point(after), ChangeOptions(pairing=PairingOptions(way)))
        assert sorted((lesion.label, lesion.status) for lesion in change.lesions) == [
            ("lesion", "gone"), ("node", "new")
        ]  # fmt: skip


def test_small_overlaps_do_not_count_and_the_bound_does():
    before = draw(GRID, (1, box(GRID, (0, 0, 0), (20, 20, 20))))
    after = draw(GRID, (1, box(GRID, (19, 0, 0), (20, 20, 20))))
    statuses = [
        sorted(lesion.status for lesion in measure_change(point(before), point(after), options).lesions)
        for options in (ChangeOptions(), ChangeOptions(pairing=PairingOptions(min_overlap=0.01)))
    ]
    assert statuses == [["gone", "new"], ["stable"]]
    geometry = oblique_geometry((10, 10, 10), (1, 1, 1))
    one, other = np.zeros((2, 10, 10, 10), np.uint8)
    one[2:4, 2:4, 2], other[2:4, 2:4, 2], other[4, 2, 2] = 1, 1, 1
    grown = measure_change(*(point(Segmentation(a, geometry, TABLE)) for a in (one, other)))
    assert (grown.lesions[0].change_percent, grown.lesions[0].status) == (25, "grown")


def test_lesions_that_the_other_scan_does_not_reach_are_neither_new_nor_gone(pair):
    half = crop_geometry(GRID, (0, 0, 0), (50, 90, 60))
    part = point(resample_segmentation(pair[1].segmentation, half))
    change = measure_change(pair[0], part)
    outside = [lesion for lesion in change.lesions if lesion.status == "outside"]
    assert outside and all(lesion.current_ml is None and lesion.change_ml is None for lesion in outside)
    assert f"{len(outside)} lesions lie where only one" in change.notes[-1]
    assert "gone" not in {x.status for x in change.lesions if x.label == "lesion"}
    whole = measure_change(part, pair[0])
    late = [lesion for lesion in whole.lesions if lesion.status == "outside"]
    assert late and all(lesion.previous_ml is None for lesion in late)
    entries = {(m.instance, m.name): m for m in whole.measurements}
    assert "does not reach" in entries[late[0].current[0], "previous_volume_ml"].reason


def test_nothing_before_or_after(pair):
    empty = point(draw(GRID))
    assert {lesion.status for lesion in measure_change(empty, pair[1]).lesions} == {"new"}
    assert {lesion.status for lesion in measure_change(pair[0], empty).lesions} == {"gone"}
    for way in ("overlap", "centre"):
        assert measure_change(empty, empty, ChangeOptions(pairing=PairingOptions(way))).lesions == ()


def test_uptake_is_compared_where_both_have_it():
    segmentation = spheres(GRID, (1, (0, 0, 0), 10))
    images = [
        Volume(np.where(segmentation.labels == 1, value, 1.0), GRID, unit)
        for value, unit in ((8.0, Unit.SUV), (6.0, Unit.SUV), (3.0, Unit.ARBITRARY))
    ]
    before, after, other = (point(segmentation, image) for image in images)
    table = {(m.label, m.name): m for m in measure_change(before, after).measurements}
    assert table["lesion", "suv_peak_change"].value == pytest.approx(-2)
    assert table["lesion", "suv_peak_change"].unit == "SUV"
    assert table["lesion", "total_lesion_glycolysis_change_percent"].value == pytest.approx(-25)
    table = {(m.label, m.name): m for m in measure_change(before, other).measurements}
    assert table["lesion", "suv_max_change"].reason.startswith("now: the image's unit is arbitrary")
    assert table["lesion", "previous_suv_max"].value == 8
    table = {(m.label, m.name): m for m in measure_change(other, after).measurements}
    assert table["lesion", "previous_suv_max"].reason.startswith("at the earlier time: ")
    assert table["lesion", "suv_max_change"].reason.startswith("at the earlier time: ")
    assert not [m for m in measure_change(other, other).measurements if "suv" in m.name]


def framed(segmentation, uid):
    return replace(segmentation, geometry=replace(segmentation.geometry, frame_of_reference_uid=uid))


def test_frames_of_reference(pair):
    before, after = (
        point(framed(one.segmentation, uid)) for one, uid in zip(pair, ("1.2", "1.3"), strict=True)
    )
    with pytest.raises(GeometryMismatchError, match=r"different frames of reference.*--registered"):
        measure_change(before, after)
    registered = measure_change(before, after, ChangeOptions(registered=True))
    assert len(registered.lesions) == 5 and registered.notes == ()
    assert measure_change(before, point(framed(pair[1].segmentation, "1.2"))).notes == ()
    image = Volume(np.zeros(GRID.shape), replace(GRID, frame_of_reference_uid="1.3"))
    with pytest.raises(GeometryMismatchError, match="different frames"):
        measure_change(before, point(pair[1].segmentation, image))


def test_what_cannot_be_compared_is_refused(pair):
    affine = np.array(GRID.affine)
    affine[0, 3] += 500
    away = point(Segmentation(pair[1].segmentation.labels, Geometry(affine, GRID.shape), TABLE))
    for sides in ((pair[0], away), (away, pair[0])):
        with pytest.raises(GeometryMismatchError, match="no part of the patient in common"):
            measure_change(*sides)
    renamed = LabelTable((Label(1, "cyst", kind="thing"), Label(2, "node", kind="thing"), Label(3, "organ")))
    other = point(Segmentation(pair[1].segmentation.labels, GRID, renamed))
    with pytest.raises(LabelTableError, match="different label tables"):
        measure_change(pair[0], other)
    plane = point(draw(oblique_geometry((9, 9, 1), (1, 1, 1))))
    with pytest.raises(InputError, match="single slice"):
        measure_change(plane, plane)
    unknown = point(draw(Geometry(np.eye(4), (9, 9, 1), calibrated=False)))
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        measure_change(unknown, unknown)
    with pytest.raises(GeometryMismatchError, match="pixel size"):
        pair_lesions(unknown.instances, unknown.instances)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: PairingOptions("magic"), "overlap or centre"),
        (lambda: PairingOptions(min_overlap=0), "above 0"),
        (lambda: PairingOptions(max_distance_mm=-1), "0 mm or more"),
        (lambda: PairingOptions(max_distance_mm=float("nan")), "0 mm or more"),
        (lambda: ChangeOptions(stable_percent=0), "above 0"),
    ],
)
def test_options_out_of_range_are_refused(make, message):
    with pytest.raises(ConfigurationError, match=message):
        make()
