"""A log that cannot be written, under traffic; benchmarks/launches/log_outage.py does it for ten minutes."""

from __future__ import annotations

import log_kills
import log_outage
import pytest

pytestmark = pytest.mark.slow


def test_users_notice_nothing_status_says_what_is_wrong_and_everything_arrives_later() -> None:
    with log_kills.laboratory() as machine:
        found = log_outage.run(machine, "moved", seconds=12.0, before_seconds=4.0, rate=60.0)

    assert (0, []) == (found.failed, found.wrong)
    assert "is no directory" in found.said["detail"]
    assert "Check the disk and the folder" in found.said["remedy"]
    assert "nothing is moved: The prediction log" in found.text
    assert found.status["waiting_bytes"] > 100_000
    assert found.counted.status["outage"] is None
    assert len(found.during) > 600
    # No more than what else this machine does: the log is out of the way of requests.
    assert log_kills.quantile(found.during, 0.5) < 2.0 * log_kills.quantile(found.before, 0.5) + 20.0
