import struct

import pytest

from builder.errors import BuildError
from builder.machines.local.rehearsal.qemu import Disk, open_disk


def vhd_footer(size, kind):
    footer = bytearray(512)
    footer[:8] = b"conectix"
    struct.pack_into(">Q", footer, 48, size)
    struct.pack_into(">I", footer, 60, kind)
    return bytes(footer)


QCOW2 = b"QFI\xfb" + struct.pack(">IQIIQ", 3, 0, 0, 16, 5 * 1024 * 1024) + bytes(600)


@pytest.mark.parametrize(
    ("content", "kind", "size"),
    [
        (bytes(1024 * 1024) + vhd_footer(1024 * 1024, 2), "raw", 1024 * 1024),
        (QCOW2, "qcow2", 5 * 1024 * 1024),
        (bytes(1024 * 1024), "raw", 1024 * 1024),
        (bytes(100), "raw", 0),
    ],
)
def test_the_disk_is_known_by_its_content(tmp_path, content, kind, size):
    path = tmp_path / "disk"
    path.write_bytes(content)
    assert open_disk(path) == Disk(path, kind, size)


@pytest.mark.parametrize("footer", [vhd_footer(1024 * 1024, 3), vhd_footer(2 * 1024 * 1024, 2)])
def test_a_vhd_that_is_not_fixed_is_refused(tmp_path, footer):
    path = tmp_path / "os.vhd"
    path.write_bytes(bytes(1024 * 1024) + footer)
    with pytest.raises(BuildError, match="not a fixed one"):
        open_disk(path)
