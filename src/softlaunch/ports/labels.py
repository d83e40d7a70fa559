"""Labels: where they wait, durably, and the table that they are in."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Sequence
from typing import Protocol

from softlaunch.core.labels import record


@dataclasses.dataclass(frozen=True, kw_only=True)
class Push:
    """Labels that came together, and are in the table together or not at all."""

    name: str
    """Unique; of the content, where the same content again is the same push."""
    source: str
    """Who brought them: a file's name, or `api` and a person."""
    urgent: bool
    """Somebody waits; others wait until there are more."""
    labels: Sequence[record.Label]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Waiting:
    name: str
    since: float
    """Unix seconds."""
    urgent: bool


class Inbox(Protocol):
    def put(self, service: str, push: Push, *, now: float) -> None:
        """
        Keeps a push until it is taken; when this returns, no crash loses it. A name that waits already changes nothing.

        Raises:
            UnavailableError: it cannot be written; then nothing of it was.
        """
        ...

    def waiting(self) -> dict[str, list[Waiting]]:
        """By service, the oldest first."""
        ...

    def read(self, service: str, name: str) -> Push | None:
        """The push; None when it is damaged, which sets it aside."""
        ...

    def drop(self, service: str, names: Collection[str]) -> None:
        """
        Forgets pushes that are in the table.

        Raises:
            UnavailableError: they cannot be removed.
        """
        ...


class Labels(Protocol):
    def append(self, service: str, pushes: Sequence[Push]) -> int:
        """
        Adds pushes in one commit, without those that are there already; labels added.

        Raises:
            UnavailableError: the table cannot be read or written now; nothing of it was.
        """
        ...

    def known(self, service: str, names: Collection[str]) -> set[str]:
        """
        Those of the pushes that are in the table.

        Raises:
            UnavailableError: it cannot be read.
        """
        ...
