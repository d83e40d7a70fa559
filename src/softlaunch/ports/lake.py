"""The lake: tables of predictions that other tools open as they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Protocol

from softlaunch.core.prediction_log import progress, schema

Values = tuple[Any, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class TableState:
    """A table as it is now; the empty one stands for a table that is not there yet."""

    features: tuple[schema.Field, ...] = ()
    answer: tuple[schema.Field, ...] = ()
    progress: Mapping[str, progress.Progress] = dataclasses.field(default_factory=dict)
    """By environment."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Block:
    """Rows of one release."""

    rows: Sequence[Values]
    """Values in the order of schema.ENVELOPE."""
    feature_fields: tuple[schema.Field, ...]
    features: Sequence[Values | None]
    """A row's values in the order of feature_fields; None: not known."""
    answer_fields: tuple[schema.Field, ...]
    answers: Sequence[Values | None]


class Lake(Protocol):
    def state(self, service: str) -> TableState:
        """
        The service's table.

        Raises:
            UnavailableError: it cannot be read, or a newer version wrote it.
        """
        ...

    def append(
        self, service: str, blocks: Sequence[Block], *, environment: str, progress: progress.Progress
    ) -> TableState:
        """
        Appends rows and the progress they make, in one commit; twice is once.

        An append whose number (`progress.version`) the table has already, from this environment's spool, is left out
        whole. The caller takes what it does next from the state returned, which tells the progress that is there.

        Raises:
            ConflictError: a field has another type in the table by now: take the state again, and place the rows anew.
            UnavailableError: the table cannot be read or written now; nothing of it was.
        """
        ...

    def answered(self, service: str, environment: str, since: float) -> Iterable[tuple[str, str, int]]:
        """
        Request id, release and answer number of each answer in the table, one for all of its rows.

        Args:
            service: Whose table; it need not be there.
            environment: Of the answers.
            since: Unix seconds; answers to what came before may be left out.

        Raises:
            UnavailableError: the table cannot be read.
        """
        ...
