"""What the tests of commands share."""

from __future__ import annotations

import pytest

from builder.errors import BuildError


@pytest.fixture(autouse=True)
def nobody_is_signed_in(monkeypatch: pytest.MonkeyPatch) -> None:
    """Azure can't be reached, whoever runs these tests."""

    def refuse(*arguments: object, **options: object) -> None:
        raise BuildError("nobody is signed in to Azure", code="azure-login")

    monkeypatch.setattr("builder.azure.connection.connect", refuse)
