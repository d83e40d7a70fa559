"""
The analysis of one rollout: the judge, and the facts people ask for afterwards.

The judge decides; this feeds it, counts what was spent and when, and turns its report into the event the machine
understands and the document the views show.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from softlaunch.controller import archive, checks, curves, desired, rejudge, shadowing
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge, judge_history, judge_keys, judge_policy, judge_report, messages, outage
from softlaunch.ports import archive as archive_port
from softlaunch.ports import spool as spools
from softlaunch.ports import store

LATENCY_SLACK_RATIO = 1.25
LATENCY_SLACK_MS = 5.0
"""What the latency guardrail tolerates: a guess. Two processes of the same release on one busy machine differ by a few
milliseconds, and nobody takes a release back for that."""

TRY_TIMEOUT_FACTOR = 2.0
TRY_TIMEOUT_QUANTILE = 0.999
NOT_SENT = "UO"
"""Envoy's flag for an attempt that a circuit breaker refused."""
FUSE_MARGIN = 2
"""The gateway's own fuse blows a little later than the judge would: it is for the time without a controller."""


class Analysis:
    """
    Evidence of one rollout. Make one with `start` or `restore`.

    Args:
        record: The rollout.
        court: Its judge.
        recorder: Writes down what the judge is told.
        measured: Facts so far.
        saved: What `save` gave of everything else.
    """

    def __init__(
        self,
        record: store.RolloutRecord,
        court: judge.Judge,
        recorder: archive.Recorder,
        measured: Mapping[str, Any],
        saved: Mapping[str, Any],
    ) -> None:
        self._candidate = record.candidate.short
        self._stable = record.stable.short if record.stable else None
        self._judge = court
        self._recorder = recorder
        self._share = float(saved.get("share", saved.get("weight", 0) / spec.WEIGHT_FULL))
        self._tuning: desired.Tuning | None = None
        kept = saved.get("candidate_history")
        self._candidate_history = (
            judge_history.ArmHistory.from_json(kept) if kept else judge_history.ArmHistory(release=self._candidate)
        )
        self._outage = outage.OutageWatch.load(saved["outage"]) if "outage" in saved else outage.OutageWatch(0.0)
        self.checks = checks.Log(record.spec.strategy.checks, saved.get("checks"))
        self._shadowing: shadowing.Shadowing | None = None
        self._shadow_state: Mapping[str, Any] | None = saved.get("shadow")
        self._curve = curves.Curve.restore(record.measured.get("curve"))
        facts = {key: value for key, value in measured.items() if key not in ("report", "curve")}
        self._measured: dict[str, Any] = {
            "candidate_attempts": 0,
            "candidate_bad": 0,
            "stable_attempts": 0,
            "stable_bad": 0,
            "first_bad_at": None,
            "first_candidate_at": None,
            "last_candidate_at": None,
            "stable_again_at": None,
            **facts,
        }
        self.fresh = False
        """There are attempts the machine has not been told about."""
        self.changed = False
        """There is something the store has not been told about."""

    @classmethod
    def start(
        cls, record: store.RolloutRecord, history: judge_history.ArmHistory | None, archives: archive_port.Archive
    ) -> Analysis:
        """The analysis of a rollout that begins, with what stable did before as its yardstick."""
        policy = _policy(record)
        court = judge.Judge(
            policy=policy,
            stable=record.stable.short if record.stable else None,
            candidate=record.candidate.short,
            history=history,
        )
        recorder = archive.Recorder.begin(archives, record.id, court.state())
        found = cls(record, court, recorder, {"try_timeout_seconds": _try_timeout(record.spec, history)}, {})
        if history is not None and history.trials:
            found._outage = outage.OutageWatch(sum(history.events.values()) / history.trials)
        return found

    @classmethod
    def restore(
        cls, record: store.RolloutRecord, keys: Sequence[tuple[str, int]], archives: archive_port.Archive
    ) -> Analysis:
        """The analysis as `save` left it."""
        departed = [judge_keys.DepartedKey(spec.GuardrailName(name), key) for name, key in keys]
        saved = record.evidence
        recorder = archive.Recorder.resume(archives, record.id, saved.get("archived"), saved["judge"], keys)
        return cls(record, judge.Judge.restore(saved["judge"], departed), recorder, record.measured, saved)

    def begin_epochs(self, shares: Mapping[int, float]) -> None:
        """A routing decision: the candidate's share of first attempts in every population, by epoch."""
        self._share = max(shares.values())
        self._tuning = None
        self._judge.begin_epochs(shares)
        self._recorder.begin_epochs(shares)
        self.changed = True

    def shadow(self, record: store.RolloutRecord, spool: spools.Spool, *, epoch: int, now: float) -> None:
        """
        Takes pairs of a shadow step into account.

        Args:
            record: The rollout.
            spool: Where both releases record.
            epoch: Of the shadow population now.
            now: Unix seconds up to which the spool is read.
        """
        if self._shadowing is None or self._shadowing.epoch != epoch:
            saved = self._shadow_state if self._shadow_state and self._shadow_state["epoch"] == epoch else None
            self._shadowing = shadowing.Shadowing(record, epoch, spool, saved)
            self.changed = True
        for pair in self._shadowing.turn(now):
            self._feed(pair.stable)
            self._feed(pair.candidate)
            if pair.agrees is not None:
                self._judge.observe_pair(agrees=pair.agrees)
                self._recorder.tell(rejudge.PAIR, pair.agrees)
            self._count(pair.stable, "stable")
            self._count(pair.candidate, "candidate")
        self._measured["shadow"] = self._shadowing.document()

    def observe_copy(self, attempt: attempts.Attempt) -> None:
        """
        The gateway's own line about a copy: one it did not send, to spare the shadow, is no answer that is missing.
        """
        if self._shadowing is not None and NOT_SENT in attempt.flags:
            self._shadowing.unsent(attempt.request_id)

    def count_fallbacks(self, count: int) -> None:
        """So many of the service's requests got a fallback answer."""
        self._measured["fallback_answers"] = self._measured.get("fallback_answers", 0) + count
        self.changed = True

    def _feed(self, attempt: attempts.Attempt) -> None:
        self._judge.observe(attempt)
        self._recorder.observe(attempt)
        self.fresh = self.changed = True

    def begin_step(self, now: float) -> None:
        """Another step: a team's own checks must be passed again."""
        self.checks.begin_step(now)

    def observe(self, attempt: attempts.Attempt) -> None:
        """Takes one line of the attempt log into account."""
        if self._shadowing is not None and attempt.epoch == self._shadowing.epoch:
            return  # stable's side of a pair, which is judged when its copy has answered
        self._feed(attempt)
        self._measure(attempt)

    def observe_kill(self, *, from_candidate: bool) -> None:
        """A process of an arm was killed from outside, as the kernel does when memory is short."""
        self._judge.observe_kill(from_candidate=from_candidate)
        self._recorder.tell(rejudge.KILL, from_candidate)
        self.fresh = self.changed = True

    def judged(self, now: float, *, step: int) -> messages.Judged:
        """What the evidence says now."""
        self.fresh = False
        report = self._judge.report()
        self._curve.offer(now, rejudge.report_document(report), share=self._share, step=step)
        verdict, reason = _with_checks(report, self.checks.reports())
        return messages.Judged(
            verdict=verdict,
            reason=reason,
            step_attempts=report.tally.epoch_trials_candidate,
            settled=not any(
                found.name == spec.GuardrailName.DISAGREEMENT
                and found.enforcing
                and found.verdict is messages.Verdict.INCONCLUSIVE
                for found in report.guardrails
            ),
        )

    def decided(self, now: float, *, phase: str, step: int, reason: str) -> None:
        """The rollout has changed its state for what the judge had said."""
        report = rejudge.report_document(self._judge.report())
        self._recorder.decide({"at": now, "phase": phase, "step": step, "reason": reason, "report": report})

    def outage(self) -> messages.OutageSeen | messages.OutageOver:
        """Whether something both arms share is broken."""
        return messages.OutageSeen(reason=self._outage.reason) if self._outage.reason else messages.OutageOver()

    def verified(self, results: Mapping[str, Any]) -> None:
        """Results of a replay and of a load test that verified the candidate."""
        self._measured["verification"] = dict(results)
        self.changed = True

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

    def save(self) -> tuple[dict[str, Any], dict[str, Any], list[tuple[str, int]]]:
        """
        What must be written in one commit: evidence and facts, as JSON documents, and users newly seen with a bad
        event. `restore` goes on from all that was ever given.
        """
        self.changed = False
        state = self._judge.state()
        keys = [(found.guardrail.value, found.key_hash) for found in self._judge.take_new_keys()]
        evidence = {
            "judge": state,
            "share": self._share,
            "candidate_history": self._candidate_history.to_json(),
            "outage": self._outage.state(),
            "checks": self.checks.state(),
            "archived": self._recorder.save(state, keys),
        }
        if self._shadowing is not None:
            self._shadow_state = self._shadowing.state()
        if self._shadow_state is not None:
            evidence["shadow"] = self._shadow_state
        facts = {**self._measured, "report": self.report_document(), "curve": self._curve.document()}
        return evidence, facts, keys

    def measured(self) -> dict[str, Any]:
        """Facts for people."""
        return dict(self._measured)

    def curve(self) -> dict[str, Any]:
        """The evidence over time (controller.curves)."""
        return self._curve.document()

    def report_document(self) -> dict[str, Any]:
        """The judge's report as JSON, with a team's own checks."""
        document = rejudge.report_document(self._judge.report())
        return {**document, "checks": [_check(found) for found in self.checks.reports()]}

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
        self._count(attempt, side)

    def _count(self, attempt: attempts.Attempt, side: str) -> None:
        outcome = attempts.outcome(attempt)
        if outcome is attempts.Outcome.CENSORED:
            return
        measured = self._measured
        measured[f"{side}_attempts"] += 1
        failed = outcome in (attempts.Outcome.ERROR, attempts.Outcome.INVALID)
        self._outage.observe(attempt.started_at, side == "candidate", failed)
        slow = side == "candidate" and "UT" in attempt.flags
        if outcome in (attempts.Outcome.OK, attempts.Outcome.SHED) and not slow:
            bad = False
        else:
            bad = True
            measured[f"{side}_bad"] += 1
        if side == "candidate":
            if measured["first_candidate_at"] is None:
                measured["first_candidate_at"] = attempt.started_at
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


def _with_checks(report: judge_report.JudgeReport, found: Sequence[checks.CheckReport]) -> tuple[messages.Verdict, str]:
    """The judge's verdict and that of the checks: any may fail a candidate, all must pass one."""
    if report.verdict is messages.Verdict.FAIL:
        return report.verdict, report.reason
    deciding = [each for each in found if each.enforcing]
    for each in deciding:
        if each.verdict is checks.Verdict.BROKEN:
            return messages.Verdict.FAIL, f"check {each.name}: {each.reason}."
    for each in deciding:
        if each.verdict is not checks.Verdict.PASSING and report.verdict is messages.Verdict.PASS:
            return messages.Verdict.INCONCLUSIVE, f"check {each.name} is {each.verdict}: {each.reason}."
    return report.verdict, report.reason


def _check(found: checks.CheckReport) -> dict[str, Any]:
    return {
        "name": found.name,
        "enforcing": found.enforcing,
        "verdict": found.verdict.value,
        "reason": found.reason,
    }
