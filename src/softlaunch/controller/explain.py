"""
Why? At most ten lines: what was seen, against what, since when, at what odds, what was done.

Reads the same documents as the status views, so that it explains a finished rollout as well as a running one.
"""

from __future__ import annotations

import datetime
from typing import Any

LINES_MAX = 10


def lines(rollout: dict[str, Any]) -> list[str]:
    """The explanation of a rollout view (controller.views.rollout)."""
    found = [
        (
            f"Rollout {rollout['id']}: {_short(rollout['candidate'])} ({rollout['ref']}) into {rollout['service']} in "
            f"{rollout['environment']}, asked by {rollout['requested_by']} at {_time(rollout['created_at'])}."
        ),
        _standing(rollout),
        f"Why: {rollout['reason']}",
    ]
    if rollout["hold"]:
        found.append(f"Held: {rollout['hold']['reason']}")
    measured = rollout["measured"]
    if measured.get("candidate_attempts"):
        found.append(
            f"Seen: {measured['candidate_bad']} bad of {measured['candidate_attempts']} first attempts on the "
            f"candidate, {measured['stable_bad']} of {measured['stable_attempts']} on stable."
        )
    first, back = measured.get("first_bad_at"), measured.get("stable_again_at")
    if first and back:
        found.append(f"First bad attempt at {_time(first)}; all traffic on stable {back - first:.2f} s later.")
    report = rollout["evidence"]
    if report and measured.get("candidate_attempts"):
        found += [_guardrail(name, entry) for name, entry in report["guardrails"].items()]
    return found[:LINES_MAX]


def _guardrail(name: str, entry: dict[str, Any]) -> str:
    return f"{name}: {entry['verdict']}. {entry['reason']}"


def _standing(rollout: dict[str, Any]) -> str:
    outcome = rollout["outcome"]
    if outcome is not None:
        return f"Outcome: {outcome.replace('_', ' ')} at {_time(rollout['finished_at'])}."
    share = f"{rollout['candidate_percent']:g} % of traffic" if rollout["candidate_percent"] else "no traffic"
    paused = ", paused" if rollout["paused"] else ""
    return f"Now: {rollout['phase'].replace('_', ' ')}, the candidate has {share}{paused}."


def _short(digest: str) -> str:
    return digest.removeprefix("sha256:")[:12]


def _time(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
