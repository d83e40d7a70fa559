"""The archive: what a rollout's judge was fed, in order, as blocks of bytes in chains."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    content: bytes
    opens: bool
    """The first block of a chain: what follows can be understood without what came before."""
    ends: int
    """Position after this block."""


class Archive(Protocol):
    """Positions count from the first block a rollout ever had; dropping chains moves none."""

    def append(self, rollout_id: int, block: bytes, *, opens: bool = False) -> int:
        """
        Adds a block; returns the position after it. It survives the death of this process, not that of the machine.

        Args:
            rollout_id: Whose.
            block: Anything but nothing.
            opens: It begins a new chain; the first block of a rollout always does.

        Raises:
            UnavailableError: it could not be written (disk full); nothing was, or `truncate` takes it away.
        """
        ...

    def truncate(self, rollout_id: int, position: int) -> int:
        """
        Forgets what was added after a position; returns the position reached, lower when blocks before it are gone.

        Raises:
            UnavailableError: the disk refuses.
        """
        ...

    def read(self, rollout_id: int) -> Iterator[Block]:
        """
        Every block that is kept, oldest first; none for an unknown rollout. An unfinished last block is left out.

        Raises:
            UnavailableError: a block is damaged, or cannot be read.
        """
        ...

    def chains(self, rollout_id: int) -> tuple[int, ...]:
        """
        Sizes in bytes of the chains that are kept, oldest first.

        Raises:
            UnavailableError: the disk refuses.
        """
        ...

    def drop_oldest(self, rollout_id: int) -> None:
        """
        Forgets the oldest chain, unless it is the only one.

        Raises:
            UnavailableError: the disk refuses.
        """
        ...

    def delete(self, rollout_id: int) -> None:
        """Forgets all of a rollout; one that is unknown is fine."""
        ...
