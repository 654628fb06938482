"""HTML: self-contained, escaped, with every number and reason."""

from __future__ import annotations

import dataclasses
import re
from html.parser import HTMLParser

import numpy as np
import pytest

from medseg.instances.instance import Instance
from medseg.measure.measurement import Measurement
from medseg.report.as_html import html
from medseg.report.figures import Picture
from medseg.report.report import NOTICE, Provenance
from medseg.spatial import Geometry, LabelTable

HOSTILE = '<script>alert("1")</script>'
VOID = {"meta", "img", "br"}
PICTURE = Picture("axial", 'Axial "one"', "Axial <one>, left is R", b"\x89PNG", 300)


class _Page(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.attributes, self.open, self.text = [], [], [], []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.attributes += [(tag, name, value) for name, value in attrs]
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text.append(data)


def _seen(text):
    page = _Page(text)
    assert not page.open
    return page


def test_page_is_whole_and_needs_nothing_else(report):
    text = html(report, [PICTURE])
    page = _seen(text)
    policies = [v for t, n, v in page.attributes if t == "meta" and n == "content" and "default-src" in v]
    assert policies == ["default-src 'none'; img-src data:; style-src 'unsafe-inline'"]
    assert not {"script", "link", "iframe", "object", "form", "a", "b", "one"} & set(page.tags)
    sources = [value for _, name, value in page.attributes if name in {"src", "href", "srcset", "action"}]
    assert sources == ["data:image/png;base64,iVBORw=="]
    assert not re.search(r"https?://|@import|url\(", text)
    assert not [name for _, name, _ in page.attributes if name.startswith("on")]


def test_everything_from_outside_is_escaped(report):
    text = html(report, [PICTURE])
    assert HOSTILE not in text
    assert text.count("&lt;script&gt;alert(&#34;1&#34;)&lt;/script&gt;") > 4
    assert "<b>thick" not in text
    shown = "".join(_seen(text).text)
    assert HOSTILE in shown
    assert "=case & <1>" in shown
    assert 'a "phantom"' in shown


def test_control_characters_and_reading_direction_are_taken_out(report):
    odd = dataclasses.replace(report, case_id="a\x00\u202eb\ud800")
    text = html(odd)
    assert "a b: segmentation report" in text
    assert text.encode("utf-8")


def test_notice_is_at_the_top_at_the_bottom_and_on_each_printed_page(report):
    text = html(report)
    shown = [part for part in _seen(text).text if NOTICE in part]
    assert len(shown) == 3
    assert text.index(NOTICE) < text.index("<header>") < text.index("<main>") < text.rindex(NOTICE)
    assert f'@bottom-center {{ content: "{NOTICE}"' in text


def test_pictures_have_a_text_alternative(report):
    page = _seen(html(report, [PICTURE]))
    assert ("img", "alt", "Axial <one>, left is R") in page.attributes
    assert 'Axial "one"' in page.text
    assert "Pictures" not in "".join(_seen(html(report)).text)


def test_tables_round_and_say_what_is_missing(report):
    text = html(report)
    shown = "".join(_seen(text).text)
    assert "1235" in shown
    assert "−12.5 ± 3.2" in shown
    assert '<th class="n">Intensity, mean ± SD <span class="unit">(HU)</span></th>' in text
    assert '<td class="n" title="pixel size unknown">–<sup>1</sup></td>' in text
    assert "<li>pixel size unknown</li>" in text
    assert "Not found: absent." in shown
    assert "Labels found2 of 3" in shown.replace("\n", "")


def test_a_column_without_any_value_becomes_a_sentence(report):
    flat = tuple(
        dataclasses.replace(m, value=None, reason="pixel size unknown") if m.name == "volume_ml" else m
        for m in report.measurements
    )
    text = html(dataclasses.replace(report, measurements=flat))
    assert "Volume: pixel size unknown." in text
    assert '<th class="n">Volume' not in text
    assert "<sup>" not in text


def test_two_reasons_have_two_notes(report):
    values = (
        Measurement("longest_diameter_mm", 2.0, "mm", "front"),
        Measurement("longest_diameter_mm", None, "mm", HOSTILE, reason="too <small>"),
        Measurement("longest_diameter_mm", None, "mm", "absent", reason="not present"),
        Measurement("volume_ml", None, "ml", "absent", reason="too <small>"),
        Measurement("volume_ml", 1.0, "ml", "front"),
    )
    text = html(dataclasses.replace(report, measurements=values, instances=()))
    assert text.count("<sup>1</sup>") == 2
    assert text.count("<sup>2</sup>") == 1
    assert "<li>too &lt;small&gt;</li>" in text


def test_a_label_that_was_not_measured_has_dashes(report):
    only = tuple(m for m in report.measurements if m.label == "front")
    text = html(dataclasses.replace(report, measurements=only, instances=()))
    assert '<td class="n" title="not measured">–</td>' in text


def test_part_of_a_cell_may_be_missing(report):
    values = (
        Measurement("intensity_mean", 5.0, "HU", "front"),
        Measurement("intensity_sd", None, "HU", "front", reason="one voxel"),
    )
    text = html(dataclasses.replace(report, measurements=values, instances=()))
    assert "5.00 ± –<sup>1</sup>" in text


@pytest.mark.parametrize(("value", "text"), [(12.345, "12.3"), (0.01234, "0.0123"), (0.0, "0.0")])
def test_lengths_have_tenths_unless_they_are_tiny(report, value, text):
    one = (Measurement("longest_diameter_mm", value, "mm", "front"),)
    shown = html(dataclasses.replace(report, measurements=one, instances=()))
    assert f'<td class="n">{text}</td>' in shown


def test_centroid_in_patient_coordinates(report):
    values = tuple(
        Measurement(f"centroid_{axis}_mm", v, "mm", "front")
        for axis, v in zip("ras", (-1.26, 20.0, 0.04), strict=True)
    )
    text = html(dataclasses.replace(report, measurements=values, instances=()))
    assert "−1.3, 20.0, 0.0" in text


def test_instances_with_scores_and_their_colours(report):
    text = html(report)
    shown = "".join(_seen(text).text)
    assert "0.88" in shown
    swatches = re.findall(r"background:rgb\(\d+,\d+,\d+\)", text)
    assert len(set(swatches)) == 3
    assert "Instances2" in shown.replace("\n", "")


def test_many_instances_are_folded_and_many_measurements_cut(report):
    box = ((0, 1), (0, 1), (0, 1))
    many = tuple(Instance(n, "front", 1, None, None, box) for n in range(1, 3102))
    values = tuple(Measurement("voxel_count", 1.0, "1", "front", n) for n in range(1, 3102))
    text = html(dataclasses.replace(report, instances=many, measurements=values))
    assert "<details><summary>3101 instances</summary>" in text
    assert "101 more are in measurements.csv" in text
    _seen(text)


def test_provenance_is_readable(report):
    shown = "".join(_seen(html(report)).text)
    for words in (
        "boxes_mr_unet3d 1.2.3",
        "2025-01-31 08:15:00 UTC",
        "tta = yes; roi_size = 64 × 64 × 32; overlap = 0.5",
        "read 0.25 s; predict 3.00 s",
        "1.50 GB",
        "window batch 4 to 1",
        "01" * 32,
        "1.2.840.1",
        "numpy 2.0.0",
    ):
        assert words in shown


def test_the_least_report(report):
    text = html(
        dataclasses.replace(
            report,
            description=None,
            table=LabelTable(()),
            measurements=(),
            instances=(),
            warnings=(),
            provenance=Provenance({}),
            geometry=Geometry(np.diag([-1.0, -1.0, 1.0, 1.0]), (7, 5, 1), calibrated=False),
        )
    )
    shown = "".join(_seen(text).text)
    assert "7 × 5 pixels, pixel size unknown" in shown
    assert "No label was found." in shown
    assert "Warnings" not in shown
    assert "All measurements" not in shown
    assert NOTICE in shown
