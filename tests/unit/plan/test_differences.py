import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.plan.differences import differences, spelled, unified

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=12,
)


def found(before, after):
    return [(spelled(item.path), item.before, item.after) for item in differences(before, after)]


@pytest.mark.parametrize(
    ("before", "after", "expected"),
    [
        ({"a": 1}, {"a": 1}, []),
        ({"a": 1}, {"a": 2}, [("a", "1", "2")]),
        ({"a": 1}, {"a": True}, [("a", "1", "true")]),
        ({}, {"a": "x"}, [("a", None, "x")]),
        ({"a": "x"}, {}, [("a", "x", None)]),
        ({"a": None}, {}, [("a", "null", None)]),
        ({"i": ["nginx"]}, {"i": ["nginx", "jq"]}, [("i", "nginx", "nginx, jq")]),
        ({"f": [{"m": "1"}, {"m": "2"}]}, {"f": [{"m": "1"}, {"m": "3"}]}, [("f[1].m", "2", "3")]),
        ({"e": {"A": "1", "B": "2"}}, {"e": {"A": "1", "B": "3", "C": "4"}}, [("e.B", "2", "3"), ("e.C", None, "4")]),
        ({"d": "sha256:" + "a" * 64}, {"d": "b" * 64}, [("d", "a" * 12, "b" * 12)]),
        ({"f": [{"m": "1"}]}, {"f": []}, [("f", '[{"m": "1"}]', "[]")]),
    ],
)
def test_the_smallest_parts_that_differ(before, after, expected):
    assert found(before, after) == expected


def test_long_values_are_compared_by_line():
    packages = [f"package-{number}" for number in range(50)]
    (difference,) = differences({"install": packages}, {"install": [*packages[:20], "extra", *packages[20:]]})
    assert difference.before is difference.after is None
    assert [line for line in difference.diff if line[0] in "+-"] == ["+extra"]


@pytest.mark.parametrize(
    ("before", "after", "line"),
    [
        ("a\nb\nc\n", "a\nB\nc\n", 2),
        ("a\n", "a\nb\n", 2),
        ("a\nb\n", "b\n", 1),
        ("a\nb\n", "a\n", 2),
        ("", "a\n", 1),
        ("a\n", "", 1),
        ("".join(f"{n}\n" for n in range(20)), "".join(f"{n}\n" for n in range(20) if n != 14), 15),
        ("a\n", "a", 1),
        ("a\r\n", "a\n", 1),
    ],
)
def test_the_first_changed_line(before, after, line):
    diff, found_line = unified(before, after)
    assert diff
    assert found_line == line


def test_context_is_three_lines():
    diff, _ = unified("".join(f"{n}\n" for n in range(30)), "".join(f"{n}\n" for n in range(30)).replace("15\n", "x\n"))
    assert diff == ("@@ -13,7 +13,7 @@", " 12", " 13", " 14", "-15", "+x", " 16", " 17", " 18")


@given(JSON, JSON)
def test_values_differ_exactly_when_something_is_named(before, after):
    same = json.dumps(before, sort_keys=True) == json.dumps(after, sort_keys=True)
    assert (not list(differences(before, after))) == same
