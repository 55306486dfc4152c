from __future__ import annotations

import json
import string
import time
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from builder.spec.document import Document
from builder.spec.yaml_text import (
    DEEPEST,
    LARGEST_TEXT,
    MOST_NODES,
    YamlInvalid,
    composer,
    parse,
    plain,
    portable_composer,
)

PARSERS = pytest.mark.parametrize("make", [composer(), portable_composer()], ids=["fast", "portable"])


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("true", True),
        ("False", False),
        ("yes", "yes"),
        ("NO", "NO"),
        ("on", "on"),
        ("null", None),
        ("~", None),
        ("", None),
        ("12", 12),
        ("-3", -3),
        ("0", 0),
        ("1.50", 1.5),
        ("0644", "0644"),
        ("0x1F", "0x1F"),
        ("0o17", "0o17"),
        ("1_000", "1_000"),
        ("12:30:45", "12:30:45"),
        ("2024-01-01", "2024-01-01"),
        ("12e5034", "12e5034"),
        (".5", ".5"),
        (".inf", ".inf"),
        ("1.4.2", "1.4.2"),
        ("1234567890123456789", "1234567890123456789"),
        ("=", "="),
    ],
)
def test_plain_scalars_follow_yaml_1_2(text: str, value: Any):
    assert plain(text) == value
    assert type(plain(text)) is type(value)
    assert parse(f"key: {text}", "f").value == {"key": value}


def test_quoted_scalars_are_text():
    assert parse("a: \"12\"\nb: 'true'\nc: |\n  3\n", "f").value == {"a": "12", "b": "true", "c": "3\n"}


def test_keys_are_text():
    assert parse("1: a\ntrue: b\nnull: c\n0644: d", "f").value == {"1": "a", "true": "b", "null": "c", "0644": "d"}


def test_numbers_are_kept_as_written():
    document = parse("a: 22.10\nb: text\nc: true", "f")
    assert document.written == {("a",): "22.10", ("c",): "true"}


SYNTAX = [
    ("a: b: c", "1:5", "a ':' that doesn't fit here", "put quotes around text that contains ': '"),
    ("a: [1, 2", "1:4", "this [ is never closed", None),
    ("a: {x: 1", "1:4", "this { is never closed", None),
    ("a: [", "1:4", "this [ is never closed", None),
    ("a: [b, {c: [d], e:\n# the end\n", "1:8", "this { is never closed", None),
    ("a: {x: 1\nb: 2", "2:2", "a ',' or '}' is missing before this", "opened at line 1, column 4"),
    ("a: 'text", "1:4", "this ' is never closed", None),
    ('a: "text', "1:4", 'this " is never closed', None),
    ("a:\n\t- b", "2:1", "a tab can't indent YAML", "indent with spaces"),
    ("a: @x", "1:4", "text can't start with '@'", "put it in quotes"),
    ("a: %x", "1:4", "text can't start with '%'", "put it in quotes"),
    ("a: *x", "1:4", "this alias refers to an anchor that doesn't exist", None),
    ("a: &x 1\nb: &x 2", "2:4", "this anchor's name is already used", None),
    ("---\na: 1\n---\nb: 1", "3:1", "a second document: a file holds one", "put it in a file of its own"),
    ("a: |\n  x\n y: 2\n", "3:2", "the indentation doesn't fit the lines above", "line keys up"),
    ("a: - b", "1:4", "a list can't start here", "start it on a line of its own"),
    ("a: {{ vars.x }}", "1:5", "a key must be text", "put quotes around a value that starts with '{{'"),
    ("? [a]\n: b", "1:3", "a key must be text", None),
    ("a: b\x01c", "1:5", "the control character U+0001 can't stand in YAML", None),
    (b"a: b\nc: \xff", "2:4", "byte 0xff is not UTF-8", "save the file as UTF-8"),
]


@PARSERS
@pytest.mark.parametrize(("text", "place", "message", "help"), SYNTAX)
def test_what_is_no_yaml_is_told_with_its_place(make, text, place, message, help):
    with pytest.raises(YamlInvalid) as caught:
        parse(text, "f", make=make)
    found = caught.value.diagnostic
    assert (f"{found.place.line}:{found.place.column}", found.message, found.help) == (place, message, help)


PROBLEMS = [
    ("a: 1\nb: 2\na: 3", "3:1", "duplicate-key", {"a": 1, "b": 2}),
    ("a: {x: 1, x: 2}", "1:11", "duplicate-key", {"a": {"x": 1}}),
    ("base: &b {x: 1}\na:\n  <<: *b\n  y: 2", "3:3", "yaml-merge", {"base": {"x": 1}, "a": {"y": 2}}),
    ("a: !!binary aGk=", "1:4", "yaml-tag", {"a": "aGk="}),
    ("a: !!python/object/apply:os.system [id]", "1:4", "yaml-tag", {"a": ["id"]}),
    ("a: !custom x", "1:4", "yaml-tag", {"a": "x"}),
    ('a: "x\\0y"', "1:4", "yaml-encoding", {"a": "xy"}),
]


@PARSERS
@pytest.mark.parametrize(("text", "place", "code", "value"), PROBLEMS)
def test_problems_leave_a_value_to_work_with(make, text, place, code, value):
    document = parse(text, "f", make=make)
    (found,) = document.problems
    assert (f"{found.place.line}:{found.place.column}", found.code) == (place, code)
    assert document.value == value


def laughs(levels: int) -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, levels)]
    return "\n".join(lines)


HOSTILE = [
    ("billion laughs", laughs(10), "yaml-too-large"),
    ("one long text, many times", f"a: &a {'x' * 900_000}\nb: [{', '.join(['*a'] * 9000)}]", "yaml-too-large"),
    ("a list that contains itself", "&a [*a]", "yaml-alias"),
    ("a map that contains itself", "a: &a {b: [{c: *a}]}", "yaml-alias"),
    ("a million brackets", "[" * 1_000_000, "yaml-too-deep"),
    ("a million braces", "{" * 1_000_000, "yaml-too-deep"),
    ("nested dashes", "- " * 500_000, "yaml-too-deep"),
    ("nested question marks", "? " * 300_000, "yaml-too-deep"),
    ("many values", "- x\n" * (MOST_NODES + 1), "yaml-too-large"),
    ("a large text", "x" * (LARGEST_TEXT + 1), "yaml-too-large"),
    ("large bytes", b"x" * (5 * LARGEST_TEXT), "yaml-too-large"),
]


@pytest.mark.parametrize(("text", "code"), [item[1:] for item in HOSTILE], ids=[item[0] for item in HOSTILE])
def test_hostile_texts_are_refused_quickly(text, code):
    started = time.process_time()
    with pytest.raises(YamlInvalid) as caught:
        parse(text, "f")
    assert caught.value.diagnostic.code == code
    # A second of processor time is what the bounds are for; a tenth is usual
    assert time.process_time() - started < 1


def test_aliases_may_be_used():
    document = parse("a: &list [1, 2]\nb: *list", "f")
    assert document.value == {"a": [1, 2], "b": [1, 2]}


def test_empty_texts_have_no_value():
    assert parse("", "f").value is None
    assert parse("# only a comment\n", "f").value is None


def test_a_byte_order_mark_is_no_content():
    document = parse(b"\xef\xbb\xbfa: 1", "f")
    assert document.value == {"a": 1}
    assert document.key_place(("a",)).column == 1


def test_the_deepest_nesting_is_allowed():
    text = "[" * DEEPEST + "]" * DEEPEST
    assert json.dumps(parse(text, "f").value) == text


def test_places():
    text = "name: web\nprepare:\n  - script:\n      path: x.sh\n  - run: ls\nempty:\ntags: {a: b}\n"
    document = parse(text, "f")

    def at(*path: str | int) -> tuple[int, int]:
        place = document.place(path)
        return place.line, place.column

    assert at("name") == (1, 7)
    # A block below a key stands where the key does
    assert at("prepare") == (2, 1)
    assert at("prepare", 0) == (3, 5)
    assert at("prepare", 0, "script") == (3, 5)
    assert at("prepare", 0, "script", "path") == (4, 13)
    assert at("prepare", 1, "run") == (5, 10)
    assert at("empty") == (6, 1)
    assert at("tags") == (7, 7)
    assert at("tags", "a") == (7, 11)
    assert at("tags", "missing", "deeper") == (7, 7)
    assert document.key_place(("tags", "a")).column == 8


TEXTS = st.text(string.ascii_letters + string.digits + " äß漢😀'\"\\:#-{}[]%@&*!|>?,\t", max_size=12)
SCALARS = st.none() | st.booleans() | st.integers(-999, 999) | TEXTS
TREES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4), max_leaves=20
)


def write(value: Any, indent: int, choose: Any) -> str:
    """A value as YAML, as a block or as JSON (which is YAML in flow style)."""
    if not isinstance(value, dict | list) or not value or choose():
        return " " + json.dumps(value, ensure_ascii=False) + "\n"
    pad = "  " * indent
    if isinstance(value, list):
        return "\n" + "".join(f"{pad}-{write(item, indent + 1, choose)}" for item in value)
    keys = (
        f"{pad}{json.dumps(key, ensure_ascii=False)}:{write(item, indent + 1, choose)}" for key, item in value.items()
    )
    return "\n" + "".join(keys)


def assert_places_tell_the_truth(text: str, document: Document, value: Any, path: tuple[Any, ...]) -> None:
    lines = text.split("\n")
    place = document.place(path)
    there = lines[place.line - 1][place.column - 1 :]
    if isinstance(value, dict):
        assert there.startswith(("{", '"')) or not path
        for key, item in value.items():
            at = document.key_place((*path, key))
            shown = lines[at.line - 1][at.column - 1 :]
            assert json.JSONDecoder().raw_decode(shown)[0] == key
            assert_places_tell_the_truth(text, document, item, (*path, key))
    elif isinstance(value, list):
        assert there.startswith(("[", "-", '"')) or not path
        for index, item in enumerate(value):
            assert_places_tell_the_truth(text, document, item, (*path, index))
    else:
        assert json.JSONDecoder().raw_decode(there)[0] == value


@settings(max_examples=150, deadline=None)
@given(TREES, st.randoms(use_true_random=False), st.sampled_from([composer(), portable_composer()]))
def test_every_place_is_where_the_node_is(value, random, make):
    text = write(value, 0, lambda: random.random() < 0.3).lstrip()
    document = parse(text, "f", make=make)
    assert document.value == value
    assert_places_tell_the_truth(text, document, value, ())


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=60) | st.binary(max_size=60))
def test_any_input_is_read_or_refused(data):
    try:
        document = parse(data, "f")
    except YamlInvalid as invalid:
        assert invalid.diagnostic.message
    else:
        assert document.file == "f"
