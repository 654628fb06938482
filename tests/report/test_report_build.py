"""From parts to files."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from medseg.errors import GeometryMismatchError, LabelTableError
from medseg.instances.split import SplitOptions, split
from medseg.measure.measure import measure
from medseg.measure.measurement import Measurement
from medseg.phantoms import abdomen, ball, oblique_geometry
from medseg.report.build import build_report, write_report
from medseg.report.report import NOTICE
from medseg.spatial import Label, LabelTable, Segmentation, Volume

FILES = {"measurements.json", "measurements.csv", "case.json", "report.html", "preview.png"}


def _balls():
    geometry = oblique_geometry((40, 30, 20), (1.0, 1.5, 2.5), (10.0, 0.0, 20.0))
    labels = (ball(geometry, (-10.0, 0.0, 0.0), 6.0) | ball(geometry, (10.0, 0.0, 0.0), 5.0)).astype(np.uint8)
    table = LabelTable((Label(1, "ball", kind="thing"), Label(2, "absent")))
    return Volume(labels * 100.0, geometry), Segmentation(labels, geometry, table)


def test_all_files_with_the_notice(tmp_path, provenance):
    image, segmentation = _balls()
    instances = split(segmentation, SplitOptions())
    measurements = measure(segmentation, instances, image)
    report = build_report("two_balls", segmentation, instances, measurements, provenance, ["odd"], "phantom")
    write_report(report, image, segmentation, instances, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == FILES
    for name in FILES - {"preview.png"}:
        assert NOTICE in (tmp_path / name).read_text(encoding="utf-8")
    with Image.open(tmp_path / "preview.png") as picture:
        assert picture.width > 1000
    found = json.loads((tmp_path / "measurements.json").read_text())
    assert len(found["instances"]) == 2
    assert found["warnings"] == ["odd"]
    page = (tmp_path / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/png") == 3
    assert "Not found: absent." in page
    assert "Axial diameters" in page
    assert "Centroid R, A, S" in page


def test_files_are_the_same_every_time(tmp_path, provenance):
    image, segmentation = _balls()
    report = build_report("b", segmentation, None, measure(segmentation, None, image), provenance)
    contents = []
    for name in ("one", "two"):
        folder = tmp_path / name
        folder.mkdir()
        write_report(report, image, segmentation, None, folder)
        contents.append({path.name: path.read_bytes() for path in folder.iterdir()})
    assert contents[0] == contents[1]


def test_an_empty_instance_map_shows_labels(tmp_path, provenance):
    image, segmentation = _balls()
    bare = Segmentation(segmentation.labels * 0, segmentation.geometry, segmentation.table)
    instances = split(bare, SplitOptions())
    report = build_report("b", bare, instances, measure(bare, instances, image), provenance)
    write_report(report, image, bare, instances, tmp_path)
    assert report.warnings == ("No label was found in this image.",)
    assert "No label was found." in (tmp_path / "report.html").read_text(encoding="utf-8")


def test_labels_at_the_border_are_warned_of(provenance):
    names = [f"organ{n}" for n in range(1, 12)]
    geometry = oblique_geometry((5, 5, 5), (1.0, 1.0, 1.0))
    table = LabelTable(tuple(Label(n, name) for n, name in enumerate(names, start=1)))
    segmentation = Segmentation(np.zeros(geometry.shape, np.uint8), geometry, table)

    def warned(count):
        values = [Measurement("touches_border", float(n < count), "1", name) for n, name in enumerate(names)]
        return build_report("b", segmentation, None, values, provenance).warnings

    assert warned(0) == ()
    assert warned(1) == ("Reaches the edge of the image and may be cut off: organ1.",)
    assert ": organ1, organ2." in warned(2)[0]
    assert "organ8 and 3 more." in warned(11)[0]


def test_objects_at_the_border_are_counted(provenance):
    geometry = oblique_geometry((20, 5, 5), (1.0, 1.0, 1.0))
    labels = np.zeros(geometry.shape, np.uint8)
    labels[0:2, 2, 2] = labels[5:7, 2, 2] = labels[18:, 2, 2] = 1
    segmentation = Segmentation(labels, geometry, LabelTable((Label(1, "ball", kind="thing"),)))
    instances = split(segmentation, SplitOptions())
    report = build_report("b", segmentation, instances, measure(segmentation, instances), provenance)
    assert report.warnings == ("Reaches the edge of the image and may be cut off: ball (2 of 3 objects).",)


def test_a_warning_is_not_said_twice(provenance):
    _, segmentation = _balls()
    text = "No label was found in this image."
    values = [Measurement("voxel_count", 0.0, "1", "ball")]
    assert build_report("b", segmentation, None, values, provenance, [text]).warnings == (text,)


def test_nothing_is_written_where_the_pictures_fail(tmp_path, provenance):
    image, segmentation = _balls()
    report = build_report("b", segmentation, None, (), provenance)
    grid = oblique_geometry((2, 2, 2), (1.0, 1.0, 1.0))
    small = Segmentation(np.ones(grid.shape, np.uint8), grid, segmentation.table)
    with pytest.raises(GeometryMismatchError):
        write_report(report, image, segmentation, split(small, SplitOptions()), tmp_path)
    assert not list(tmp_path.iterdir())


def test_measurements_of_other_labels_are_refused(provenance):
    _, segmentation = _balls()
    with pytest.raises(LabelTableError, match="liver"):
        build_report("b", segmentation, None, [Measurement("volume_ml", 1.0, "ml", "liver")], provenance)


def test_a_scan_of_an_abdomen(tmp_path, provenance):
    made = abdomen(oblique_geometry((48, 40, 12), (6.0, 6.0, 20.0), (5.0, 0.0, 10.0), "LPS"))
    values = measure(made.segmentation, None, made.volume)
    report = build_report("abdomen", made.segmentation, None, values, provenance)
    write_report(report, made.volume, made.segmentation, None, tmp_path)
    assert "W 400 L 40 HU" in (tmp_path / "report.html").read_text(encoding="utf-8")
