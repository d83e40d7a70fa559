"""Verification: smoke requests made from the reference, sent straight to a candidate that no user reaches yet."""

from __future__ import annotations

import concurrent.futures

from softlaunch import errors
from softlaunch.controller import shelf as shelves
from softlaunch.core import release
from softlaunch.core.rollout import messages
from softlaunch.ports import prober as probers
from softlaunch.ports import store

SMOKE_ROWS_DEFAULT = 10


class Verifier:
    """
    Asks candidates, without waiting for answers.

    Args:
        shelf: Has the rows.
        prober: Sends them.
        threads: Where sending happens.
    """

    def __init__(self, shelf: shelves.Shelf, prober: probers.Prober, threads: concurrent.futures.Executor) -> None:
        self._shelf = shelf
        self._prober = prober
        self._threads = threads
        self._running: dict[int, concurrent.futures.Future[messages.VerifyPassed | messages.VerifyFailed]] = {}

    def event(self, record: store.RolloutRecord, socket: str) -> messages.VerifyPassed | messages.VerifyFailed | None:
        """
        What came of the smoke requests of a rollout, once; None while they are on their way or the rollout is stopped.

        Args:
            record: The rollout, which is VERIFYING.
            socket: Of one of its candidate's replicas.
        """
        if record.state.paused or record.state.hold is not None:
            return None
        running = self._running.get(record.id)
        if running is None:
            running = self._running[record.id] = self._threads.submit(self._smoke, record, socket)
        if not running.done():
            return None
        del self._running[record.id]
        return running.result()

    def forget(self, rollout_id: int) -> None:
        """The rollout has ended."""
        self._running.pop(rollout_id, None)

    def _smoke(self, record: store.RolloutRecord, socket: str) -> messages.VerifyPassed | messages.VerifyFailed:
        try:
            rows = self._shelf.smoke_rows(record.candidate)
            if not rows:
                _, content = self._shelf.take(record.candidate)
                if content.runtime in (release.Runtime.ASGI, release.Runtime.COMMAND):
                    how = f"{content.ready_path} answers 2xx" if content.ready_path else "it has started"
                    return messages.VerifyPassed(detail=f"Ready: {how}. An app has no rows to make requests from.")
                if record.state.plan.verified_only:
                    return messages.VerifyFailed(
                        reason="This environment passes by smoke requests, and the release has no reference rows to "
                        "make them from. Give `reference:` in softlaunch.yaml.",
                    )
                return messages.VerifyPassed(detail="Ready; no reference rows, so no smoke requests were made.")
            wanted = record.spec.verify.request_count if record.spec.verify else SMOKE_ROWS_DEFAULT
            report = self._prober.smoke(socket, [rows[index % len(rows)] for index in range(wanted)])
        except errors.SoftlaunchError as error:
            return messages.VerifyFailed(reason=str(error))
        if report.failed:
            return messages.VerifyFailed(
                reason=f"{report.failed} of {report.sent} smoke requests failed. First: {report.first_failure}"
            )
        return messages.VerifyPassed(detail=f"{report.sent} of {report.sent} smoke requests passed.")
