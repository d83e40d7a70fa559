"""
What next? Scores a service against the five mistakes and says which single step is worth its effort now.

    deploying by hand, switching without a strategy, no automatic way back, no load test, no monitoring

Pure: facts go in, scores come out, with the arithmetic that led there. A step is worth what it takes away from the
worst mistake; it is not worth it where the service is too small for it to say anything in time. How many attempts a
decision takes is computed with the judge's own e-processes, not looked up.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from softlaunch.core import spec
from softlaunch.core.rollout import judge_policy
from softlaunch.core.stats import absolute

LINES_MAX = 25
_DAY = 86_400.0
_PATIENCE_DAYS = 7.0
"""A launch that takes longer than this is in the way of the next one; a guess."""
_ATTEMPTS_LIMIT = 1_000_000


class Mistake(enum.StrEnum):
    BY_HAND = "deploying by hand"
    NO_STRATEGY = "switching without a strategy"
    NO_WAY_BACK = "no automatic way back"
    NO_LOAD_TEST = "no load test"
    NO_MONITORING = "no monitoring"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a service; what is not known is not assumed to be there."""

    service: spec.ServiceSpec
    environment: spec.EnvironmentSpec
    """The one with the users."""
    launch_count: int = 0
    """Rollouts there so far."""
    rolled_back_count: int = 0
    drill_count: int = 0
    requests_per_day: float | None = None
    """None: nothing was measured yet."""
    has_labels: bool = False
    """The truth about predictions comes back later."""
    has_alerts: bool = False


@dataclasses.dataclass(frozen=True, kw_only=True)
class Score:
    mistake: Mistake
    points: int
    """0 is the mistake in full, 10 its absence."""
    reason: str
    """What of it is there, and what is missing."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Step:
    """Something to do, or not to do."""

    title: str
    worth: bool
    arithmetic: str
    mistake: Mistake
    gain: int
    """Points."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Advice:
    scores: tuple[Score, ...]
    next_step: Step | None
    """The one that is worth its effort now; None: nothing is left that would be."""
    not_now: tuple[Step, ...]
    """Steps people would suggest and a service of this size does not need."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return dataclasses.asdict(self)


def advise(facts: Facts) -> Advice:
    """Scores and the step to take."""
    scores = tuple(scored(facts) for scored in _SCORED)
    points = {score.mistake: score.points for score in scores}
    steps = [step for proposed in _PROPOSED if (step := proposed(facts)) is not None]
    worth = [step for step in steps if step.worth]
    # Launching once comes before everything; then the worst mistake, and of steps against it the larger gain.
    first = _begin(facts)
    chosen = first or min(worth, key=lambda step: (points[step.mistake], -step.gain), default=None)
    return Advice(scores=scores, next_step=chosen, not_now=tuple(step for step in steps if not step.worth))


def lines(facts: Facts, advice: Advice) -> list[str]:
    """The advice for people, at most LINES_MAX lines."""
    traffic = "traffic unknown" if facts.requests_per_day is None else f"{facts.requests_per_day:,.0f} requests a day"
    name = f"{facts.service.service} in {facts.environment.name}"
    found = [f"{name}: {traffic}, {facts.launch_count} launches, {facts.rolled_back_count} taken back.", ""]
    width = max(len(score.mistake.value) for score in advice.scores)
    found += [f"{score.mistake.value:<{width}}  {score.points:>2}/10  {score.reason}" for score in advice.scores]
    found.append("")
    if advice.next_step is None:
        found.append("Next: nothing that is worth its effort now.")
    else:
        found += [f"Next: {advice.next_step.title}", f"  {advice.next_step.arithmetic}"]
    if advice.not_now:
        found += ["", "Not now:"]
        found += [f"  {step.title}: {step.arithmetic}" for step in advice.not_now]
    return found[:LINES_MAX]


@functools.cache
def attempts_to_pass(acceptable_rate: float, beta: float) -> int:
    """
    Good answers in a row, none bad, after which the judge says that a release is good enough.

    Source:
        The process of judge promotions: core.stats.absolute.below at the acceptable rate, until 1/beta.
    """
    process = absolute.below(acceptable_rate)
    return _first(lambda count: process.log_e(bad=0, count=count) >= -math.log(beta))


@functools.cache
def attempts_to_fail(bad_rate: float, acceptable_rate: float, alpha: float) -> int:
    """
    Attempts of a release that fails this often, after which its errors alone take it back; of an average course.

    Source:
        core.stats.absolute.above at the acceptable rate, with the errors guardrail's share of alpha.
    """
    policy = judge_policy.JudgePolicy(alpha=alpha, acceptable_rate=acceptable_rate)
    needed = -math.log(alpha * policy.weight(spec.GuardrailName.ERRORS))
    process = absolute.above(acceptable_rate)
    return _first(lambda count: process.log_e(bad=round(bad_rate * count), count=count) >= needed)


def _first(enough: Callable[[int], bool]) -> int:
    """The smallest count that is enough, found by doubling and halving; at most _ATTEMPTS_LIMIT."""
    high = 1
    while high < _ATTEMPTS_LIMIT and not enough(high):
        high *= 2
    low = high // 2
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return min(high, _ATTEMPTS_LIMIT)


# ---------------------------------------------------------------------------------------------------------- scores


def _by_hand(facts: Facts) -> Score:
    tests = facts.service.tests
    found = [
        (4, facts.launch_count > 0, "launches go through softlaunch", "nothing was launched with softlaunch yet"),
        (3, tests is not None and tests.command is not None, "tests run before each", "no tests.command"),
        (
            3,
            facts.environment.branch is not None or facts.environment.after is not None,
            "where from is fixed",
            "any commit may enter",
        ),
    ]
    return _score(Mistake.BY_HAND, found)


def _no_strategy(facts: Facts) -> Score:
    strategy = facts.environment.strategy
    first = strategy.steps[0]
    found = [
        (
            4,
            strategy.kind is not spec.StrategyKind.RECREATE,
            "both releases run side by side",
            "the old release ends first",
        ),
        (4, len(strategy.steps) > 1, f"{len(strategy.steps)} steps", "one step for all users"),
        (
            2,
            first.kind is not spec.StepKind.SHARE or first.weight <= 1_000,
            "few users come first",
            "the first step is large",
        ),
    ]
    return _score(Mistake.NO_STRATEGY, found)


def _no_way_back(facts: Facts) -> Score:
    strategy, environment = facts.environment.strategy, facts.environment
    fallback = bool(environment.fallbacks) or environment.fallback_body is not None
    found = [
        (
            5,
            strategy.on_failure is spec.FailurePolicy.ROLL_BACK,
            "a broken guardrail goes back",
            "a broken guardrail only asks",
        ),
        (
            2,
            strategy.watch_seconds > 0 and strategy.holdback_percent > 0,
            "watched after promotion",
            "not compared after promotion",
        ),
        (1, fallback, "a fallback answers", "no fallback"),
        (2, facts.drill_count > 0, "the net was drilled", "never drilled"),
    ]
    return _score(Mistake.NO_WAY_BACK, found)


def _no_load_test(facts: Facts) -> Score:
    tests, strategy = facts.service.tests, facts.environment.strategy
    rehearsed = facts.environment.replay is not None or any(
        step.kind is spec.StepKind.SHADOW for step in strategy.steps
    )
    found = [
        (
            5,
            tests is not None and tests.latency_ms_p99_max is not None,
            "latency is tested in the build",
            "no tests.latency_ms_p99_max",
        ),
        (5, rehearsed, "real requests are rehearsed", "no shadow step and no replay"),
    ]
    return _score(Mistake.NO_LOAD_TEST, found)


def _no_monitoring(facts: Facts) -> Score:
    quality = facts.service.tests is not None and facts.service.tests.quality is not None
    found = [
        (3, facts.environment.capture is not None, "predictions are recorded", "predictions are not recorded"),
        (3, facts.has_alerts or bool(facts.environment.notify), "somebody is told", "nobody is told (notify)"),
        (2, quality, "quality is gated", "no tests.quality"),
        (2, facts.has_labels, "labels come back", "no labels come back"),
    ]
    return _score(Mistake.NO_MONITORING, found)


def _score(mistake: Mistake, found: list[tuple[int, bool, str, str]]) -> Score:
    missing = [lack for _, there, _, lack in found if not there]
    present = [have for _, there, have, _ in found if there]
    reason = f"missing: {'; '.join(missing)}" if missing else "; ".join(present)
    return Score(mistake=mistake, points=sum(worth for worth, there, _, _ in found if there), reason=reason)


_SCORED = (_by_hand, _no_strategy, _no_way_back, _no_load_test, _no_monitoring)


# ----------------------------------------------------------------------------------------------------------- steps


def _begin(facts: Facts) -> Step | None:
    if facts.launch_count:
        return None
    return Step(
        title="launch once with `softlaunch deploy`",
        worth=True,
        arithmetic="One command, and every later launch can be compared with this one and taken back to it.",
        mistake=Mistake.BY_HAND,
        gain=4,
    )


def _tests(facts: Facts) -> Step | None:
    if facts.service.tests is not None and facts.service.tests.command is not None:
        return None
    return Step(
        title="give tests.command in softlaunch.yaml",
        worth=True,
        arithmetic="One line; a mistake found in the build costs no user anything.",
        mistake=Mistake.BY_HAND,
        gain=3,
    )


def _canary(facts: Facts) -> Step | None:
    """A small first share, or a smaller one: worth it when its evidence comes in time."""
    strategy = facts.environment.strategy
    share = 0.01
    shares = [step.weight for step in strategy.steps if step.kind is spec.StepKind.SHARE]
    if shares[0] <= share * spec.WEIGHT_FULL:
        return None
    needed = _needed(facts)
    if facts.requests_per_day is None:
        return None
    days = needed / max(facts.requests_per_day * share, 1e-9)
    worth = days <= _PATIENCE_DAYS
    arithmetic = (
        f"{needed:,} answers of the candidate decide (judge, acceptable {strategy.acceptable_percent:g} %); at 1 % of "
        f"{facts.requests_per_day:,.0f} requests a day that takes {_span(days)}"
    )
    return Step(
        title="begin with a canary of 1 %",
        worth=worth,
        arithmetic=arithmetic + ("." if worth else f"; a broken release is seen after {_span(_seen(facts, share))}."),
        mistake=Mistake.NO_STRATEGY,
        gain=2 if len(shares) > 1 else 6,
    )


def _steps(facts: Facts) -> Step | None:
    if len(facts.environment.strategy.steps) > 1 or facts.requests_per_day is None:
        return None
    needed = _needed(facts)
    days = needed / max(facts.requests_per_day * 0.5, 1e-9)
    return Step(
        title="put a step of 50 % before all users",
        worth=days <= _PATIENCE_DAYS,
        arithmetic=f"{needed:,} answers of the candidate decide; at 50 % that takes {_span(days)}.",
        mistake=Mistake.NO_STRATEGY,
        gain=4,
    )


def _rehearse(facts: Facts) -> Step | None:
    """Shadow and replay need no user: every request says something, and recorded ones can be sent again and again."""
    strategy = facts.environment.strategy
    if facts.environment.replay is not None or any(step.kind is spec.StepKind.SHADOW for step in strategy.steps):
        return None
    needed = _needed(facts)
    if facts.requests_per_day is None:
        arithmetic = f"{needed:,} answers decide, and every request of a shadow is one, without a user seeing it."
    else:
        days = needed / max(facts.requests_per_day, 1e-9)
        arithmetic = (
            f"{needed:,} answers decide, and every request is one: {_span(days)} of traffic instead of "
            f"{_span(days * 100)} at 1 %, and no user sees them."
        )
        if days > _PATIENCE_DAYS:
            arithmetic = arithmetic.removesuffix(".") + "; replay what was recorded instead of waiting."
    return Step(
        title="add a shadow step, or `softlaunch replay` before launches",
        worth=True,
        arithmetic=arithmetic,
        mistake=Mistake.NO_LOAD_TEST,
        gain=5,
    )


def _latency(facts: Facts) -> Step | None:
    if facts.service.tests is not None and facts.service.tests.latency_ms_p99_max is not None:
        return None
    busy = facts.requests_per_day is not None and facts.requests_per_day >= _DAY / 10
    per_second = "" if facts.requests_per_day is None else f"{facts.requests_per_day / _DAY:.2g} requests a second: "
    return Step(
        title="give tests.latency_ms_p99_max",
        worth=busy or facts.requests_per_day is None,
        arithmetic=per_second
        + (
            "slowness is found by the build and not by users."
            if busy or not per_second
            else "one replica idles, whatever it does."
        ),
        mistake=Mistake.NO_LOAD_TEST,
        gain=5,
    )


def _drill(facts: Facts) -> Step | None:
    if facts.drill_count:
        return None
    if facts.requests_per_day is None or not facts.launch_count:
        return None
    policy = facts.environment.strategy
    needed = attempts_to_fail(1.0, policy.acceptable_percent / 100, policy.alpha)
    days = needed / max(facts.requests_per_day * 0.1, 1e-9)
    return Step(
        title="drill the way back once: `softlaunch drill errors_5xx`",
        worth=days <= 1.0,
        arithmetic=f"about {needed} failed attempts take a release back: {_span(days)} at 10 % of the traffic.",
        mistake=Mistake.NO_WAY_BACK,
        gain=2,
    )


def _notify(facts: Facts) -> Step | None:
    if facts.has_alerts or facts.environment.notify:
        return None
    return Step(
        title="give notify: where you are told of holds and rollbacks",
        worth=True,
        arithmetic="One line; a rollout that waits for somebody waits until somebody looks.",
        mistake=Mistake.NO_MONITORING,
        gain=3,
    )


def _labels(facts: Facts) -> Step | None:
    if facts.has_labels or facts.requests_per_day is None:
        return None
    # Two proportions that differ by two points around 90 %, at 5 % and a power of 80 %: 2 * 0.09 * (2.8 / 0.02)^2.
    needed = round(2 * 0.9 * 0.1 * (2.8 / 0.02) ** 2)
    days = needed / max(facts.requests_per_day, 1e-9)
    return Step(
        title="join labels to predictions, to see accuracy itself",
        worth=days <= 30.0,
        arithmetic=f"two points of accuracy show after some {needed:,} labels: {_span(days)} of traffic.",
        mistake=Mistake.NO_MONITORING,
        gain=2,
    )


_PROPOSED = (_tests, _canary, _steps, _rehearse, _latency, _drill, _notify, _labels)


def _needed(facts: Facts) -> int:
    strategy = facts.environment.strategy
    return attempts_to_pass(strategy.acceptable_percent / 100, strategy.beta)


def _seen(facts: Facts, share: float) -> float:
    """Days until a release that fails every second request is taken back."""
    strategy = facts.environment.strategy
    needed = attempts_to_fail(0.5, strategy.acceptable_percent / 100, strategy.alpha)
    return needed / max((facts.requests_per_day or 0.0) * share, 1e-9)


def _span(days: float) -> str:
    for size, unit in ((365.0, "years"), (30.0, "months"), (1.0, "days"), (1 / 24, "hours"), (1 / 1_440, "minutes")):
        if days >= 2 * size:
            return f"{min(days / size, 1e6):,.0f} {unit}"
    return f"{days * _DAY:.0f} s"


# ----------------------------------------------------------------------------------------------------------- facts


def facts(service: spec.ServiceSpec, environment: spec.EnvironmentSpec, rollouts: Sequence[Mapping[str, Any]]) -> Facts:
    """
    What rollouts of the environment and the service's file tell.

    Args:
        service: As softlaunch.yaml says now.
        environment: The one with the users.
        rollouts: Views of its rollouts (controller.views.rollout).
    """
    launches = [view for view in rollouts if not view.get("drill")]
    spans = [
        (view["measured"]["candidate_attempts"] + view["measured"]["stable_attempts"], view["finished_at"] - began)
        for view in launches
        if view["finished_at"] is not None and (began := view["created_at"]) and "stable_attempts" in view["measured"]
    ]
    seconds = sum(span for count, span in spans if count)
    counted = sum(count for count, _ in spans)
    return Facts(
        service=service,
        environment=environment,
        launch_count=len(launches),
        rolled_back_count=sum(view["outcome"] == "rolled_back" for view in launches),
        drill_count=len(rollouts) - len(launches),
        requests_per_day=counted / seconds * _DAY if seconds > 0 else None,
    )
