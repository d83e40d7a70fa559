"""Replicas that no user can reach: a fleet of its own, whose sockets the gateway never hears of."""

from __future__ import annotations

import contextlib
import pathlib
from collections.abc import Iterator

from softlaunch import errors
from softlaunch.adapters.local import fleet, launch, lock, rundir


@contextlib.contextmanager
def isolated_fleet(
    *, run_dir: pathlib.Path, logs_dir: pathlib.Path, launcher: launch.Launcher
) -> Iterator[fleet.LocalFleet]:
    """
    A fleet for as long as the context lasts; its processes end with it.

    What an earlier one left behind, killed before it could stop its processes, is stopped first.

    Args:
        run_dir: Other than the home's own; the same each time, so that leftovers are found.
        logs_dir: As of a LocalFleet.
        launcher: As of a LocalFleet; should pass --tell-service-time and no --spool.

    Raises:
        ConflictError: another process has such a fleet in this run_dir.
    """
    rundir.prepare(run_dir)
    held = lock.HomeLock(run_dir)
    try:
        held.acquire()
    except errors.ConflictError as error:
        raise errors.ConflictError(
            "Another replay runs on this home.",
            remedy="Wait until it has ended, or end it with Ctrl-C where it runs.",
            code=errors.Code.REPLAY_RUNS,
        ) from error
    try:
        with contextlib.closing(fleet.LocalFleet(run_dir=run_dir, logs_dir=logs_dir, launcher=launcher)) as found:
            found.stop_all()
            try:
                yield found
            finally:
                found.stop_all()
    finally:
        held.release()
