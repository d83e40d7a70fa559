"""Runs the control loop, and what may wait beside it, in threads until they are told to stop."""

from __future__ import annotations

import threading
from collections.abc import Callable

import structlog

from softlaunch.controller import loop as loops

LOG = structlog.get_logger()

IDLE_SECONDS = 0.2
"""Between turns while nothing is launched: replicas are watched and stable's history is read."""
STUMBLE_SECONDS = 1.0


class Runner:
    """
    The thread of the control loop.

    Args:
        loop: What is run.
        tick_seconds: Between turns while a rollout runs.
    """

    def __init__(self, loop: loops.ControlLoop, *, tick_seconds: float) -> None:
        self._loop = loop
        self._tick_seconds = tick_seconds
        self._stopping = threading.Event()
        self._turned = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control-loop", daemon=True)

    @property
    def turned(self) -> bool:
        """The first turn has been made."""
        return self._turned.is_set()

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns after the last turn; what it saw is written."""
        self._stopping.set()
        self._loop.wake()
        self._thread.join()
        with self._loop.lock:
            self._loop.flush()

    def _run(self) -> None:
        while not self._stopping.is_set():
            pause = self._tick_seconds if self._loop.busy else IDLE_SECONDS
            try:
                self._loop.tick()
                self._turned.set()
            except Exception:
                # The loop is what takes a bad release back: whatever a turn stumbled over, there must be a next one.
                # It is loud, and what was not written is read and decided again.
                LOG.exception("tick_failed")
                pause = STUMBLE_SECONDS
            self._loop.wait(pause)


class Periodic:
    """
    The thread of a part of the control plane that decides nothing: notifications, schedules.

    Args:
        name: Of the thread.
        turn: One turn; what it raises is logged, and there is a next one.
        seconds: Between turns.
    """

    def __init__(self, name: str, turn: Callable[[], None], *, seconds: float) -> None:
        self._name = name
        self._turn = turn
        self._seconds = seconds
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Returns after the turn that is being made."""
        self._stopping.set()
        if self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        while not self._stopping.is_set():
            try:
                self._turn()
            except Exception:
                LOG.exception("turn_failed", part=self._name)
            self._stopping.wait(self._seconds)
