"""Gaps: what a service file leaves out, and what that costs. Never an error: three lines are enough to launch."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

from softlaunch.core import spec


def named(found: spec.ServiceSpec) -> spec.ServiceSpec:
    """The same spec with its gaps filled in."""
    return dataclasses.replace(found, gaps=tuple(_of_service(found)))


def _of_service(found: spec.ServiceSpec) -> Iterator[str]:
    tests = found.tests if found.tests is not None else spec.TestsSpec()
    if found.model.source is spec.ModelSource.NONE:
        for environment in found.environments:
            yield from _of_environment(environment)
        return
    if found.model.source in (spec.ModelSource.APP, spec.ModelSource.COMMAND):
        yield from _of_app(found, tests)
        return
    if tests.command is None:
        yield "No tests.command: nothing runs your code before users do."
    elif tests.coverage_percent_min is None:
        yield "No tests.coverage_percent_min: tests that test nothing pass too."
    if tests.quality is None:
        yield "No tests.quality (holdout, label, metrics): a model that predicts badly but answers quickly is promoted."
    if tests.latency_ms_p99_max is None:
        yield "No tests.latency_ms_p99_max: a model that became slow is found by users' traffic, not by the build."
    if found.reference is None:
        yield (
            "No reference: inputs are not profiled, compiled models cannot be compared on your rows, "
            "and there are no rows to make smoke requests from."
        )
    for environment in found.environments:
        yield from _of_environment(environment)
        if spec.GuardrailName.FEATURES in environment.strategy.guardrails and not found.lookups:
            yield f"No features are looked up: the guardrail features of {environment.name} judges nothing."


def _of_app(found: spec.ServiceSpec, tests: spec.TestsSpec) -> Iterator[str]:
    if tests.command is None:
        yield "No tests.command: nothing runs your code before users do."
    if not found.model.ready_path:
        yield "No model.ready: it takes requests as soon as it has started, and nothing asks it whether it can."
    if not found.model.answers:
        yield "No model.answers: whatever it answers with 2xx is good, NaN and nonsense too."
    for environment in found.environments:
        if not environment.predict_paths:
            yield (
                f"No predict_paths in {environment.name}: nothing is known to be repeatable, so no request is tried "
                "again on the other release, copied to a shadow, or recorded."
            )
        yield from _of_environment(environment)


def _of_environment(environment: spec.EnvironmentSpec) -> Iterator[str]:
    name = f"environments.{environment.name}"
    if environment.branch is None:
        yield f"No {name}.branch: any commit may be deployed there."
    if environment.verify is not None:
        return
    if environment.after is None:
        yield f"No {name}.after: a release enters it without having passed another environment first."
    if environment.fallback_body is None and not environment.fallbacks:
        yield f"No {name}.fallback: when every replica fails, users get an error."
    if "/*" in environment.predict_paths:
        yield f"{name}.predict_paths holds /*: every request may be repeated, also one that changes something."
    yield from _of_strategy(environment, name)
    if _asks_people(environment.strategy) and not environment.notify:
        yield f"No notify for {name}: nobody is told that its launch waits for a person."


def _of_strategy(environment: spec.EnvironmentSpec, name: str) -> Iterator[str]:
    strategy = environment.strategy
    if strategy.kind is spec.StrategyKind.RECREATE:
        yield (
            f"{name} is recreated: while the new release loads users get the fallback or an error, "
            "and there is no old release beside it to compare with."
        )
        return
    if strategy.key_header is None:
        yield f"No strategy key in {name}: clients that keep no cookies may meet both releases in turn."
    if strategy.holdback_percent == 0:
        yield f"No holdback in {name}: after the last step nothing is left to compare the new release with."
    for step in strategy.steps:
        # A holdback stays in every cohort as well.
        if step.kind is spec.StepKind.COHORT and step.weight == spec.WEIGHT_FULL and not strategy.holdback_percent:
            yield f"No control for the cohort {step.cohort} of {name}: with a share of 100% nobody of it stays behind."
    shadowed = any(step.kind is spec.StepKind.SHADOW for step in strategy.steps)
    if spec.GuardrailName.DISAGREEMENT in strategy.guardrails and not shadowed:
        yield f"No shadow step in {name}: the guardrail disagreement has no pair of answers to compare in a launch."


def _asks_people(strategy: spec.StrategySpec) -> bool:
    return (
        any(step.kind is spec.StepKind.APPROVAL for step in strategy.steps)
        or strategy.on_deadline is spec.DeadlinePolicy.ASK
        or strategy.on_failure is spec.FailurePolicy.FREEZE
    )
