"""What a batch job is: its command, its outputs, and what is asked of each before it is published."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from softlaunch.core import secret_references

TABLES = (".csv", ".parquet")
"""Endings of files whose rows and columns can be looked at."""
KEEP = 5
OUTPUT = "output.csv"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Checks:
    """What is asked of a table. None: not asked."""

    rows_min: int = 1
    columns: tuple[str, ...] = ()
    """Have to be there."""
    missing_percent_max: float | None = None
    """Of each of those columns; of every column when none is named."""
    ranges: tuple[tuple[str, float, float], ...] = ()
    """Column, least and greatest value; a value that is missing is in no range's way."""
    rows_change_percent_max: float | None = None
    """Against the output that is published."""
    mean_change_percent_max: float | None = None
    """Of each column of numbers, against the output that is published, in percent of its standard deviation there."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Output:
    """A file of the output folder, or a pattern: the tables it finds are judged as one."""

    pattern: str = OUTPUT
    """Relative; *, ? and ** as in a shell."""
    checks: Checks = dataclasses.field(default_factory=Checks)

    @property
    def is_table(self) -> bool:
        """Its rows are looked at; any other file only has to be there, and not empty."""
        return self.pattern.lower().endswith(TABLES)


@dataclasses.dataclass(frozen=True, kw_only=True)
class JobSpec:
    """A job of softlaunch.yaml."""

    name: str
    command: tuple[str, ...]
    outputs: tuple[Output, ...] = (Output(),)
    publish: str = ""
    """Path of the link; relative to the service's folder. Empty: the job's name."""
    keep: int = KEEP
    """So many good outputs are kept."""
    timeout_seconds: float | None = None
    env: Mapping[str, str] = dataclasses.field(default_factory=dict)
    secrets: Mapping[str, secret_references.SecretReference] = dataclasses.field(default_factory=dict)
