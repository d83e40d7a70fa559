"""
The judge of one rollout: attempts go in, a verdict with its reason comes out.

    judge = Judge(policy=policy, stable="0a1b...", candidate="9f8e...", history=history)
    judge.begin_epochs({7: 0.01, 8: 0.5})    # before the gateway is told: a routing decision and its populations
    judge.observe(attempt)                   # every line of the attempt log, in any order of siblings
    judge.failed, judge.report()

Rules:

* Only first attempts count (first_attempts.py). Censored and shed ones are neither trials nor events.
* Each guardrail turns attempts into events of an arm; its evidence that the candidate is worse is an e-process, which
  may be looked at after every event, forever (core.stats.relative). rho is the candidate's running share of first
  attempts in the epoch the attempt was routed under, counted before the attempt.
* The combined evidence is the weighted mean over enforcing guardrails, itself an e-process: FAIL at 1/alpha, for good.
* Where the candidate has all traffic there is nothing to compare: an absolute alarm judges those epochs.
* PASS needs evidence too, per enforcing guardrail: no attempts, no PASS.
* No clock, no randomness: the same lines give the same verdict, also across `state` and `restore`.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import (
    evidence,
    first_attempts,
    judge_extras,
    judge_history,
    judge_keys,
    judge_policy,
    judge_report,
    judge_sizes,
    judge_values,
)

_INDEX_OF_OUTCOME = {
    attempts.Outcome.ERROR: 0,
    attempts.Outcome.CLIENT_ERROR: 1,
    attempts.Outcome.INVALID: 2,
}
_EVENTS_LIMIT = 1_000


class Judge:
    """
    Evidence of one rollout.

    Args:
        policy: Rules, fixed now.
        stable: First twelve digits of stable's digest; None for the first release of an environment.
        candidate: The candidate's.
        history: What stable did before; None or too short: latency thresholds are cut during the rollout.
    """

    def __init__(
        self,
        *,
        policy: judge_policy.JudgePolicy,
        stable: str | None,
        candidate: str,
        history: judge_history.ArmHistory | None = None,
    ) -> None:
        if stable == candidate:
            raise errors.InvariantError(f"release {candidate} is to be compared with itself.")
        self._policy = policy
        self._stable = stable
        self._candidate = candidate
        self._firsts = first_attempts.FirstAttempts(
            stable=stable, candidate=candidate, wait_seconds=policy.sibling_wait_seconds
        )
        self._alone_rates = [judge_extras.alone_rate(policy, name, history) for name in judge_keys.COUNTED]
        self._evidence = [
            evidence.CountEvidence(
                acceptable_rate=policy.acceptable_rate, alone_rate=rate, margin_ratio=policy.margin_ratio
            )
            for rate in self._alone_rates
        ]
        self._latency = judge_values.ValueEvidence(
            policy=policy,
            rules=judge_sizes.latency_rules(policy),
            history=history.latency if history else None,
            histories=history.latency_sizes if history else None,
        )
        self._extras = judge_extras.Extras(policy=policy, stable=stable is not None, history=history)
        self._extras_e_checked = 0.0
        self._weights = [policy.weight(name) for name in judge_keys.COUNTED]
        self._latency_weight = policy.weight(spec.GuardrailName.LATENCY)
        self._threshold = 1.0 / policy.alpha
        self._epochs: dict[int, evidence.RoutingEpoch] = {}
        self._current: tuple[int, ...] = ()
        self._latency_e_checked = 0.0
        self._alone_e_checked = 0.0
        self._departed = judge_keys.DepartedKeys()
        self._shed = 0
        self._censored = 0
        self._unrouted = 0
        self._failure: judge_report.Failure | None = None

    @property
    def failed(self) -> bool:
        """Whether the candidate must be taken back; cheap, to be asked after every attempt."""
        return self._failure is not None

    def begin_epochs(self, shares: Mapping[int, float]) -> None:
        """
        Announce a routing decision before the gateway is told; the same again (after a restart) does nothing.

        Args:
            shares: The candidate's configured share of first attempts, 0 to 1, in every population of the decision, by
                the epoch its attempts are logged with. At 0 nothing is compared, at 1 (or without a stable release)
                the candidate is judged alone. Populations are never compared with each other.

        Raises:
            InvariantError: a share is not one, or an epoch was begun with another share; nothing has begun then.
        """
        for epoch, share in shares.items():
            if not 0.0 <= share <= 1.0:
                raise errors.InvariantError(f"epoch {epoch} begins with a share of {share}, not between 0 and 1.")
            known = self._epochs.get(epoch)
            if known is not None and known.share != share:
                raise errors.InvariantError(f"epoch {epoch} began with a share of {known.share}, and now with {share}.")
        for epoch, share in shares.items():
            if epoch not in self._epochs:
                alone = share >= 1.0 or self._stable is None
                self._epochs[epoch] = evidence.RoutingEpoch(
                    share=share, prior=self._policy.rho_prior_attempts, alone=alone
                )
        self._current = tuple(sorted(shares))

    def observe(self, attempt: attempts.Attempt) -> None:
        """Take one line of the attempt log into account: exactly once each, in the order of the log."""
        firsts = self._firsts
        if attempt.started_at > firsts.due_at:
            for overdue in firsts.overdue(attempt.started_at):
                self._count(overdue)
        first = firsts.admit(attempt)
        if first is not None:
            self._count(first)

    def observe_pair(self, agrees: bool) -> None:  # noqa: FBT001  # an observation, not an option
        """Take two answers to the same request, stable's and the candidate's, into account."""
        self._extras.observe_pair(agrees=agrees)
        self._combine_extras()

    def observe_kill(self, from_candidate: bool) -> None:  # noqa: FBT001  # an observation, not an option
        """Take an out-of-memory kill of a process into account."""
        shares = [self._epochs[number].share for number in self._current]
        self._extras.observe_kill(from_candidate=from_candidate, rho=max(shares, default=0.0))
        self._combine_extras()

    def _count(self, attempt: attempts.Attempt) -> None:
        outcome = attempts.outcome(attempt)
        if outcome is attempts.Outcome.CENSORED:
            self._censored += 1
            return
        epoch = self._epochs.get(attempt.epoch)
        release = attempt.release
        # A line without a release reached no replica: it belongs to the arm its route had chosen.
        from_candidate = release == self._candidate or (not release and (attempt.composite or self._stable is None))
        if outcome is attempts.Outcome.SHED:
            self._shed += 1
            if epoch is not None and epoch.share > 0.0:
                alone = sum(found.candidate for found in self._epochs.values() if found.alone)
                self._extras.observe_shed(attempt.epoch, epoch, from_candidate=from_candidate, alone_trials=alone)
                self._combine_extras()
            return
        if epoch is None or epoch.share <= 0.0:
            self._unrouted += 1
            return
        bad = outcome is not attempts.Outcome.OK
        had = judge_keys.NO_EVENTS
        if attempt.key and self._policy.dedupe_keys:
            had = self._departed.counts(attempt.key)
        changed = False
        if bad:
            changed = self._count_event(_INDEX_OF_OUTCOME[outcome], epoch, from_candidate, attempt.key, had)
        if not bad or "UT" in attempt.flags:
            self._count_latency(epoch, from_candidate, attempt)
            # Evidence of latency moves with every attempt, but can complete a FAIL only above where it last failed to.
            latency = self._latency
            changed = changed or latency.relative_e > self._latency_e_checked or latency.alone_e > self._alone_e_checked
        extras = self._extras
        if (
            attempt.output
            or attempt.cpu_us is not None
            or attempt.memory_kib is not None
            or attempt.features_defaulted is not None
            or extras.sees_all
        ):
            extras.observe(attempt, epoch, from_candidate=from_candidate)
            changed = changed or (extras.decides and extras.e > self._extras_e_checked)
        epoch.count(from_candidate, had)
        if epoch.alone and from_candidate:
            for found, number in zip(self._evidence, had, strict=True):
                found.alone_count += not number
        if changed and self._failure is None:
            self._combine()

    def _combine_extras(self) -> None:
        if self._extras.decides and self._failure is None:
            self._combine()

    def _count_event(
        self,
        index: int,
        epoch: evidence.RoutingEpoch,
        from_candidate: bool,  # noqa: FBT001  # an observation, not an option
        key: str,
        had: tuple[int, ...],
    ) -> bool:
        found = self._evidence[index]
        if from_candidate:
            found.events_candidate += 1
        else:
            found.events_stable += 1
        number = had[index]
        if number >= judge_keys.STRATA:
            return False
        if key and self._policy.dedupe_keys:
            self._departed.leave(key, index)
        if not epoch.alone:
            found.compare(from_candidate, *epoch.rho(index, number))
        elif from_candidate and not number:
            found.alarm()
        return True

    def _count_latency(
        self,
        epoch: evidence.RoutingEpoch,
        from_candidate: bool,  # noqa: FBT001  # an observation, not an option
        attempt: attempts.Attempt,
    ) -> None:
        latency_us: float | None = attempt.latency_us
        if latency_us is None:
            if "UT" not in attempt.flags:
                return
            latency_us = math.inf
        size = judge_sizes.size_class(attempt.input_bytes)
        if epoch.alone:
            if from_candidate:
                self._latency.observe_alone(latency_us, size)
            return
        self._latency.observe(attempt.epoch, epoch, from_candidate, latency_us, size)
        if size == judge_sizes.UNSIZED:
            epoch.latency_total += 1
            epoch.latency_candidate += from_candidate

    def _e(self) -> float:
        alone = self._policy.alone_weight
        beside = 1.0 - alone
        total = 0.0
        for weight, found in zip(self._weights, self._evidence, strict=True):
            total += weight * (beside * found.relative_e + alone * found.alone_e)
        latency = self._latency
        total += self._latency_weight * (beside * latency.relative_e + alone * latency.alone_e)
        return total + self._extras.e if self._extras.decides else total

    def _combine(self) -> None:
        self._latency_e_checked = self._latency.relative_e
        self._alone_e_checked = self._latency.alone_e
        self._extras_e_checked = self._extras.e
        if self._e() < self._threshold:
            return
        reports = [
            found for found in self._guardrail_reports(evidence.trials(self._epochs.values())) if found.enforcing
        ]
        worst = max(reports, key=lambda report: report.log_e - report.log_threshold)
        self._failure = judge_report.Failure(
            guardrail=worst.name, decided_by=worst.decided_by, reason=f"{worst.name}: {worst.reason}"
        )

    def take_new_keys(self) -> list[judge_keys.DepartedKey]:
        """Keys whose first event was counted since the last call: to be saved together with `state`."""
        return self._departed.take_new()

    def state(self) -> dict[str, Any]:
        """Everything but the departed keys, as a small JSON-able object."""
        return {
            "policy": self._policy.to_json(),
            "stable": self._stable,
            "candidate": self._candidate,
            "alone_rates": self._alone_rates,
            "current": list(self._current),
            "epochs": [[number, epoch.state()] for number, epoch in self._epochs.items()],
            "evidence": [found.state() for found in self._evidence],
            "latency": self._latency.state(),
            "extras": self._extras.state(),
            "firsts": self._firsts.state(),
            "counts": [self._shed, self._censored, self._unrouted],
            "failure": None if self._failure is None else self._failure.to_json(),
        }

    @classmethod
    def restore(cls, state: Mapping[str, Any], keys: Iterable[judge_keys.DepartedKey]) -> Judge:
        """
        The judge that goes on, bit for bit, where the one that wrote `state` stood.

        Args:
            state: From `state()`, possibly through JSON.
            keys: All that `take_new_keys` ever gave for this rollout up to that state, in any order.
        """
        policy = judge_policy.JudgePolicy.from_json(state["policy"])
        judge = cls(policy=policy, stable=state["stable"], candidate=state["candidate"])
        judge._alone_rates = [float(rate) for rate in state["alone_rates"]]
        judge._evidence = []
        for rate, saved in zip(judge._alone_rates, state["evidence"], strict=True):
            found = evidence.CountEvidence(
                acceptable_rate=policy.acceptable_rate, alone_rate=rate, margin_ratio=policy.margin_ratio
            )
            found.load(saved)
            judge._evidence.append(found)
        judge._latency.load(state["latency"])
        if "extras" in state:  # later than the rest
            judge._extras.load(state["extras"])
        judge._firsts.load(state["firsts"])
        # States from before there were several populations name one epoch, or none.
        current = state.get("current", [state.get("epoch")])
        judge._current = tuple(int(number) for number in current if number is not None)
        judge._epochs = {int(number): evidence.RoutingEpoch.load(saved) for number, saved in state["epochs"]}
        judge._shed, judge._censored, judge._unrouted = (int(count) for count in state["counts"])
        if state["failure"] is not None:
            judge._failure = judge_report.Failure.from_json(state["failure"])
        judge._departed.load(keys)
        return judge

    def events_to_fail(self, rho: float) -> int:
        """
        How many failures of a fresh candidate in a row, none on stable, fail the errors guardrail; at most 1,000.

        Args:
            rho: The candidate's share; 1 asks the alarm that judges it alone.
        """
        weight = self._weights[0] or 1.0
        alone = rho >= 1.0 or self._stable is None
        part = self._policy.alone_weight if alone else 1.0 - self._policy.alone_weight
        return evidence.consecutive_events_to_fail(
            rho=rho,
            threshold=self._threshold / (weight * part) if part else math.inf,
            alone_rate=self._alone_rates[0] if alone else None,
            limit=_EVENTS_LIMIT,
        )

    def report(self) -> judge_report.JudgeReport:
        """What is known now; cheap enough to be asked twenty times a second."""
        trials = evidence.trials(self._epochs.values())
        current = evidence.trials(self._epochs[number] for number in self._current)
        return judge_report.summary(
            guardrails=self._guardrail_reports(trials),
            failure=self._failure,
            log_e=math.log(max(self._e(), sys.float_info.min)),
            log_threshold=math.log(self._threshold),
            tally=judge_report.Tally(
                trials_stable=trials[1],
                trials_candidate=trials[0],
                epoch=min(self._current, default=None),
                epoch_trials_stable=current[1],
                epoch_trials_candidate=current[0],
                repeats=self._firsts.repeats,
                held=self._firsts.held_count,
                shed=self._shed,
                censored=self._censored,
                ignored=self._firsts.ignored + self._unrouted,
            ),
        )

    def _guardrail_reports(self, trials: tuple[int, int]) -> tuple[judge_report.GuardrailReport, ...]:
        reports = []
        for name, found in zip(judge_keys.COUNTED, self._evidence, strict=True):
            reports.append(
                judge_report.guardrail(
                    name=name,
                    policy=self._policy,
                    trials=trials,
                    events=(found.events_candidate, found.events_stable),
                    log_e_relative=found.log_e_relative,
                    log_e_alone=found.log_e_alone,
                    promotion=found.promotion(trials[0]),
                    subject=None,
                    missing=None,
                )
            )
        reports.append(self._latency_report())
        reports += self._extras.reports(trials)
        order = {str(name): place for place, name in enumerate(judge_policy.GUARDRAILS)}
        return tuple(sorted(reports, key=lambda report: order.get(report.name, len(order))))

    def _latency_report(self) -> judge_report.GuardrailReport:
        latency = self._latency
        missing = None
        if not latency.can_judge:
            missing = judge_report.Missing.YARDSTICK if self._stable is None else judge_report.Missing.THRESHOLDS
        return judge_report.guardrail(
            name=spec.GuardrailName.LATENCY,
            policy=self._policy,
            trials=latency.trials,
            events=latency.events,
            log_e_relative=latency.log_e_relative,
            log_e_alone=latency.log_e_alone,
            promotion=latency.promotion(),
            subject=latency.subject,
            missing=missing,
        )
