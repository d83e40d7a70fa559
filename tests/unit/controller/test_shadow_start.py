"""The first pairs of a shadow, made while its routes come into effect."""

from __future__ import annotations

import pathlib

from softlaunch.core import spec, spool
from softlaunch.core.rollout import traffic
from softlaunch.testing import gateway, simulator

SHADOW = spec.EnvironmentSpec(
    name="production",
    strategy=spec.StrategySpec(
        kind=spec.StrategyKind.CANARY,
        steps=(spec.StepSpec(kind=spec.StepKind.SHADOW, weight=10_000, attempts_min=100), *spec.shares(10_000)),
        watch_seconds=5.0,
    ),
)


class BusyGateway(gateway.InMemoryGateway):
    """Copies requests from the moment it believes a shadow's routes: before `apply` returns."""

    def __init__(self, world: simulator.Simulator) -> None:
        super().__init__()
        self._world = world
        self.copied: list[traffic.RouteSpec] = []

    def apply(self, snapshot: traffic.RoutingSnapshot) -> None:
        """See ports.gateway.Gateway.apply."""
        super().apply(snapshot)
        for route in snapshot.routes:
            if route.shadow is not None and not self.copied:
                self.copied.append(route)
                write(self._world, route.stable.release.short, spool.PRIMARY)


def write(world: simulator.Simulator, release: str, arm: str) -> None:
    world.spool.write(
        simulator.SERVICE,
        "production",
        spool.Record(
            request_id="first",
            at=world.clock.now(),
            release=release,
            instance=f"of-{arm}",
            arm=arm,
            mirrored=arm == spool.PRIMARY,
            path="/predict",
            content_type="application/json",
            request=b'{"x":1}',
            status=200,
            answer=b'{"prediction":{"late":0.5}}',
            invalid=False,
            shed=False,
            service_us=100,
            cpu_us=50,
            key="",
            row_count=1,
            output="n:0.5",
            memory_kib=1000,
            served_count=0,
            dropped=0,
        ),
    )


def test_a_pair_whose_first_half_is_recorded_before_the_gateway_has_returned_is_whole(tmp_path: pathlib.Path) -> None:
    world = simulator.Simulator(tmp_path)
    world.launch(world.release("stable"), SHADOW)
    world.step(20)
    busy = BusyGateway(world)
    world.gateway = busy
    world.restart()
    candidate = world.release("candidate")
    number = world.deploy(candidate, SHADOW).rollout_id
    world.run(lambda: bool(busy.copied))
    write(world, candidate.short, spool.SHADOW)
    world.step(200)
    shadow = world.view(number)["measured"]["shadow"]

    assert (1, 1, 0) == (shadow["pair_count"], shadow["joined_count"], shadow["lost_count"])
