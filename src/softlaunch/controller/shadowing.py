"""
A shadow step as the controller follows it: records of the spool become pairs, and pairs become evidence.

The gateway throws a shadow's answers away, so both sides come from what the model servers recorded. How far the spool
was read is saved together with the evidence it gave, as the place in the attempt log is.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from softlaunch.core.shadow import agreement, pairing, summary
from softlaunch.ports import spool as spools
from softlaunch.ports import store

RECORDS_MAX = 5_000
"""Read at one turn of the loop, so that no decision waits longer than some ten milliseconds for pairs."""


class Shadowing:
    """
    The pairs of one shadow step.

    Args:
        record: The rollout.
        epoch: Of its shadow population.
        spool: Where model servers record.
        saved: What `state` gave, to go on from; None: what is recorded from now on counts.
    """

    def __init__(
        self, record: store.RolloutRecord, epoch: int, spool: spools.Spool, saved: Mapping[str, Any] | None = None
    ) -> None:
        assert record.stable is not None, "nothing is compared without a stable release"
        self.epoch = epoch
        self._service, self._environment = record.service, record.environment
        self._spool = spool
        self._pairing = pairing.Pairing(
            pairing.Place(
                service=record.service,
                environment=record.environment,
                stable=record.stable.short,
                candidate=record.candidate.short,
                epoch=epoch,
            ),
            rule=agreement.Rule(tolerance=record.spec.strategy.agreement_tolerance, paths=record.spec.compared_paths),
            request_timeout_seconds=record.spec.request_timeout_seconds,
        )
        self._summary = summary.Summary()
        if saved is None:
            self._cursor = spool.end(record.service, record.environment)
        else:
            self._cursor = spools.Cursor.from_json(saved["cursor"])
            self._pairing.load(saved["pairing"])
            self._summary = summary.Summary.restore(saved["summary"])

    def turn(self, now: float) -> list[pairing.Pair]:
        """Pairs that are complete, or that will never be, since the last turn."""
        batch = self._spool.read(self._service, self._environment, self._cursor, record_count_max=RECORDS_MAX)
        self._cursor = batch.cursor
        found = [pair for record in batch.records if (pair := self._pairing.add(record)) is not None]
        if len(batch.records) < RECORDS_MAX:  # otherwise the answer that is missing may be among what is left
            found += self._pairing.overdue(now)
        for pair in found:
            self._summary.add(pair)
        return found

    def unsent(self, request_id: str) -> None:
        """The gateway made no copy of this request after all."""
        self._pairing.lose(request_id)

    def document(self) -> dict[str, Any]:
        """What the pairs say, for people."""
        return self._summary.report(lost_count=self._pairing.lost_count).to_json()

    def state(self) -> dict[str, Any]:
        """A JSON document to go on from."""
        return {
            "epoch": self.epoch,
            "cursor": self._cursor.to_json(),
            "pairing": self._pairing.state(),
            "summary": self._summary.state(),
        }
