"""Keeps softlaunch.lock of followed branches up to date: a model that is marked as champion becomes a commit."""

from __future__ import annotations

import concurrent.futures

import structlog

from softlaunch import errors
from softlaunch.controller import follow_state, follow_work
from softlaunch.ports import locker as lockers

LOG = structlog.get_logger()
_PLACE = ".lock"
"""Of the checkout; no environment has such a name."""


class LockUpdates:
    """
    Looks every so often, on a thread.

    Args:
        locker: Looks, commits and pushes.
        executor: For what may wait for a network.
    """

    def __init__(self, locker: lockers.Locker, executor: concurrent.futures.Executor) -> None:
        self._locker = locker
        self._executor = executor

    def turn(self, work: follow_work.Work, now: float) -> str:
        """
        Takes what has ended, begins what is due; waits for nothing.

        Returns:
            What the history should be told; empty: nothing.
        """
        branch = work.follow.update_lock
        if not branch:
            return ""
        told = ""
        if work.locking is not None and work.locking.done():
            told = self._take(work, now)
        due = now >= work.state.lock.looked_at + work.follow.lock_every_seconds
        if due and work.locking is None and work.seen is not None and work.state.unreachable_since is None:
            self._begin(work, branch, now)
        return told

    def close(self) -> None:
        """Ends what runs."""
        self._locker.close()

    def _begin(self, work: follow_work.Work, branch: str, now: float) -> None:
        known = work.state.branches.get(branch)
        if known is None or not known.tip:
            followed = ", ".join(sorted(work.state.branches)) or "none"
            self._ended(work, now, text=f"No environment is made of branch {branch!r}: {followed}.", trouble=True)
            return
        copy, tip = work.space.copy, known.tip

        def job() -> lockers.Updated:
            return self._locker.update(copy.checkout(_PLACE, branch=branch, commit=tip), branch)

        work.locking = self._executor.submit(job)

    def _take(self, work: follow_work.Work, now: float) -> str:
        assert work.locking is not None
        looked, work.locking = work.locking, None
        try:
            found = looked.result()
        except errors.SoftlaunchError as error:
            if not work.state.lock.trouble:
                LOG.warning("lock_not_updated", service=work.follow.service, reason=error.message)
            self._ended(work, now, text=error.message, trouble=True)
            return ""
        self._ended(work, now, text=found.text, commit=found.commit)
        if not found.commit:
            return ""
        LOG.info("lock_updated", service=work.follow.service, commit=found.commit, text=found.text)
        work.state.allowed.append(found.commit)
        work.due_at, work.seen = 0.0, None  # it may have been seen, and not been known, before its push had ended
        return found.text

    @staticmethod
    def _ended(work: follow_work.Work, now: float, *, text: str, commit: str = "", trouble: bool = False) -> None:
        work.state.lock = follow_state.Lock(
            looked_at=now, commit=commit or work.state.lock.commit, text=text, trouble=trouble
        )
