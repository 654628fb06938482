"""YAML and JSON as plain data, within limits."""

from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from medseg.bundle import document as module
from medseg.bundle.document import MAX_NODES, parse_document
from medseg.errors import BundleError, InvalidBundleError, UntrustedBundleError


def _yaml(text):
    return parse_document(text.encode(), "b", "configs/inference.yaml").content


def test_plain_values_mean_what_pyyaml_means():
    text = "a: 1\nb: [1.5, true, null, ~, no]\nc: {d: 'x', e: \"y\"}\n3: three\nf: 1e-3\ng: 0x1F\nh: 1:30\n"
    assert _yaml(text) == yaml.safe_load(text)


def test_a_date_stays_text():
    assert _yaml("when: 2024-01-02") == {"when": "2024-01-02"}


_SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-(2**40), 2**40), st.floats(allow_nan=False), st.text(max_size=12)
)
_TREES = st.recursive(
    _SCALARS,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(min_size=1, max_size=6), inner, max_size=4)
    ),
    max_leaves=12,
)


def _has_macro(value):
    if isinstance(value, dict):
        return any(map(_has_macro, value.values()))
    if isinstance(value, list):
        return any(map(_has_macro, value))
    return isinstance(value, str) and value.startswith("%")


@settings(max_examples=150, deadline=None)
@given(st.dictionaries(st.text(min_size=1, max_size=6), _TREES, max_size=5))
def test_agrees_with_pyyaml_and_json_on_plain_data(tree):
    if _has_macro(tree):
        return
    text = yaml.safe_dump(tree, allow_unicode=True, default_flow_style=None)
    if "&" not in text and "<<" not in text:
        assert _yaml(text) == yaml.safe_load(text)
    if not any("inf" in part for part in (json.dumps(tree).lower(),)):
        assert parse_document(json.dumps(tree).encode(), "b", "c.json").content == tree


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: 1\na: 2", "has the key 'a' twice in one mapping"),
        ("a: {b: 1, b: 2}", "has the key 'b' twice"),
        ("1: x\n'1': y", "has the key '1' twice"),
        ("? [1, 2]\n: x", "the key a list"),
        ("? {a: 1}\n: x", "the key a dict"),
        ("true: x", "the key True"),
        ("1.5: x", "the key 1.5"),
        ("- 1", "holds a list at its top"),
        ("", "holds nothing at its top"),
        ("a: 1\n---\nb: 2", "more than one YAML document"),
        ("a: [1", "is not valid YAML"),
        ("a: \x07", "is not valid YAML"),
        ("a: 0b", "no number|"),
        ("a: " + "9" * 65, "number of 65 characters"),
        ("a: 1" + ":00" * 40, "number of 121 characters"),
        ("a: " + "[" * 65 + "]" * 65, "nested deeper than 64"),
        # PyYAML from 6.0.4 on has a limit of its own.
        ("a: " + "[" * 200_000, "nested deeper than 64|exceeded maximum nesting depth"),
        ("a: [" + "0," * MAX_NODES + "]", "more than 50,000 values"),
        ("a: 0x_", "is no number"),
    ],
    ids=range(19),
)
def test_refuses_what_is_not_sound(text, says):
    if says == "no number|":
        assert _yaml(text) == {"a": "0b"}
        return
    with pytest.raises(InvalidBundleError, match=says):
        _yaml(text)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("a: &x 1", "anchor or alias"),
        ("a: &x [1]\nb: *x", "anchor or alias"),
        ("<<: {a: 1}", "merge key"),
        ("a: !!python/object/apply:os.system [id]", "has the tag"),
        ("a: !!str 1", "has the tag"),
        ("a: !x [1]", "has the tag"),
        ("!!map {a: 1}", "has the tag"),
        ("%TAG ! tag:yaml.org,2002:python/\n---\na: 1", "declares YAML tags"),
        ("a: '%other.yaml::key'", "macro '%other.yaml::key'"),
    ],
)
def test_refuses_what_is_not_plain(text, says):
    with pytest.raises(UntrustedBundleError, match=says):
        _yaml(text)


def test_without_libyaml_it_reads_the_same(monkeypatch):
    monkeypatch.setattr(module, "_LOADER", yaml.SafeLoader)
    assert _yaml("a: [1, {b: c}]") == {"a": [1, {"b": "c"}]}
    for text in ("a: [1", "a: \x07", "a: &x 1", "a: !!str 1", "a: " + "[" * 400):
        with pytest.raises(BundleError):
            _yaml(text)


def test_messages_show_no_control_characters():
    with pytest.raises(UntrustedBundleError) as caught:
        _yaml('a: "%\\e[31mred\\n"')
    assert "\x1b" not in str(caught.value)
    assert "\n" not in str(caught.value)
