"""Asks a draft of a release, served as it would be, for its answers to rows."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from softlaunch.controller.pipeline import rows, workshop
from softlaunch.core import predictions, release
from softlaunch.core.quality import parity


@dataclasses.dataclass(frozen=True, kw_only=True)
class Draft:
    """A release directory that may still be thrown away."""

    directory: pathlib.Path
    python: pathlib.Path
    """The interpreter it would be served by."""
    signature: release.Signature


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answers:
    answered: parity.Answered
    latency_ms_p99: float | None
    """Of single rows inside the server's process, without HTTP; None when nothing was timed."""
    latency_ms_p50: float | None = None
    """Likewise."""


def ask(
    draft: Draft,
    found: Sequence[predictions.Row],
    shop: workshop.Workshop,
    scratch: pathlib.Path,
    *,
    timed_row_count: int = 0,
) -> Answers:
    """
    The draft's answers, row by row.

    Raises:
        ConfigError: its model cannot be loaded.
    """
    path = scratch / "asked.npz"
    rows.write(path, draft.signature.inputs, found)
    said = shop.workbench.tool(
        "answer",
        {
            "release": str(draft.directory),
            "loader": shop.loader,
            "rows": str(path),
            "timed_row_count": timed_row_count,
        },
        python=draft.python,
    )
    failed = {int(row): reason for row, reason in said["failed"].items()}
    return Answers(
        answered=parity.Answered(columns=said["columns"], failed=failed),
        latency_ms_p99=said["latency_ms_p99"],
        latency_ms_p50=said["latency_ms_p50"],
    )
