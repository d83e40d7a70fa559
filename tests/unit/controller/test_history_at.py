"""`history --at` against a diary kept beside: ten thousand random events in eight places."""

from __future__ import annotations

import bisect
import random
from typing import Any

import pytest

from softlaunch import errors
from softlaunch.controller import desired, history
from softlaunch.core import release, spec, verify_specs
from softlaunch.core.rollout import messages, phases
from softlaunch.ports import store

EVENT_COUNT = 10_000
SERVICES = ("a", "b", "c", "d")
CANARY = spec.EnvironmentSpec(
    name="production",
    strategy=spec.StrategySpec(
        kind=spec.StrategyKind.CANARY, steps=spec.shares(1_000, 5_000, 10_000), watch_seconds=5.0, key_header="x-user"
    ),
)
RECREATED = spec.EnvironmentSpec(
    name="integration",
    verify=verify_specs.VerifySpec(),
    strategy=spec.StrategySpec(kind=spec.StrategyKind.RECREATE, steps=spec.shares(10_000), watch_seconds=0.0),
)
Place = tuple[str, str]


class Diary:
    """What was so after each event, whole, as nobody would keep it."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.pages: list[dict[Place, tuple[Any, ...]]] = []

    def write(self, world: Any) -> None:
        book = world.loop.ledger
        page = {}
        for place, live in book.lives.items():
            running = book.rollouts.get(place)
            page[place] = (
                live.stable and live.stable.value,
                running.id if running else None,
                shares(live, running) if running else None,
            )
        self.times.append(world.clock.now())
        self.pages.append(page)

    def read(self, moment: float) -> dict[Place, tuple[Any, ...]]:
        return self.pages[bisect.bisect_right(self.times, moment) - 1]


def shares(live: store.LiveRecord, running: store.RolloutRecord) -> dict[str, float]:
    """By the routes the gateway is to believe, not by the rollout's own idea."""
    routing = desired.routing(live, running)
    runs = desired.replicas([live], {(live.service, live.environment): running}, now=live.warm_until + 1)
    alive = {found.release for found in runs.values()}
    found: dict[str, float] = {}
    candidate = routing.candidate_weight / 100
    for digest, share in ((running.candidate, candidate), (routing.stable, 100 - candidate)):
        if (
            digest is not None
            and share
            and digest in alive
            and (digest != running.candidate or share == 100 or candidate)
        ):
            found[digest.value] = found.get(digest.value, 0.0) + share
    return found


def happening(chance: random.Random, record: store.RolloutRecord) -> messages.Event:
    """Something that may happen to a rollout now, likely things more often."""
    ready: list[messages.Event] = [
        messages.CandidateReady(),
        messages.VerifyPassed(detail="20 of 20."),
        messages.StableStopped(),
    ]
    judged: list[messages.Event] = [
        messages.Judged(verdict=verdict, reason="So it is.", step_attempts=chance.choice((10, 10_000)))
        for verdict in messages.Verdict
    ]
    asked: list[messages.Event] = [
        messages.PauseAsked(by="ann"),
        messages.ResumeAsked(by="ann"),
        messages.PromoteAsked(by="bob", full=chance.random() < 0.5),
        messages.ApproveAsked(by="bob"),
        messages.AbortAsked(by="ann", reason="no"),
        messages.ReplaceAsked(by="ann", release="abc"),
    ]
    troubles: list[messages.Event] = [
        messages.CandidateFailed(reason="It ended."),
        messages.VerifyFailed(reason="3 of 20."),
        messages.EvidenceLost(reason="lines"),
        messages.Ejected(),
        messages.Readmitted(),
        messages.GatewayRefused(reason="no"),
        messages.GatewayAccepted(),
        messages.OutageSeen(reason="both"),
        messages.OutageOver(),
    ]
    kinds = (ready, judged, [messages.Ticked()], asked, troubles)
    weights = (4, 3, 4, 1, 0.3) if record.state.phase is not phases.Phase.PREPARING else (8, 0, 1, 0.3, 0.1)
    return chance.choice(chance.choices(kinds, weights)[0])


@pytest.mark.slow
def test_history_at_is_exact_over_ten_thousand_random_events(world) -> None:
    chance = random.Random(20261123)
    releases = [world.release(f"r{number}") for number in range(6)]
    diary = Diary()
    while len(diary.times) % 500 or len(world.store.events(limit=2 * EVENT_COUNT)) < EVENT_COUNT:
        world.clock.advance(chance.choice((0.0, 0.001, 0.5, 3.0, 7.0)))
        service, environment = chance.choice(SERVICES), chance.choice((CANARY, RECREATED))
        running = world.loop.ledger.rollouts.get((service, environment.name))
        with world.loop.lock:
            if running is None:
                deploy(world, releases, chance, (service, environment))
            else:
                world.loop.advance(running, happening(chance, running))
                world.loop.flush()
        diary.write(world)

    now, begin = world.clock.now(), diary.times[0]
    asked = [chance.uniform(begin, now) for _ in range(60)] + chance.choices(diary.times, k=60)
    outcomes = set()
    for moment in asked:
        wanted = diary.read(moment)
        found = {(each.service, each.environment): each for each in history.at(world.store, moment, now=now)}
        assert wanted.keys() == found.keys()
        for place, (stable, number, serves) in wanted.items():
            each = found[place]
            assert stable == (each.live.release if each.live else None), (place, moment)
            assert number == (each.entering.rollout if each.entering else None), (place, moment)
            if serves is not None:
                assert serves == dict(each.serves), (place, moment)
            if each.entering and each.entering.outcome:
                outcomes.add(each.entering.outcome)
                record = world.store.rollout(each.entering.rollout)
                assert record.state.phase.value == each.entering.outcome
                assert record.finished_at == each.entering.ended_at
    assert {"promoted", "rolled_back", "aborted"} == outcomes


def deploy(
    world: Any, releases: list[release.Digest], chance: random.Random, place: tuple[str, spec.EnvironmentSpec]
) -> None:
    """Any release; a new one where that is pinned."""
    service, environment = place
    try:
        world.deploy(chance.choice(releases), environment, service=service)
    except errors.ConfigError:
        releases.append(world.release(f"r{len(releases)}"))
        world.deploy(releases[-1], environment, service=service)


def test_a_moment_to_come_has_no_history(world) -> None:
    with pytest.raises(errors.ConfigError, match="nothing has happened yet"):
        history.at(world.store, world.clock.now() + 5.0, now=world.clock.now())
