"""One key of softlaunch.yaml."""

from __future__ import annotations

import dataclasses


@dataclasses.dataclass(frozen=True)
class Key:
    """One key, as the reference page describes it."""

    name: str
    kind: str
    default: str
    example: str
    meaning: str
