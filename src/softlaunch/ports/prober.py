"""The prober: sends smoke requests straight to a replica, past the gateway."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class ProbeReport:
    sent: int
    failed: int
    first_failure: str = ""
    """Status and body of the first answer that was not a valid prediction."""


class Prober(Protocol):
    def smoke(self, socket: str, rows: Sequence[dict[str, Any]]) -> ProbeReport:
        """Sends each row as one POST /predict; blocks until all are answered or timed out."""
        ...
