import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuildError
from builder.model.version import LARGEST_PART
from builder.plan.versions import choose, order, parse, wanted

PARTS = st.integers(0, LARGEST_PART)
VERSIONS = st.tuples(PARTS, PARTS, PARTS).map(lambda parts: "{}.{}.{}".format(*parts))


@pytest.mark.parametrize(
    ("request_text", "existing", "expected"),
    [
        ("auto", [], "1.0.0"),
        ("auto", ["1.0.0"], "1.0.1"),
        ("auto", ["1.0.9", "1.0.10", "1.0.2"], "1.0.11"),
        ("auto", ["1.9.0", "1.10.0"], "1.10.1"),
        ("auto", ["nightly", "1.0"], "1.0.0"),
        ("auto", ["nightly", "0.3.0"], "0.3.1"),
        ("1.4.x", [], "1.4.0"),
        ("1.4.x", ["1.3.9", "1.40.2", "2.0.0"], "1.4.0"),
        ("1.4.x", ["1.4.9", "1.4.10"], "1.4.11"),
        ("1.4.2", [], "1.4.2"),
        ("1.4.2", ["1.4.2", "1.4.3"], "1.4.2"),
        ("auto", [f"1.0.{LARGEST_PART - 1}"], f"1.0.{LARGEST_PART}"),
    ],
)
def test_the_version_that_is_published_next(request_text, existing, expected):
    assert choose(wanted(request_text), existing) == expected


@pytest.mark.parametrize(
    "text", ["", "1", "1.x", "1.x.x", "x.x.x", "01.0.0", "1.0.0 ", "1.0.-1", "1.0.2147483648", "٣.0.0"]
)
def test_what_is_no_version_is_refused(text):
    with pytest.raises(BuildError, match="is no version") as caught:
        wanted(text)
    assert caught.value.code == "version-invalid"


def test_a_series_that_is_full_says_what_to_write():
    with pytest.raises(BuildError) as caught:
        choose(wanted("auto"), [f"1.7.{LARGEST_PART}"])
    assert caught.value.code == "version-exhausted"
    assert "1.8.x" in (caught.value.hint or "")


@given(st.lists(VERSIONS))
def test_versions_are_ordered_as_numbers(versions):
    assert sorted(versions, key=order) == [
        "{}.{}.{}".format(*parts) for parts in sorted(tuple(map(int, text.split("."))) for text in versions)
    ]


@given(st.lists(VERSIONS.filter(lambda text: not text.endswith(str(LARGEST_PART)))))
def test_auto_is_higher_than_all_that_exist(versions):
    chosen = choose(wanted("auto"), versions)
    assert parse(chosen) is not None
    assert all(order(chosen) > order(version) for version in versions)


@given(PARTS, PARTS, st.lists(st.integers(0, 1000)), st.lists(VERSIONS))
def test_a_series_stays_in_itself_and_never_takes_a_number_twice(major, minor, patches, others):
    series = f"{major}.{minor}."
    existing = [f"{series}{patch}" for patch in patches]
    chosen = choose(wanted(series + "x"), [*existing, *(text for text in others if not text.startswith(series))])
    assert chosen.startswith(series)
    assert chosen not in existing
    assert all(order(chosen) > order(version) for version in existing)


@given(st.lists(VERSIONS | st.text()))
def test_what_is_no_version_comes_first(texts):
    kinds = [parse(text) is not None for text in sorted(texts, key=order)]
    assert kinds == sorted(kinds)
