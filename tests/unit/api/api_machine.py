"""The API in front of a simulated machine, for tests of the API and of the command line."""

from __future__ import annotations

import dataclasses
import pathlib

import fastapi.testclient

from softlaunch.api import app
from softlaunch.core import release, spec, spec_json
from softlaunch.testing import simulator

TOKEN = "a-token"


@dataclasses.dataclass
class Machine:
    world: simulator.Simulator
    client: fastapi.testclient.TestClient
    environment: spec.EnvironmentSpec
    stopped: list[bool]

    def body(self, digest: release.Digest, **changes: object) -> dict[str, object]:
        return {
            "service": "demo",
            "environment": spec_json.dump_environment(self.environment).decode(),
            "release": digest.value,
            "ref": "main",
            "commit": "c" * 40,
            "by": "ada",
        } | changes

    def deploy(self, digest: release.Digest) -> int:
        answer = self.client.post("/v1/rollouts", json=self.body(digest))
        assert answer.status_code == 201, answer.text
        number: int = answer.json()["rollout_id"]
        return number


def make(directory: pathlib.Path) -> Machine:
    world = simulator.Simulator(directory)
    stopped: list[bool] = []
    found = app.create(
        loop=world.loop,
        operations=world.commands,
        store=world.store,
        token=TOKEN,
        instance="i-1",
        ready=lambda: True,
        stop=lambda: stopped.append(True),
    )
    client = fastapi.testclient.TestClient(found, headers={"authorization": f"Bearer {TOKEN}"})
    environment = spec.EnvironmentSpec(
        name="production",
        strategy=spec.StrategySpec(
            kind=spec.StrategyKind.CANARY, weights=(1_000, 10_000), watch_seconds=1.0, key_header="x-user-id"
        ),
    )
    return Machine(world=world, client=client, environment=environment, stopped=stopped)
