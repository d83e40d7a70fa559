"""What many pairs of answers say, in people's words: for a replay and for a shadow."""

from __future__ import annotations

import json
import pathlib
from collections.abc import Iterable, Mapping
from typing import Any

import rich.markup

from softlaunch import errors
from softlaunch.cli import output

_SHOWN_DIFFERENCES = 5
_SHOWN_OUTPUTS = 12
_OUTCOMES = {
    "error": "errors",
    "client_error": "client errors",
    "invalid": "invalid answers",
    "shed": "refused for overload",
    "censored": "without a result",
}


def lines(pairs: Mapping[str, Any], *, outputs: bool, latency_note: str = "") -> Iterable[str]:
    """
    The pairs as lines of Rich markup.

    Args:
        pairs: core.shadow.summary.Report.to_json.
        outputs: Show how both releases' answers are distributed.
        latency_note: What is to be known of the times.
    """
    yield f"  pairs      {pairs['pair_count']:,}, {pairs['joined_count']:,} of them answered by the candidate" + (
        f"; {pairs['lost_count']:,} lost records, not judged" if pairs["lost_count"] else ""
    )
    if pairs["compared_count"]:
        share = f"{pairs['agreement_rate'] * 100:.4g} %"
        yield f"  agreement  {share}: {pairs['agreed_count']:,} of {pairs['compared_count']:,} answers are the same"
    else:
        yield "  agreement  unknown: no request was answered well by both"
    bad = [(name, counts) for name, counts in pairs["outcomes"].items() if name != "ok"]
    for name, (stable, candidate) in bad:
        yield f"  {_OUTCOMES.get(name, name):10} stable {stable:,}, candidate {candidate:,}"
    if not bad:
        yield "  errors     none on either side"
    times = [
        f"{name} {_milliseconds(stable)} and {_milliseconds(candidate)}"
        for name, (stable, candidate) in pairs["latency_us"].items()
    ]
    yield f"  latency    stable and candidate: {', '.join(times)}{latency_note}"
    if outputs and pairs["outputs"]:
        yield "  answers    stable and candidate:"
        for found in pairs["outputs"][:_SHOWN_OUTPUTS]:
            stable, candidate = found["counts"]
            yield f"    {rich.markup.escape(found['name'])}: {stable:,} and {candidate:,}"
        left = len(pairs["outputs"]) - _SHOWN_OUTPUTS
        if left > 0:
            yield f"    and {left} more"
    examples = pairs["examples"][:_SHOWN_DIFFERENCES]
    if examples:
        yield "  first different answers:"
        yield from (f"    {rich.markup.escape(found)}" for found in examples)


def label_lines(found: Mapping[str, Any]) -> Iterable[str]:
    """Who was right (label_file.Judged.document), as lines of Rich markup."""
    known = found["label_count"] - found["missing_count"]
    yield f"  labels     {known:,} of {found['label_count']:,} belong to rows that both releases answered" + (
        f"; {found['missing_count']:,} found no such row and say nothing" if found["missing_count"] else ""
    )
    yield f"  truth      {rich.markup.escape(found['reason'])}"
    if found["stable_score"] is not None:
        word = "right" if found["kind"] == "classes" else "mean error"
        both = (found["stable_score"], found["candidate_score"])
        scores = [f"{score * 100:.4g} %" if word == "right" else f"{score:.4g}" for score in both]
        yield f"             {word}: stable {scores[0]}, candidate {scores[1]}"
    chance = found["counts_p"] if found["sizes_p"] is None else found["sizes_p"]
    if chance is not None:
        yield f"             equally good releases would differ as much with probability {_probability(chance)}"


def read_labels(path: pathlib.Path) -> dict[str, Any]:
    """
    The labels of a file.

    Raises:
        ConfigError: it cannot be read, or used.
    """
    from softlaunch.core.shadow import label_file  # noqa: PLC0415 - scipy takes half a second to import

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        said = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise errors.ConfigError(
            f"The labels in {path} cannot be read: {said}.",
            remedy="Name a CSV or a file of JSON lines with prediction_id and label.",
            code=errors.Code.LABELS_UNREADABLE,
        ) from error
    return label_file.parse(text, name=str(path))


def print_lines(found: Iterable[str]) -> None:
    for line in found:
        output.text(line)


def plain(value: Any) -> Any:
    """The value as JSON gives it back: tuples are lists."""
    return json.loads(json.dumps(value))


def _milliseconds(microseconds: float | None) -> str:
    return "-" if microseconds is None else f"{microseconds / 1e3:.3g} ms"


def _probability(value: float) -> str:
    return "below 0.0001" if value < 1e-4 else f"{value:.2g}"
