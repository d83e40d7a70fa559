"""What a program and all it started take of the machine."""

from __future__ import annotations

import dataclasses
from typing import Protocol


@dataclasses.dataclass(frozen=True, kw_only=True)
class Sample:
    """At one moment. None: it cannot be measured here."""

    at: float
    cpu_seconds: float
    """Since the start, of every process that was seen."""
    cpu_percent: float
    """Since the sample before; 100 is one core."""
    ram_bytes: int
    process_count: int
    received_bytes: int | None
    """By all of the machine, since the start."""
    sent_bytes: int | None
    gpu: str | None
    gpu_percent: float | None
    gpu_memory_bytes: int | None


class ProcessMeter(Protocol):
    def sample(self) -> Sample:
        """What is taken now; a program that has ended takes nothing."""
        ...
