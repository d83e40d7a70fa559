"""
One run from a commit to users: build, then every environment on the way, each with the same digest.

The run decides nothing that is not written down elsewhere too: what was built stands in caches by its inputs, what was
launched in the control plane. So a run that was killed is repeated from the start, finds everything that was finished,
and does the rest. What a launch means, and what may be launched, is the control plane's decision alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Callable
from typing import Protocol

from softlaunch import errors
from softlaunch.controller.pipeline import own_code, run_record, workshop
from softlaunch.core import release, spec
from softlaunch.ports import clock, source

PROMOTED, UNCHANGED, ROLLED_BACK, ABORTED = "promoted", "unchanged", "rolled_back", "aborted"
GATES_FAILED, REFUSED, UNAVAILABLE = "gates_failed", "refused", "unavailable"
GATES = frozenset(
    {
        errors.Code.TESTS_FAILED,
        errors.Code.TESTS_TIMEOUT,
        errors.Code.COVERAGE_LOW,
        errors.Code.COVERAGE_UNMEASURED,
        errors.Code.QUALITY_UNMET,
        errors.Code.QUALITY_UNDEFINED,
        errors.Code.LATENCY_UNMET,
        errors.Code.PICKLE_DANGEROUS,
    }
)
"""Errors that are answers: the commit is not good enough."""
BUILD_STEPS = ("environment", "model", "tests", *own_code.STEPS_LEFT_OUT)
"""What a build that was made before does not do again, in order."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Launch:
    """What the control plane is asked for."""

    service: str
    environment: spec.EnvironmentSpec
    release: release.Digest
    ref: str
    commit: str
    by: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """How a rollout ended, or that it was promoted and is watched."""

    outcome: str
    reason: str


class Launches(Protocol):
    """The control plane, as a run needs it."""

    def passed(self, service: str, environment: str, digest: release.Digest) -> bool:
        """Whether a rollout of the release into that environment has ended well."""
        ...

    def begin(self, launch: Launch) -> int | None:
        """Number of the rollout that brings the release; None: it is live there already."""
        ...

    def watch(self, number: int, *, to_the_end: bool) -> Seen:
        """Returns when the rollout is decided, or has ended."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    digest: release.Digest
    reused: bool


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """One commit for one environment."""

    service: spec.ServiceSpec
    environment: spec.EnvironmentSpec
    commit: source.Commit
    ref: str
    by: str
    dirty: tuple[str, ...] = ()

    @property
    def path(self) -> tuple[spec.EnvironmentSpec, ...]:
        """The environments the release goes through, the target last."""
        path = [self.environment]
        while path[0].after is not None:
            before = self.service.environment(path[0].after)
            assert before is not None, "the parser checked `after`"
            path.insert(0, before)
        return tuple(path)


Build = Callable[[workshop.Progress, pathlib.Path], Made]
"""Makes the release, or finds it; the directory is where logs and reports are put."""
Push = Callable[[workshop.Progress, release.Digest], None]
"""Sends the release and what is attached to it where the service's `registry:` says."""


def ship(
    order: Order,
    runs: run_record.Runs,
    launches: Launches,
    *,
    build: Build,
    push: Push | None = None,
    clock: clock.Clock,
    show: workshop.Progress = workshop.silent,
) -> run_record.RunRecord:
    """
    Brings a commit into an environment and returns the stored record; a commit whose run was killed goes on in it.

    Raises:
        ConflictError: another run ships there; nothing was done.
        SoftlaunchError: what refused the release, unless a gate did; the record says where. The environment is as
            before.
    """
    with runs.held(order.service.service, order.environment.name):
        return _Run(order, runs, launches, build=build, push=push, clock=clock, show=show).run()


class _Run:
    def __init__(
        self,
        order: Order,
        runs: run_record.Runs,
        launches: Launches,
        *,
        build: Build,
        push: Push | None,
        clock: clock.Clock,
        show: workshop.Progress,
    ) -> None:
        self._order, self._runs, self._launches = order, runs, launches
        self._build, self._push, self._clock, self._show = build, push, clock, show
        self._began = clock.now()
        self._record = self._first()
        self._directory = runs.directory(self._record.service, self._record.environment, self._record.run)

    def run(self) -> run_record.RunRecord:
        try:
            made = self._build(self._progress, self._directory)
            if made.reused:
                self._add_reused()
            self._put(release=made.digest.value)
            if self._push is not None:
                self._push(self._progress, made.digest)
            for environment in self._order.path:
                target = environment is self._order.environment
                seen = self._into(environment, made.digest, target=target)
                if target or seen.outcome not in (PROMOTED, UNCHANGED):
                    return self._end(seen.outcome, seen.reason)
        except errors.SoftlaunchError as error:
            if error.code in GATES:
                return self._end(GATES_FAILED, error.message)
            with contextlib.suppress(errors.UnavailableError):  # the disk is full: the first error is the one to tell
                refused = isinstance(error, errors.ConfigError | errors.ConflictError)
                self._end(REFUSED if refused else UNAVAILABLE, error.message)
            if error.code is errors.Code.PINNED:  # a race between who took it back and who ships it
                raise errors.ConflictError(error.message, remedy=error.remedy, code=error.code) from error
            raise
        raise errors.InvariantError("A path of environments does not end with its target.")

    def _into(self, environment: spec.EnvironmentSpec, digest: release.Digest, *, target: bool) -> Seen:
        service, name = self._order.service.service, environment.name
        held = contextlib.nullcontext() if target else self._runs.held(service, name)
        if not target and self._launches.passed(service, name, digest):
            with workshop.step(self._progress, f"launch {name}") as step:
                step.detail, step.cached = f"{digest.short} passed it before", True
            return Seen(outcome=UNCHANGED, reason="It passed before.")
        with held:
            number = dict(self._record.rollouts).get(name)  # a run that was killed goes on watching what it began
            with workshop.step(self._progress, f"launch {name}") as step:
                step.cached = number is not None
                if number is None:
                    number = self._launches.begin(self._launch(environment, digest))
                step.detail = f"rollout {number} of {digest.short}" if number is not None else "already live"
            if number is None:
                return Seen(outcome=UNCHANGED, reason=f"{digest.short} is already live in {name}.")
            self._put(rollouts=(*(each for each in self._record.rollouts if each[0] != name), (name, number)))
            with workshop.step(self._progress, f"watch {name}") as step:
                seen = self._launches.watch(number, to_the_end=not target)
                step.detail = f"{seen.outcome.replace('_', ' ')}: {seen.reason}"
            return seen

    def _launch(self, environment: spec.EnvironmentSpec, digest: release.Digest) -> Launch:
        order = self._order
        return Launch(
            service=order.service.service,
            environment=environment,
            release=digest,
            ref=order.ref,
            commit=order.commit.id,
            by=order.by,
        )

    def _first(self) -> run_record.RunRecord:
        """The last run when it was killed with the same commit, else a new one."""
        order = self._order
        last = next(iter(self._runs.every(order.service.service, order.environment.name)), None)
        if last is not None and not last.outcome and last.commit == order.commit.id:
            return dataclasses.replace(last, steps=(), dirty=order.dirty)
        return self._runs.begin(
            run_record.RunRecord(
                run=0,
                service=order.service.service,
                environment=order.environment.name,
                commit=order.commit.id,
                ref=order.ref,
                by=order.by,
                started_at=self._clock.now(),
                dirty=order.dirty,
            )
        )

    def _progress(self, name: str, state: str, detail: str) -> None:
        now = self._clock.now()
        if state == workshop.StepState.STARTED:
            self._began = now
        cached = state == workshop.StepState.CACHED
        step = run_record.StepRecord(
            name=name,
            state=workshop.StepState.DONE.value if cached else str(state),
            seconds=round(now - self._began, 3),
            detail=detail,
            cached=cached,
        )
        self._put(steps=(*(each for each in self._record.steps if each.name != name), step))
        if state != workshop.StepState.STARTED:
            self._log(step)
        self._show(name, state, detail)

    def _add_reused(self) -> None:
        """Steps that a build found done, in their place."""
        there = {each.name for each in self._record.steps}
        found = [
            run_record.StepRecord(name=name, state="done", detail="the same inputs as before", cached=True)
            for name in BUILD_STEPS
            if name not in there
        ]
        first, *rest = self._record.steps
        self._put(steps=(first, *found, *rest))

    def _log(self, step: run_record.StepRecord) -> None:
        name = re.sub(r"[^a-z0-9-]+", "-", step.name)
        line = (
            f"{step.name}: {step.state}{' (cached)' if step.cached else ''} after {step.seconds:.3f} s. {step.detail}"
        )
        with (
            contextlib.suppress(OSError),  # of a log only; run.json has the same
            (self._directory / f"{name}.log").open("a", encoding="utf-8") as sink,
        ):
            sink.write(line.rstrip() + "\n")

    def _put(self, **changes: object) -> None:
        self._record = dataclasses.replace(self._record, **changes)  # type: ignore[arg-type]  # names of its fields
        self._runs.save(self._record)

    def _end(self, outcome: str, reason: str) -> run_record.RunRecord:
        self._put(outcome=outcome, reason=reason, finished_at=self._clock.now())
        return self._record
