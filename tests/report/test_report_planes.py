"""Which slices are shown and which way they lie, against nibabel and brute force."""

from __future__ import annotations

import itertools

import nibabel as nib
import numpy as np
import pytest

from medseg.errors import GeometryMismatchError
from medseg.phantoms import box, oblique_geometry
from medseg.report.planes import choose_planes
from medseg.spatial import Geometry, Volume
from medseg.spatial.orientation import reoriented
from medseg.spatial.resample import resample_array

ORIENTATIONS = sorted(
    "".join(letters)
    for order in itertools.permutations(("RL", "AP", "SI"))
    for letters in itertools.product(*order)
)


def _corner_object(geometry):
    """A box towards the patient's right, front and head."""
    return box(geometry, tuple(geometry.centre_mm + np.array([8.0, 9.0, 10.0])), (6.0, 7.0, 8.0)).astype(
        np.uint8
    )


@pytest.mark.parametrize("orientation", ORIENTATIONS)
def test_right_front_top_is_at_the_left_and_the_top(orientation):
    geometry = oblique_geometry((30, 34, 18), (1.0, 1.2, 2.5), orientation="RAS")
    turned = reoriented(geometry, orientation)
    labels = _corner_object(turned)
    axial, coronal, sagittal = choose_planes(labels, turned)
    assert [p.name for p in (axial, coronal, sagittal)] == ["axial", "coronal", "sagittal"]
    assert axial.edges == ("R", "L", "A", "P")
    assert coronal.edges == ("R", "L", "S", "I")
    assert sagittal.edges == ("A", "P", "S", "I")
    for plane in (axial, coronal, sagittal):
        shown = plane.take(labels, turned)
        rows, columns = np.nonzero(shown)
        assert rows.size
        assert rows.max() < shown.shape[0] / 2
        assert columns.max() < shown.shape[1] / 2
        assert not plane.oblique
        assert plane.in_patient


def test_slices_are_those_of_nibabel():
    rng = np.random.default_rng(3)
    array = rng.integers(0, 200, (9, 12, 7)).astype(np.int16)
    labels = rng.integers(0, 2, array.shape).astype(np.uint8)
    geometry = oblique_geometry(array.shape, (0.7, 1.1, 3.0), (8.0, -14.0, 21.0), "PIR", (5.0, -30.0, 80.0))
    ras = nib.as_closest_canonical(nib.Nifti1Image(array, geometry.affine))
    ras_labels = np.asarray(nib.as_closest_canonical(nib.Nifti1Image(labels, geometry.affine)).dataobj)
    whole = np.asarray(ras.dataobj)
    for plane, axis in zip(choose_planes(labels, geometry), (2, 1, 0), strict=True):
        counts = ras_labels.sum(axis=tuple({0, 1, 2} - {axis}))
        index = int(np.rint(np.linalg.solve(ras.affine, [*plane.geometry.centre_mm, 1.0])[axis]))
        assert counts[index] == counts.max()
        expected = np.take(whole, index, axis=axis).T[::-1]
        expected = expected[:, ::-1]
        np.testing.assert_array_equal(plane.take(array, geometry), expected)
        np.testing.assert_array_equal(plane.take_volume(Volume(array, geometry)), expected)


def test_choice_does_not_hang_on_the_order_of_storage():
    geometry = oblique_geometry((11, 13, 8), (1.0, 1.2, 2.5), (10.0, 5.0, -20.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[2:9, 3:11, 1:7] = 1  # every slice of the box has as many voxels
    expected = [p.geometry.centre_mm for p in choose_planes(labels, geometry)]
    for orientation in ORIENTATIONS:
        turned = reoriented(geometry, orientation)
        copy = resample_array(labels, geometry, turned, order=0, fill=0)
        for plane, centre in zip(choose_planes(copy, turned), expected, strict=True):
            np.testing.assert_allclose(plane.geometry.centre_mm, centre, atol=1e-9)


@pytest.mark.parametrize("order", ["C", "F"])
def test_choice_among_equals_is_the_middle_and_without_foreground_too(order):
    geometry = oblique_geometry((9, 11, 13), (1.0, 1.0, 1.0))
    labels = np.zeros(geometry.shape, np.uint8, order=order)
    for plane in choose_planes(labels, geometry):
        np.testing.assert_allclose(plane.geometry.centre_mm, 0, atol=1e-9)
    labels[1:4, 2:5, 3:6] = 1
    centre = geometry.to_world([2, 3, 4])
    axial, coronal, sagittal = choose_planes(labels, geometry)
    assert axial.geometry.centre_mm[2] == centre[2]
    assert coronal.geometry.centre_mm[1] == centre[1]
    assert sagittal.geometry.centre_mm[0] == centre[0]
    assert axial.position == "I 2.0 mm"
    assert coronal.position == "P 2.0 mm"
    assert sagittal.position == "L 2.0 mm"


def test_sizes_are_the_patients():
    geometry = oblique_geometry((30, 20, 10), (0.5, 2.0, 7.0), (20.0, 10.0, 5.0))
    axial, coronal, sagittal = choose_planes(np.zeros(geometry.shape, np.uint8), geometry)
    assert axial.size == pytest.approx((15.0, 40.0))
    assert coronal.size == pytest.approx((15.0, 70.0))
    assert sagittal.size == pytest.approx((40.0, 70.0))


@pytest.mark.parametrize(
    ("angle", "edges", "oblique"),
    [
        (4.0, ("R", "L", "A", "P"), False),
        (15.0, ("R", "L", "A", "P"), True),
        (25.0, ("RA", "LP", "AL", "PR"), True),
        (-25.0, ("RP", "LA", "AR", "PL"), True),
    ],
)
def test_leaning_slices_say_so(angle, edges, oblique):
    geometry = oblique_geometry((6, 6, 6), (1.0, 1.0, 1.0), (0.0, 0.0, angle))
    axial = choose_planes(np.zeros(geometry.shape, np.uint8), geometry)[0]
    assert axial.edges == edges
    assert axial.oblique is oblique


@pytest.mark.parametrize(("orientation", "name"), [("LPS", "axial"), ("RIA", "coronal"), ("PIR", "sagittal")])
def test_one_slice_gives_one_plane(orientation, name):
    geometry = oblique_geometry((5, 6, 1), (1.0, 1.0, 4.0), orientation=orientation, centre_mm=(1, 2, 3))
    (plane,) = choose_planes(np.zeros(geometry.shape, np.uint8), geometry)
    assert plane.name == name
    assert plane.in_patient


@pytest.mark.parametrize("calibrated", [True, False])
def test_a_plain_picture_is_shown_as_stored_and_has_no_directions(calibrated):
    pixels = np.arange(12, dtype=np.uint8).reshape(3, 4)  # rows, columns
    array = pixels.T[:, :, None]
    geometry = Geometry(np.diag([-0.01, -0.01, 1.0, 1.0]), array.shape, calibrated=calibrated)
    (plane,) = choose_planes(array, geometry)
    np.testing.assert_array_equal(plane.take(array, geometry), pixels)
    assert not plane.in_patient


def test_one_slice_with_a_place_in_the_patient_has_directions():
    affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    labels = np.zeros((4, 3, 1), np.uint8)
    for geometry in (
        Geometry(affine, labels.shape, "1.2.3"),
        Geometry(affine + np.array([[0, 0, 0, 5.0]] + [[0] * 4] * 3), labels.shape),
        Geometry(np.diag([-1.0, -1.0, 3.0, 1.0]), labels.shape),
    ):
        assert choose_planes(labels, geometry)[0].in_patient


def test_a_scan_on_another_grid_is_interpolated_and_empty_outside():
    geometry = oblique_geometry((20, 20, 20), (1.0, 1.0, 1.0))
    fine = oblique_geometry((20, 40, 40), (0.5, 0.5, 0.5))
    ramp = np.broadcast_to(
        fine.to_world(np.indices(fine.shape).reshape(3, -1).T)[:, 2].reshape(fine.shape), fine.shape
    )
    plane = choose_planes(np.zeros(geometry.shape, np.uint8), geometry)[1]
    shown = plane.take_volume(Volume(ramp, fine))
    assert shown.shape == (20, 20)
    assert np.isnan(shown[:, :4]).all()
    assert np.isnan(shown[:, -4:]).all()
    np.testing.assert_allclose(shown[:, 10], np.arange(9.5, -10, -1), atol=0.3)


def test_a_scan_of_another_frame_of_reference_is_refused():
    geometry = Geometry(np.eye(4), (4, 4, 4), "1.2.3")
    plane = choose_planes(np.zeros((4, 4, 4), np.uint8), geometry)[0]
    with pytest.raises(GeometryMismatchError, match="frames of reference"):
        plane.take_volume(Volume(np.zeros((4, 4, 4)), Geometry(np.eye(4), (4, 4, 4), "1.2.4")))
