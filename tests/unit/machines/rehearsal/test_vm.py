import pytest

from builder.errors import BuildError
from builder.machines.local.rehearsal.vm import can_run_commands


def test_commands_need_a_generalized_image():
    can_run_commands(generalized=True)
    with pytest.raises(BuildError, match="specialized") as caught:
        can_run_commands(generalized=False)
    assert caught.value.code == "test-unsupported"
