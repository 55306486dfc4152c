from __future__ import annotations

import pytest

from builder.disk.layers import smallest_cluster_size

GIB = 1024**3


@pytest.mark.parametrize(
    ("size", "cluster"),
    [
        (1, 512),
        (128 * GIB, 512),
        (128 * GIB + 1, 1024),
        (512 * GIB, 1024),
        (512 * GIB + 1, 2048),
        (2048 * GIB, 2048),
        (8192 * GIB, 4096),
        (32768 * GIB, 8192),
    ],
)
def test_smallest_cluster_size(size: int, cluster: int) -> None:
    assert smallest_cluster_size(size) == cluster
