"""
Why? At most ten lines: what was seen, against what, since when, at what odds, what was done.

Reads the same documents as the status views, so that it explains a finished rollout as well as a running one. What
matters most comes first; guardrails share the lines that are left, the one that decided before the others.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from softlaunch.core import release
from softlaunch.core.load import verdict as load_verdict
from softlaunch.core.rollout import judge_report

LINES_MAX = 10

_PEOPLE = ("approved", "paused", "resumed")
_VERDICTS = ("fail", "inconclusive", "pass")
_MEANINGS = {
    "approval": "Waiting for people",
    "frozen": "Frozen, as the plan says, instead of going back",
    "outage": "Held for an outage of both releases, which speaks against neither",
    "deadline": "Held because the step's deadline passed without a decision",
    "evidence_lost": "Held because evidence is missing",
    "ejected": "Held by the gateway's own fuse",
    "gateway": "Held because the gateway did not take the routes",
    "unmeasured": "Held because verification says nothing of the candidate",
}


def lines(
    rollout: Mapping[str, Any], *, events: Sequence[Mapping[str, Any]] = (), pin: Mapping[str, Any] | None = None
) -> list[str]:
    """
    The explanation of a rollout.

    Args:
        rollout: Its view (controller.views.rollout).
        events: Its history records, oldest first (controller.views.events).
        pin: The pin of its candidate in this place, if there is one that was not lifted.
    """
    found = [_head(rollout), _standing(rollout), f"Why: {_sentence(rollout['reason'])}"]
    found += [
        *_settings(rollout),
        *_held(rollout),
        *_seen(rollout),
        *_way_back(rollout),
        *_downtime(rollout),
        *_shadow(rollout),
        *_verified(rollout),
        *_checks(rollout),
        *_people(events),
        *_pinned(rollout, pin),
        *_successor(rollout),
    ]
    found = found[:LINES_MAX]
    return found + _guardrails(rollout, LINES_MAX - len(found))


def _head(rollout: Mapping[str, Any]) -> str:
    if rollout.get("drill"):
        what = f"a drill with {rollout['candidate_arm']} ({rollout['ref']}), which is broken on purpose, in"
        tail = f"{rollout['service']} in {rollout['environment']}"
    else:
        what = f"{rollout['candidate_arm']} ({rollout['ref']}) into"
        against = f", against {rollout['stable_arm']}" if rollout["stable"] else ", with nothing to compare it with"
        tail = f"{rollout['service']} in {rollout['environment']}{against}"
    asked = f"asked by {rollout['requested_by']} at {moment(rollout['created_at'])}"
    return f"Rollout {rollout['id']}: {what} {tail}; {asked}."


def _standing(rollout: Mapping[str, Any]) -> str:
    outcome = rollout["outcome"]
    if outcome is not None:
        if rollout.get("drill"):
            net = "the net held: " if outcome == "rolled_back" else "the net did not catch it: "
            return f"Outcome: {net}{outcome.replace('_', ' ')} at {moment(rollout['finished_at'])}."
        return f"Outcome: {outcome.replace('_', ' ')} at {moment(rollout['finished_at'])}."
    paused = ", paused" if rollout["paused"] else ""
    since = f" since {moment(rollout['entered_at'])}"
    return f"Now: {rollout['phase'].replace('_', ' ')}{since}, the candidate gets {_routing(rollout)}{paused}."


def _routing(rollout: Mapping[str, Any]) -> str:
    found = [f"{rollout['candidate_percent']:g} % of traffic"] if rollout["candidate_percent"] else []
    found += [
        f"{percent:g} % of cohort {name}" for name, percent in rollout.get("cohorts_percent", {}).items() if percent
    ]
    if rollout.get("shadow_percent"):
        found.append(f"copies of {rollout['shadow_percent']:g} % of the requests")
    return " and ".join(found) or "no traffic"


def _held(rollout: Mapping[str, Any]) -> Iterable[str]:
    hold = rollout["hold"]
    if hold:
        yield f"{_MEANINGS.get(hold['kind'], 'Held')}: {_sentence(hold['reason'])}"


def _seen(rollout: Mapping[str, Any]) -> Iterable[str]:
    measured, report = rollout["measured"], rollout["evidence"]
    trials = measured.get("candidate_attempts")
    if not trials:
        return
    against = f", {measured['stable_bad']:,} of {measured['stable_attempts']:,} on stable" if rollout["stable"] else ""
    since = _began(rollout)
    said = (
        f"Seen since {moment(since)}: {measured['candidate_bad']:,} bad of {trials:,} first attempts on the candidate"
    )
    fallback = measured.get("fallback_answers")
    counted = f"; {fallback:,} requests got a fallback answer" if fallback else ""
    odds = ""
    if report:
        needed, reached = judge_report.odds(report["log_threshold"]), judge_report.odds(report["log_e"])
        said_worse = "nothing says that it is worse" if reached == "none" else f"it is worse at odds of {reached}"
        odds = f"; {said_worse} ({needed} takes it back)"
    yield f"{said}{against}{counted}{odds}."


def _way_back(rollout: Mapping[str, Any]) -> Iterable[str]:
    first, back = rollout["measured"].get("first_bad_at"), rollout["measured"].get("stable_again_at")
    if first and back:
        yield f"First bad attempt at {moment(first)}; all traffic on stable {back - first:.2f} s later."
    elif back:
        yield f"All traffic was on stable again at {moment(back)}."


def _downtime(rollout: Mapping[str, Any]) -> Iterable[str]:
    measured = rollout["measured"]
    if "downtime_seconds" in measured:
        yield (
            f"Downtime: {measured['downtime_seconds']:.2f} s from {moment(measured['downtime_began_at'])}, "
            "because the plan ends the old release before the new one starts."
        )
    elif "downtime_began_at" in measured:
        yield f"Down since {moment(measured['downtime_began_at'])}: the plan recreates, and nothing serves yet."


def _shadow(rollout: Mapping[str, Any]) -> Iterable[str]:
    found = rollout["measured"].get("shadow")
    if not found or not found["pair_count"]:
        return
    compared, agreed = found["compared_count"], found["agreed_count"]
    said = f"{agreed:,} of {compared:,} answers agree with stable's to the same request"
    share = f" ({100 * agreed / compared:.4g} %)" if compared else ""
    unanswered = found["pair_count"] - found["joined_count"]
    missing = f"; {unanswered:,} copies had no answer" if unanswered else ""
    stable, candidate = found["latency_us"].get("p99", (None, None))
    slow = ""
    if stable is not None and candidate is not None:
        slow = f"; p99 {candidate / 1_000:.3g} ms, stable's {stable / 1_000:.3g} ms"
    yield f"Shadow: {said}{share}{missing}{slow}; users saw none of the candidate's."


def _checks(rollout: Mapping[str, Any]) -> Iterable[str]:
    checks = (rollout["evidence"] or {}).get("checks") or ()
    broken = [check for check in checks if check["verdict"] != "passing"]
    if broken:
        told = "; ".join(f"{check['name']} {check['verdict']}{_observed(check)}: {check['reason']}" for check in broken)
        passing = f"; {len(checks) - len(broken)} others pass" if len(checks) > len(broken) else ""
        yield f"Checks: {told}{passing}."
    elif checks:
        yield f"Checks: {', '.join(check['name'] for check in checks)} pass."


def _verified(rollout: Mapping[str, Any]) -> Iterable[str]:
    if rollout.get("progress"):
        yield f"Verifying: {rollout['progress']}."
    found = rollout["measured"].get("verification") or {}
    if "replay" in found:
        replayed = found["replay"]
        yield (
            f"Replay: {replayed['sent']:,} requests recorded in {replayed['environment']}, {replayed['failed']:,} "
            f"failed ({replayed['stable_failed']:,} there); {replayed['agreed']:,} of {replayed['compared']:,} answers "
            f"agree with {short(replayed['stable'])}'s."
        )
    if "load" in found:
        wanted = found["load"]["wanted"]
        lasting = f"{wanted['rate']:g}/s for {wanted['duration_seconds']:g} s"
        bound = f"p99 allowed {wanted['latency_ms_p99_max']:g} ms"
        yield f"Load test ({lasting}, {bound}): {found['load']['verdict']}. {load_verdict.summary(found['load'])}"


def _people(events: Sequence[Mapping[str, Any]]) -> Iterable[str]:
    found = [event for event in events if event["kind"] in _PEOPLE]
    if found:
        said = "; ".join(f"{event['text'].rstrip('.')} ({_clock(event['at'])})" for event in found[-3:])
        more = f" (and {len(found) - 3} times before)" if len(found) > 3 else ""
        yield f"People: {said}{more}."


def _pinned(rollout: Mapping[str, Any], pin: Mapping[str, Any] | None) -> Iterable[str]:
    if pin is not None and pin.get("lifted_at") is None:
        name = pin.get("arm") or short(rollout["candidate"])
        lift = f'softlaunch unpin {name} --reason "..."'
        yield f"Pinned by {pin['by']}: {name} is not launched here again; lift it with `{lift}`."
    elif pin is not None:
        lifted = f"lifted by {pin['lifted_by']} at {moment(pin['lifted_at'])}"
        yield f"Its pin was {lifted}: {_sentence(pin['lifted_reason'])}"


def _successor(rollout: Mapping[str, Any]) -> Iterable[str]:
    following = rollout.get("successor")
    if following:
        yield (
            f"Replaced: {following['arm']} ({following['ref']}), asked by {following['requested_by']}, "
            f"follows as rollout {following['id']}."
        )


def _guardrails(rollout: Mapping[str, Any], room: int) -> list[str]:
    """One line each as far as there is room, broken ones first; the rest by name in a last line."""
    report = rollout["evidence"]
    if not report or not rollout["measured"].get("candidate_attempts") or room <= 0:
        return []
    ranked = sorted(
        ((name, entry) for name, entry in report["guardrails"].items() if had_part(entry)),
        key=lambda entry: (not entry[1]["enforcing"], _VERDICTS.index(entry[1]["verdict"])),
    )
    told = [f"{name}{_observed(entry)}: {entry['verdict']}. {_sentence(entry['reason'])}" for name, entry in ranked]
    if len(told) <= room:
        return told
    rest = ranked[room - 1 :]
    grouped = [
        f"{verdict} {', '.join(name for name, entry in rest if entry['verdict'] == verdict)}"
        for verdict in _VERDICTS
        if any(entry["verdict"] == verdict for _, entry in rest)
    ]
    return [*told[: room - 1], f"Others: {'; '.join(grouped)}."]


def had_part(entry: Mapping[str, Any]) -> bool:
    """Whether there is anything to say of a guardrail: it decides, or it saw something."""
    return bool(entry["enforcing"] or entry["candidate_trials"] or entry["stable_trials"])


def _observed(entry: Mapping[str, Any]) -> str:
    return "" if entry["enforcing"] else " (observing)"


def _began(rollout: Mapping[str, Any]) -> float:
    """When the candidate could first be compared; its curve begins there."""
    curve = rollout["measured"].get("curve") or {}
    began: float = next(iter(curve.get("at", ())), rollout["created_at"])
    return began


def _sentence(text: str) -> str:
    return text if text.endswith((".", "!", "?", "`")) else f"{text}."


def short(text: str) -> str:
    """How people name a release, or an arm."""
    return release.short(text)


def _settings(rollout: Mapping[str, Any]) -> Iterable[str]:
    names = rollout.get("settings_changed")
    if names:
        same = rollout["candidate"] == rollout["stable"]
        what = "The same release with other settings" if same else "With other settings"
        parts = [f"{', '.join(found)} {how}" for how, found in names.items()]
        yield f"{what}: {'; '.join(parts)}."


def moment(seconds: float) -> str:
    """Date and time, for people."""
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _clock(seconds: float) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%H:%M:%S")
