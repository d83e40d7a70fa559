"""What came of one way to verify a candidate."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any


@dataclasses.dataclass(frozen=True, kw_only=True)
class Outcome:
    passed: bool | None
    """None: nothing is known of the candidate, and somebody has to do something."""
    said: str
    measured: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """As JSON; empty where nothing was measured."""
