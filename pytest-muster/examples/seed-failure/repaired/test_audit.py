"""The audit writer delivers what it was given."""

from uuid import uuid4

import pytest


@pytest.mark.parametrize("events", [1, 3, 6])
def test_batch_is_written(audit_writer, events):
    for number in range(events):
        audit_writer.record(f"event {number}")
    audit_writer.flush(f"batch-{uuid4().hex[:8]}")

    assert audit_writer.written == events
