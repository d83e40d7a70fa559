"""Pipelines as processes of their own, beside the control plane."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """One commit for one environment."""

    service: str
    environment: str
    commit: str
    """Full hex object name."""
    checkout: pathlib.Path
    """The service's folder in a clean checkout of that commit, on its branch."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shipped:
    """How a pipeline ended."""

    order: Order
    exit_code: int
    """0 promoted or unchanged; 1 gates failed or taken back; 2 the commit's own mistake; 3 a race; 4 a neighbour."""
    release: str
    """Digest of what it made; empty: it did not get so far."""
    text: str
    """One sentence for people."""


class Shipper(Protocol):
    def start(self, order: Order) -> None:
        """
        Starts `softlaunch ship COMMIT --env ENVIRONMENT --by git`; returns at once.

        Raises:
            ConflictError: one that was started here for that service and environment has not ended.
            UnavailableError: no process can be started.
        """
        ...

    def ended(self) -> Sequence[Shipped]:
        """Pipelines that have ended since this was asked last, each once."""
        ...

    def close(self) -> None:
        """Ends what runs; it is not told by `ended`, and may be started anew by the next control plane."""
        ...
