"""Every test leaves no mount, loop device or daemon behind."""

from tests.integration.disk.conftest import nothing_left  # noqa: F401 - a fixture of every test here
