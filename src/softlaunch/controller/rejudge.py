"""
Recomputing: a fresh judge is fed the archive, and must decide what was decided, for the same numbers.

Three things are compared, each to the last bit: the report at every archived decision, the judge's state at every
checkpoint between two chains, and at the end the state and the report that the store holds.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.controller import archive as evidence
from softlaunch.core import attempts
from softlaunch.core.rollout import judge, judge_report
from softlaunch.ports import archive, store

PAIR = "pair"
"""Two answers to one request; whether they agree."""
KILL = "kill"
"""A process was killed from outside; whether it was the candidate's."""

DEEDS: dict[str, Callable[[judge.Judge, Any], None]] = {
    PAIR: lambda court, agrees: court.observe_pair(agrees=agrees),
    KILL: lambda court, from_candidate: court.observe_kill(from_candidate=from_candidate),
    evidence.EPOCHS: lambda court, shares: court.begin_epochs({int(epoch): share for epoch, share in shares}),
}
"""How an archived entry is fed to a judge again, by kind; attempts, checkpoints and decisions are known anyway."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What the store holds of a rollout: one commit's worth."""

    judge: Mapping[str, Any]
    """The judge's state."""
    report: Mapping[str, Any]
    """Its report, as the views show it."""
    position: int | None
    """Up to where the archive belongs to that state; None: nothing was archived."""

    @classmethod
    def of(cls, record: store.RolloutRecord) -> Kept:
        """
        As stored: of a record that the store gave, not of one in memory, which may be ahead of its archive.

        Raises:
            UnavailableError: the rollout was never judged.
        """
        if "judge" not in record.evidence:
            raise _nothing()
        return cls(
            judge=record.evidence["judge"],
            report=record.measured["report"],
            position=record.evidence.get("archived"),
        )

    def document(self) -> dict[str, Any]:
        """As JSON; Kept(**document) is equal."""
        return dataclasses.asdict(self)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Finding:
    """What recomputing found."""

    agrees: bool
    difference: str
    """The first one, one sentence; empty when there is none."""
    attempt_count: int
    """Attempts that were judged again."""
    decision_count: int
    """Decisions that were recomputed."""
    whole: bool
    """From the rollout's first attempt on; False: older evidence was dropped."""
    first_at: float | None
    """Unix seconds of the first attempt judged again."""
    last_at: float | None
    verdict: str
    reason: str

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)


def recompute(kept: Kept, blocks: Iterable[archive.Block]) -> Finding:
    """
    Judges again.

    Args:
        kept: What must come out.
        blocks: The rollout's archive; what lies behind kept.position is left alone.

    Raises:
        UnavailableError: nothing was archived, a block is damaged, or a newer softlaunch wrote one.
    """
    if kept.position is None:
        raise _nothing()
    again = _Again()
    reached = 0
    for block in blocks:
        if block.ends > kept.position or again.difference:
            break
        again.block(block)
        reached = block.ends
    if again.court is None:
        raise _nothing()
    if not again.difference and reached != kept.position:
        again.difference = f"the archive ends at {reached:,} and the stored state belongs to {kept.position:,}"
    state = _plain(again.court.state())
    report = _plain(report_document(again.court.report()))
    again.expect("state", kept.judge, state)
    again.expect("report", {name: kept.report.get(name) for name in report}, report)
    return Finding(
        agrees=not again.difference,
        difference=again.difference,
        attempt_count=again.attempt_count,
        decision_count=again.decision_count,
        whole=again.whole,
        first_at=again.first_at,
        last_at=again.last_at,
        verdict=report["verdict"],
        reason=report["reason"],
    )


class _Again:
    """A fresh judge on its way through the archive."""

    def __init__(self) -> None:
        self.court: judge.Judge | None = None
        self.difference = ""
        self.attempt_count = 0
        self.decision_count = 0
        self.whole = False
        self.first_at: float | None = None
        self.last_at: float | None = None

    def block(self, block: archive.Block) -> None:
        for kind, document in evidence.decode(block.content):
            if kind == evidence.ATTEMPT:
                self._attempt(document)
            elif kind == evidence.CHECKPOINT:
                self._checkpoint(document)
            elif kind == evidence.DECISION:
                self._decision(json.loads(document))
            elif kind in DEEDS and self.court is not None:
                DEEDS[kind](self.court, document)
            else:
                raise errors.UnavailableError(
                    f"The archive holds an entry {kind!r} that this softlaunch does not know.",
                    remedy="Use the version of softlaunch that wrote it, or a newer one.",
                    code=errors.Code.EVIDENCE_DAMAGED,
                )

    def expect(self, what: str, kept: Any, found: Any) -> None:
        """Notes where two documents differ, unless a difference was noted before."""
        if not self.difference:
            where = first_difference(kept, found)
            if where is not None:
                self.difference = f"{what}{where}"

    def _attempt(self, attempt: attempts.Attempt) -> None:
        assert self.court is not None
        self.court.observe(attempt)
        self.attempt_count += 1
        self.first_at = attempt.started_at if self.first_at is None else self.first_at
        self.last_at = attempt.started_at

    def _checkpoint(self, document: Any) -> None:
        state, keys, continues = evidence.checkpoint(document)
        if self.court is not None and continues:
            self.expect("state at a checkpoint", state, _plain(self.court.state()))
        else:
            self.whole = not state["epochs"]  # a judge that knows no routing decision has seen nothing
            self.attempt_count = self.decision_count = 0
            self.first_at = None
        self.court = judge.Judge.restore(state, keys)

    def _decision(self, decision: Mapping[str, Any]) -> None:
        assert self.court is not None
        self.decision_count += 1
        found = _plain(report_document(self.court.report()))
        kept = {name: decision["report"].get(name) for name in found}
        self.expect(f"report of decision {self.decision_count} ({decision['reason']})", kept, found)


def report_document(report: judge_report.JudgeReport) -> dict[str, Any]:
    """The judge's report as views, decisions and the archive show it: plain values."""
    return {
        "verdict": report.verdict.value,
        "reason": report.reason,
        "log_e": report.log_e,
        "log_threshold": report.log_threshold,
        "step_attempts": report.tally.epoch_trials_candidate,
        "retries": report.tally.repeats,
        "shed": report.tally.shed,
        "guardrails": {
            str(found.name): {
                "verdict": found.verdict.value,
                "enforcing": found.enforcing,
                "decided_by": found.decided_by.value,
                "reason": found.reason,
                "candidate_trials": found.trials_candidate,
                "candidate_events": found.events_candidate,
                "stable_trials": found.trials_stable,
                "stable_events": found.events_stable,
                "log_e": found.log_e,
                "log_threshold": found.log_threshold,
                "log_e_promote": found.promotion_log_e,
                "log_threshold_promote": found.promotion_log_threshold,
            }
            for found in report.guardrails
        },
    }


def first_difference(kept: Any, found: Any) -> str | None:
    """Where two JSON documents first differ and how; None when they are equal, numbers to the last bit."""
    if isinstance(kept, Mapping) and isinstance(found, Mapping):
        for name in [*kept, *(name for name in found if name not in kept)]:
            where = first_difference(kept.get(name), found.get(name))
            if where is not None:
                return f".{name}{where}"
        return None
    if isinstance(kept, list) and isinstance(found, list) and len(kept) == len(found):
        for index, (ours, theirs) in enumerate(zip(kept, found, strict=True)):
            where = first_difference(ours, theirs)
            if where is not None:
                return f"[{index}]{where}"
        return None
    if json.dumps(kept) == json.dumps(found):  # as written: NaN is NaN, and 1 is not 1.0
        return None
    return f": stored {_short(kept)}, recomputed {_short(found)}"


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= 120 else f"{text[:117]}..."


def _plain(document: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document))
    return found


def _nothing() -> errors.UnavailableError:
    return errors.UnavailableError(
        "Nothing was archived of this rollout.",
        remedy="Rollouts without a comparison, from before the archive, or on a full disk leave nothing to recompute.",
        code=errors.Code.EVIDENCE_MISSING,
    )
