"""
The analysis of one rollout: the judge, and the facts people ask for afterwards.

The judge decides; this feeds it, counts what was spent and when, and turns its report into the event the machine
understands and the document the views show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.controller import desired
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge, judge_history, judge_keys, judge_policy, judge_report, messages
from softlaunch.ports import store

LATENCY_SLACK_RATIO = 1.25
LATENCY_SLACK_MS = 5.0
"""What the latency guardrail tolerates: a guess. Two processes of the same release on one busy machine differ by a few
milliseconds, and nobody takes a release back for that."""

TRY_TIMEOUT_FACTOR = 2.0
TRY_TIMEOUT_QUANTILE = 0.999
FUSE_MARGIN = 2
"""The gateway's own fuse blows a little later than the judge would: it is for the time without a controller."""


class Analysis:
    """
    Evidence of one rollout. Make one with `start` or `restore`.

    Args:
        record: The rollout.
        court: Its judge.
        measured: Facts so far.
    """

    def __init__(self, record: store.RolloutRecord, court: judge.Judge, measured: Mapping[str, Any]) -> None:
        self._candidate = record.candidate.short
        self._stable = record.stable.short if record.stable else None
        self._judge = court
        self._share = 0.0
        self._tuning: desired.Tuning | None = None
        self._candidate_history = judge_history.ArmHistory(release=self._candidate)
        self._measured: dict[str, Any] = {
            "candidate_attempts": 0,
            "candidate_bad": 0,
            "stable_attempts": 0,
            "stable_bad": 0,
            "first_bad_at": None,
            "last_candidate_at": None,
            "stable_again_at": None,
            **measured,
        }
        self.fresh = False
        """There are attempts the machine has not been told about."""
        self.changed = False
        """There is something the store has not been told about."""

    @classmethod
    def start(cls, record: store.RolloutRecord, history: judge_history.ArmHistory | None) -> Analysis:
        """The analysis of a rollout that begins, with what stable did before as its yardstick."""
        policy = _policy(record)
        court = judge.Judge(
            policy=policy,
            stable=record.stable.short if record.stable else None,
            candidate=record.candidate.short,
            history=history,
        )
        return cls(record, court, {"try_timeout_seconds": _try_timeout(record.spec, history)})

    @classmethod
    def restore(cls, record: store.RolloutRecord, keys: Sequence[tuple[str, int]]) -> Analysis:
        """The analysis as `state` and `measured` left it."""
        departed = [judge_keys.DepartedKey(spec.GuardrailName(name), key) for name, key in keys]
        found = cls(record, judge.Judge.restore(record.evidence["judge"], departed), record.measured)
        found._share = float(record.evidence.get("share", record.evidence.get("weight", 0) / spec.WEIGHT_FULL))
        found._candidate_history = judge_history.ArmHistory.from_json(record.evidence["candidate_history"])
        return found

    def begin_epochs(self, shares: Mapping[int, float]) -> None:
        """A routing decision: the candidate's share of first attempts in every population, by epoch."""
        self._share = max(shares.values())
        self._tuning = None
        self._judge.begin_epochs(shares)
        self.changed = True

    def observe(self, attempt: attempts.Attempt) -> None:
        """Takes one line of the attempt log into account."""
        self._judge.observe(attempt)
        self._measure(attempt)
        self.fresh = self.changed = True

    def judged(self) -> messages.Judged:
        """What the evidence says now."""
        self.fresh = False
        report = self._judge.report()
        return messages.Judged(
            verdict=report.verdict, reason=report.reason, step_attempts=report.tally.epoch_trials_candidate
        )

    def returned(self, at: float) -> None:
        """The gateway believes that all traffic goes to stable."""
        if self._measured["stable_again_at"] is None:
            self._measured["stable_again_at"] = at
            self.changed = True

    def down(self, at: float) -> None:
        """From now on nothing but a fallback answers, because the plan recreates."""
        self._measured["downtime_began_at"] = at
        self.changed = True

    def up(self, at: float) -> None:
        """A release answers again."""
        began = self._measured.get("downtime_began_at")
        if began is not None and "downtime_seconds" not in self._measured:
            self._measured["downtime_seconds"] = at - began
            self.changed = True

    def tuning(self) -> desired.Tuning:
        """What the routes need to know; the same for as long as the share is."""
        if self._tuning is None:
            self._tuning = desired.Tuning(
                try_timeout_seconds=self._measured["try_timeout_seconds"],
                fuse_failures=self._judge.events_to_fail(self._share) + FUSE_MARGIN,
            )
        return self._tuning

    def candidate_history(self) -> judge_history.ArmHistory:
        """What the candidate did in this rollout: its record as stable begins with it."""
        return self._candidate_history

    def state(self) -> dict[str, Any]:
        """A JSON document that, with the keys, `restore` goes on from."""
        self.changed = False
        return {
            "judge": self._judge.state(),
            "share": self._share,
            "candidate_history": self._candidate_history.to_json(),
        }

    def take_new_keys(self) -> list[tuple[str, int]]:
        """Users newly seen with a bad event, since the last call."""
        return [(found.guardrail.value, found.key_hash) for found in self._judge.take_new_keys()]

    def measured(self) -> dict[str, Any]:
        """Facts for people, with the judge's report under `report`."""
        return {**self._measured, "report": self.report_document()}

    def report_document(self) -> dict[str, Any]:
        """The judge's report as JSON."""
        report = self._judge.report()
        return {
            "verdict": report.verdict.value,
            "reason": report.reason,
            "log_e": report.log_e,
            "log_threshold": report.log_threshold,
            "step_attempts": report.tally.epoch_trials_candidate,
            "retries": report.tally.repeats,
            "shed": report.tally.shed,
            "guardrails": {found.name.value: _guardrail(found) for found in report.guardrails},
        }

    def _measure(self, attempt: attempts.Attempt) -> None:
        if attempt.composite and attempt.release == self._candidate:
            self._candidate_history_observe(attempt)
            side = "candidate"
        elif attempt.composite and not attempt.release and attempt.number == 1:
            side = "candidate"  # no replica was reached; the judge counts it so, too
        elif attempt.release == self._stable and not attempt.composite and attempt.number == 1:
            side = "stable"
        else:
            return
        outcome = attempts.outcome(attempt)
        if outcome is attempts.Outcome.CENSORED:
            return
        measured = self._measured
        measured[f"{side}_attempts"] += 1
        slow = side == "candidate" and "UT" in attempt.flags
        if outcome in (attempts.Outcome.OK, attempts.Outcome.SHED) and not slow:
            bad = False
        else:
            bad = True
            measured[f"{side}_bad"] += 1
        if side == "candidate":
            measured["last_candidate_at"] = max(measured["last_candidate_at"] or 0.0, attempt.started_at)
            if bad and measured["first_bad_at"] is None:
                measured["first_bad_at"] = attempt.started_at

    def _candidate_history_observe(self, attempt: attempts.Attempt) -> None:
        """Under the composite every attempt on the candidate is a first one."""
        self._candidate_history.observe(attempt._replace(composite=False, number=1))


def _policy(record: store.RolloutRecord) -> judge_policy.JudgePolicy:
    return judge_policy.of_strategy(
        record.spec.strategy,
        has_stable=record.stable is not None,
        request_timeout_seconds=record.spec.request_timeout_seconds,
        latency_slack_ratio=LATENCY_SLACK_RATIO,
        latency_slack_ms=LATENCY_SLACK_MS,
    )


def _try_timeout(environment: spec.EnvironmentSpec, history: judge_history.ArmHistory | None) -> float:
    """
    How long a try may take before stable is asked as well.

    max(250 ms, 2 x stable's p99.9): a fixed short try would double the load of a slow model.
    """
    longest = environment.request_timeout_seconds / 2
    if history is None or history.latency.count < judge_policy.JudgePolicy.latency_history_min:
        return min(desired.TRY_TIMEOUT_SECONDS_DEFAULT, longest)
    found = TRY_TIMEOUT_FACTOR * history.latency.quantile(TRY_TIMEOUT_QUANTILE) / 1e6
    return min(max(desired.TRY_TIMEOUT_SECONDS_MIN, found), longest)


def _guardrail(found: judge_report.GuardrailReport) -> dict[str, Any]:
    return {
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
