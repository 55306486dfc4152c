import base64
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from builder.errors import BuildError, Place
from builder.secrets import MASK, Redactor, resolve


@given(secret=st.text(min_size=6, max_size=40).filter(lambda text: len(text.strip()) >= 6), before=st.text(max_size=20))
def test_no_form_of_a_secret_survives(secret: str, before: str) -> None:
    redactor = Redactor()
    redactor.add(secret)
    for form in (secret, base64.b64encode(secret.encode()).decode(), quote(secret, safe="")):
        shown = redactor.text(f"{before} {form} after")
        assert form not in shown.replace(MASK, "")


def test_each_line_of_a_long_secret_is_masked() -> None:
    redactor = Redactor()
    redactor.add("-----BEGIN KEY-----\nabcdefgh\n")
    assert redactor.text("printed abcdefgh alone") == f"printed {MASK} alone"


def test_short_values_are_left_alone() -> None:
    redactor = Redactor()
    redactor.add("yes")
    assert redactor.text("yes, it works") == "yes, it works"


def test_references_give_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("APP_TOKEN", "t0ken")
    (tmp_path / "token").write_text("from file\n")
    assert resolve({"env": "APP_TOKEN"}, root=tmp_path) == "t0ken"
    assert resolve({"file": "token"}, root=tmp_path) == "from file"


def test_what_is_elsewhere_is_read_there(tmp_path: Path) -> None:
    asked: list[tuple[str, str]] = []

    def read(origin: str, name: str) -> str | None:
        asked.append((origin, name))
        return {"v/s": "t0ken", "v/short": "abc"}.get(name)

    assert resolve({"keyVault": "v/s"}, root=tmp_path, elsewhere=read) == "t0ken"
    with pytest.raises(BuildError, match="at v/short has fewer than 4"):
        resolve({"keyVault": "v/short"}, root=tmp_path, elsewhere=read)
    with pytest.raises(BuildError, match="can't be read on this machine"):
        resolve({"keyVault": "v/other"}, root=tmp_path, elsewhere=read)
    assert asked == [("keyVault", "v/s"), ("keyVault", "v/short"), ("keyVault", "v/other")]


def test_an_error_from_elsewhere_has_its_place(tmp_path: Path) -> None:
    def read(origin: str, name: str) -> str | None:
        raise BuildError("no")

    with pytest.raises(BuildError) as caught:
        resolve({"keyVault": "v/s"}, root=tmp_path, elsewhere=read, where=Place("web.image.yaml", 3))
    assert caught.value.where == Place("web.image.yaml", 3)


@pytest.mark.parametrize(
    ("reference", "part"),
    [
        ({"env": "NOT_SET_HERE"}, "NOT_SET_HERE is not set"),
        ({"file": "absent"}, "absent"),
        ({"keyVault": "v/s"}, "keyVault"),
    ],
)
def test_what_can_not_be_read_is_an_error(reference: dict[str, str], part: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=part):
        resolve(reference, root=tmp_path)
