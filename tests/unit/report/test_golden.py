"""The renderings in tests/golden are what people and programs read: a change of them is looked at, never a surprise."""

import pytest

from tests.golden.plans import PLANS
from tests.golden.refresh import FOLDER

SUFFIXES = ("txt", "md", "json")


@pytest.mark.parametrize("suffix", SUFFIXES)
@pytest.mark.parametrize("name", PLANS)
def test_a_rendering_is_as_it_was(name, suffix):
    expected = (FOLDER / f"{name}.{suffix}").read_text(encoding="utf-8")
    assert PLANS[name]().renderings()[suffix] == expected, "python -m tests.golden.refresh writes them anew"


def test_no_rendering_is_left_over():
    found = {path.name for path in FOLDER.iterdir() if path.suffix.removeprefix(".") in SUFFIXES}
    assert found == {f"{name}.{suffix}" for name in PLANS for suffix in SUFFIXES}
