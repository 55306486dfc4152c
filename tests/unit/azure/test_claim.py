from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from builder.azure.blobs import BlobFacts
from builder.azure.claim import FINISHED, STOPPED, UNFINISHED, Pace, Record, _unchanged

NOON = datetime(2026, 1, 5, 12, tzinfo=UTC)
RECORD = Record(UNFINISHED, 8 << 20, "ab" * 32, NOON)
BEFORE = BlobFacts(1 << 30, "PageBlob", "0x1", NOON - timedelta(seconds=9), NOON, "expired")


@pytest.mark.parametrize(
    "record", [Record(UNFINISHED), RECORD, replace(RECORD, state=STOPPED, lease="x-1"), replace(RECORD, state=FINISHED)]
)
def test_a_record_is_read_as_it_was_written(record: Record) -> None:
    # Services may give names back in another letter case
    assert Record.parse({name.title(): value for name, value in record.metadata().items()}) == record


@pytest.mark.parametrize(
    "metadata",
    [{}, {"state": "unfinished"}, {**RECORD.metadata(), "build_upload_reached": "far"},
     {**RECORD.metadata(), "build_upload_until": "noon"}],
)  # fmt: skip
def test_what_is_no_record_is_none(metadata: dict[str, str]) -> None:
    assert Record.parse(metadata) is None


@pytest.mark.parametrize(
    ("lease", "modified", "record", "expected"),
    [
        ("leased", NOON - timedelta(seconds=1), RECORD, True),
        ("expired", NOON - timedelta(seconds=1), RECORD, True),
        ("expired", NOON, RECORD, False),  # somebody may have written when the lease had ended
        ("broken", NOON - timedelta(seconds=1), RECORD, False),
        ("breaking", NOON - timedelta(seconds=1), RECORD, False),
        ("available", NOON - timedelta(seconds=1), RECORD, False),
        ("expired", NOON - timedelta(seconds=1), Record(UNFINISHED), False),
    ],
)
def test_a_record_proves_only_what_its_lease_protected(
    lease: str, modified: datetime, record: Record, expected: bool
) -> None:
    assert _unchanged(record, replace(BEFORE, lease=lease), replace(BEFORE, modified=modified)) is expected


def test_sparing_records_are_still_renewed_in_time() -> None:
    sparing = Pace().sparing()
    # The lease is renewed, and the record written, before the lease's end that the record before it tells
    assert 4 * Pace().every < sparing.every < sparing.lease - 2
    assert Pace(15, 100).sparing().every == 100
