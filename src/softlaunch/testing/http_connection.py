"""One keep-alive connection of the load client: writes a request, reports its answer or its loss, exactly once."""

from __future__ import annotations

import asyncio
from typing import Protocol

from softlaunch.testing import http_answers


class Owner(Protocol):
    """Who is told."""

    def answered(self, connection: Connection, intended: float, answer: http_answers.Answer, *, reusable: bool) -> None:
        """The whole answer came; a connection that is not reusable is the owner's to close."""
        ...

    def lost(self, connection: Connection, detail: str, *, awaiting: bool) -> None:
        """The connection ended; `awaiting`: it still owed an answer."""
        ...


class Connection(asyncio.Protocol):
    """One keep-alive connection; at most one request in flight."""

    def __init__(self, owner: Owner) -> None:
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = http_answers.Parser()
        self._intended = 0.0
        self._awaiting = False
        self.deadline = float("inf")

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]  # uvloop's are not asyncio.Transport, but work as one

    def send(self, intended: float, raw: bytes, *, deadline: float) -> None:
        assert self._transport is not None
        self._intended = intended
        self._awaiting = True
        self.deadline = deadline
        self._transport.write(raw)

    def data_received(self, data: bytes) -> None:
        if not self._awaiting:
            self.close()  # bytes nobody asked for: the connection is out of step
            return
        try:
            answer = self._parser.feed(data)
        except http_answers.GarbledError:
            self.give_up("garbled answer")
            return
        if answer is not None:
            self._done(answer)

    def eof_received(self) -> None:
        answer = self._parser.end()
        if self._awaiting and answer is not None:
            self._done(answer)

    def connection_lost(self, exc: Exception | None) -> None:
        self.give_up("closed" if exc is None else type(exc).__name__)

    def give_up(self, detail: str) -> None:
        """The answer will not come; the connection ends."""
        awaiting, self._awaiting = self._awaiting, False
        self.deadline = float("inf")
        self._owner.lost(self, detail, awaiting=awaiting)
        self.close()

    def close(self) -> None:
        if self._transport is not None and not self._transport.is_closing():
            self._transport.abort()

    def _done(self, answer: http_answers.Answer) -> None:
        self._awaiting = False
        self.deadline = float("inf")
        reusable = self._parser.reusable
        self._owner.answered(self, self._intended, answer, reusable=reusable)
