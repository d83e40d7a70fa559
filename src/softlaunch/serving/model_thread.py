"""
The one thread a model lives in: it is constructed, warmed and called there.

One and the same for all three, because models hold what belongs to a thread (an SQLite connection, an event loop).
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Callable
from typing import Any, TypeVar

_T = TypeVar("_T")
_A = TypeVar("_A")
_Item = tuple[Callable[[Any], Any], Callable[[Any, Any], None], Any]


class ModelThread:
    """Must be made on the event loop that uses it. The thread is a daemon: a hung model keeps no process alive."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: queue.SimpleQueue[_Item | None] = queue.SimpleQueue()
        threading.Thread(target=self._run, name="softlaunch-model", daemon=True).start()

    def post(self, work: Callable[[_A], _T], done: Callable[[_A, _T], None], subject: _A) -> None:
        """Runs `work` with the subject, which must not raise, in the thread, then `done` on the event loop."""
        self._work.put((work, done, subject))

    async def run(self, work: Callable[[], _T]) -> _T:
        """What `work` returned or raised in the thread."""
        future: asyncio.Future[_T] = self._loop.create_future()

        def attempt(_: None) -> Callable[[], None]:
            try:
                result = work()
            except BaseException as error:  # noqa: BLE001  # raised again where it is awaited
                raised = error
                return lambda: future.set_exception(raised)
            return lambda: future.set_result(result)

        self.post(attempt, lambda _, finish: finish(), None)
        return await future

    def close(self) -> None:
        """Ends the thread after what was posted before."""
        self._work.put(None)

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            work, done, subject = item
            result = work(subject)
            try:
                self._loop.call_soon_threadsafe(done, subject, result)
            except RuntimeError:  # the loop has ended: nobody waits any more
                return
