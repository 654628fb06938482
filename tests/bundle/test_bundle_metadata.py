"""metadata.json: what is accepted, and a refusal for each thing that is not."""

from __future__ import annotations

import copy
import json

import pytest

from medseg.bundle.metadata import read_metadata
from medseg.errors import InvalidBundleError
from medseg.spatial import Code


def _set(record, path, value):
    *parents, last = path
    for key in parents:
        record = record[key]
    if value == _GONE:
        del record[last]
    else:
        record[last] = value


_GONE = "<gone>"


def test_reads_what_it_should(bundle_folder):
    metadata = read_metadata(bundle_folder.path)
    assert (metadata.modality, metadata.dims, metadata.channels) == ("MR", 3, ("t1",))
    assert metadata.weights_sha256 is None
    table = metadata.label_table
    assert [label.index for label in table] == [1, 2]
    assert table.by_index(1).code == Code("SCT", "1", "Front")
    assert table.by_index(2).kind == "thing"
    assert table.by_index(2).rgb == (1, 2, 3)


def test_unknown_fields_are_allowed_where_monai_has_them(bundle_folder):
    bundle_folder.metadata["changelog"] = {"0.1.0": "first"}
    bundle_folder.metadata["network_data_format"]["inputs"]["image"]["spatial_shape"] = ["*", "*", "*"]
    assert read_metadata(bundle_folder.write().path).version == "0.1.0"


def test_labels_come_by_ascending_index(bundle_folder):
    bundle_folder.metadata["medseg"]["labels"].reverse()
    assert [label.index for label in read_metadata(bundle_folder.write().path).label_table] == [1, 2]


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("version",), _GONE, "field version is missing"),
        (("version",), 3, r"field version is 3; expected: a valid string"),
        (("medseg",), _GONE, "field medseg is missing"),
        (("medseg", "schema"), 2, r"field medseg\.schema is 2; expected: 1"),
        (("medseg", "modality"), "XX", r"field medseg\.modality is 'XX'; expected: 'CR', 'CT'"),
        (("medseg", "dims"), 4, r"field medseg\.dims is 4; expected: 2 or 3"),
        (("medseg", "surprise"), 1, r"field medseg\.surprise is not one that medseg knows"),
        (("medseg", "channels"), [], r"field medseg\.channels"),
        (("medseg", "channels"), ["t1", "t2"], "names 2 channels but network_data_format.inputs has 1"),
        (("medseg", "labels"), [], r"field medseg\.labels"),
        (("medseg", "labels", 0, "index"), 0, r"field medseg\.labels\[0\]\.index is 0; expected: greater"),
        (("medseg", "labels", 0, "index"), 65_536, r"less than or equal to 65535"),
        (("medseg", "labels", 0, "index"), "1", r"expected: a valid integer"),
        (("medseg", "labels", 0, "index"), True, r"expected: a valid integer"),
        (("medseg", "labels", 0, "index"), 2, r"field medseg\.labels: label index 2 occurs more than once"),
        (("medseg", "labels", 0, "name"), "back", r"label name back occurs more than once"),
        (("medseg", "labels", 0, "name"), "a\x1b[2Jb", r"labels\[0\]\.name is 'a\\x1b\[2Jb'"),
        (("medseg", "labels", 0, "name"), "../x", r"labels\[0\]\.name"),
        (("medseg", "labels", 0, "kind"), "object", r"labels\[0\]\.kind"),
        (("medseg", "labels", 0, "code"), {"scheme": "SCT"}, r"labels\[0\]\.code\.value is missing"),
        (("medseg", "labels", 1, "colour"), [0, 0, 256], r"labels\[1\]\.colour\[2\] is 256"),
        (("medseg", "labels", 1, "colour"), [0, 0], r"labels\[1\]\.colour"),
        (("medseg", "weights"), {"file": "models/model.pt"}, r"medseg\.weights\.sha256 is missing"),
        (("medseg", "weights"), {"file": "models/model.pt", "sha256": "A" * 64}, r"weights\.sha256 is"),
        (("medseg", "weights"), {"file": "models/model.ts", "sha256": "a" * 64}, r"weights\.file is"),
        (("medseg", "weights"), _GONE, r"medseg\.weights is missing"),
        (("medseg", "limits"), [], r"medseg\.limits"),
        (("medseg", "intended_use"), "", r"medseg\.intended_use"),
        (("network_data_format", "inputs"), {}, "network_data_format.inputs"),
        (("network_data_format", "surprise"), {}, "is not one that medseg knows"),
        (
            ("network_data_format", "outputs", "pred", "channel_def"),
            {"0": "background"},
            r"outputs\.'pred': num_channels is 3 but channel_def names 1",
        ),
    ],
)
def test_refuses_wrong_content_and_names_the_field(bundle_folder, path, value, says):
    _set(bundle_folder.metadata, path, copy.deepcopy(value))
    with pytest.raises(InvalidBundleError, match=says) as caught:
        read_metadata(bundle_folder.write().path)
    message = str(caught.value)
    assert message.startswith("bundle boxes_mr_unet3d: configs/metadata.json")
    assert "pydantic" not in message
    assert len(message) < 1_000


def test_refuses_one_channel_name_twice(bundle_folder):
    bundle_folder.metadata["medseg"]["channels"] = ["t1", "t1"]
    bundle_folder.metadata["network_data_format"]["inputs"]["image"]["num_channels"] = 2
    with pytest.raises(InvalidBundleError, match="a name occurs more than once"):
        read_metadata(bundle_folder.write().path)


def test_counts_the_problems_that_it_does_not_show(bundle_folder):
    (bundle_folder.path / "configs/metadata.json").write_text("{}", encoding="utf-8")
    with pytest.raises(InvalidBundleError, match=r"; and \d+ more"):
        read_metadata(bundle_folder.path)


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "not valid JSON: expecting value at line 1"),
        (b'{"a": 1,}', "not valid JSON"),
        (b"[]", "holds a list at its top"),
        (b"null", "holds nothing at its top"),
        (b'{"version": "1", "version": "2"}', "has the key 'version' twice"),
        (b'{"a": NaN}', "holds NaN"),
        (b'{"a": -Infinity}', "holds -Infinity"),
        (b'{"a": 1e999}', "too large for a float"),
        (b'{"a": ' + b"9" * 5000 + b"}", "a number of 5000 digits"),
        (b"\xff\xfe{}", "is not UTF-8 text"),
        (b'{"a": ' * 30_000 + b"1" + b"}" * 30_000, "nested deeper than 64"),
        (b'{"a": ' * 70 + b"1" + b"}" * 70, "nested deeper than 64"),
        (json.dumps({"a": [0] * 60_000}).encode(), "more than 50,000 values"),
        (b'{"a": "%other.json::key"}', "macro"),
        (b" " * (2 * 1024**2 + 1), "longer than 2,097,152 bytes"),
    ],
    ids=range(15),
)
def test_refuses_a_broken_file(bundle_folder, content, says):
    (bundle_folder.path / "configs/metadata.json").write_bytes(content)
    from medseg.errors import BundleError

    with pytest.raises(BundleError, match=says):
        read_metadata(bundle_folder.path)
