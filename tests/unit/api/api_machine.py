"""The API in front of a simulated machine, for tests of the API and of the command line."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib

import fastapi.testclient

from softlaunch.api import app
from softlaunch.config import service_file
from softlaunch.controller import drilling, follow_work, following, hook_secret, people, shelf
from softlaunch.controller.labels import receiving
from softlaunch.core import release, spec, spec_json
from softlaunch.ports import locker
from softlaunch.testing import labels as memory_labels
from softlaunch.testing import locker as lockers
from softlaunch.testing import repository, simulator
from softlaunch.testing import shipper as shippers

TOKEN = "a-token"
OWNER = "ada"


@dataclasses.dataclass
class Machine:
    world: simulator.Simulator
    client: fastapi.testclient.TestClient
    environment: spec.EnvironmentSpec
    stopped: list[bool]
    people: people.People
    secret: hook_secret.HookSecret
    predictions: dict[str, tuple[str, str, str]]
    """What was recorded: (service, environment, release) by prediction."""
    shelves: pathlib.Path

    def again(self) -> fastapi.testclient.TestClient:
        """The API of the next control plane over the same store."""
        return _client(
            world=self.world,
            stopped=self.stopped,
            everybody=self.people,
            secret=self.secret,
            predictions=self.predictions,
            shelves=self.shelves,
        )

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


def make(directory: pathlib.Path, home: pathlib.Path | None = None) -> Machine:
    world = simulator.Simulator(directory)
    home = home or directory / "home"
    home.mkdir(parents=True, exist_ok=True)
    environment = spec.EnvironmentSpec(
        name="production",
        strategy=spec.StrategySpec(
            kind=spec.StrategyKind.CANARY, steps=spec.shares(1_000, 10_000), watch_seconds=1.0, key_header="x-user-id"
        ),
    )
    stopped: list[bool] = []
    everybody, secret = people.People(home / "people.json"), hook_secret.HookSecret(home / "webhook.secret")
    predictions: dict[str, tuple[str, str, str]] = {}
    return Machine(
        world=world,
        client=_client(
            world=world,
            stopped=stopped,
            everybody=everybody,
            secret=secret,
            predictions=predictions,
            shelves=directory,
        ),
        environment=environment,
        stopped=stopped,
        people=everybody,
        secret=secret,
        predictions=predictions,
        shelves=directory,
    )


def _client(
    *,
    world: simulator.Simulator,
    stopped: list[bool],
    everybody: people.People,
    secret: hook_secret.HookSecret,
    predictions: dict[str, tuple[str, str, str]],
    shelves: pathlib.Path,
) -> fastapi.testclient.TestClient:
    source = _following(world, shelves)
    found = app.create(
        loop=world.loop,
        operations=world.commands,
        store=world.store,
        token=TOKEN,
        instance="i-1",
        ready=lambda: True,
        stop=lambda: stopped.append(True),
        owner=OWNER,
        whose=everybody.whose,
        key=secret.read,
        find_release=predictions.get,
        drill=drilling.Drilling(
            loop=world.loop,
            operations=world.commands,
            registry=world.registry,
            shelf=shelf.Shelf(world.registry, shelves),
        ),
        follow=source,
        receiver=receiving.Receiving(
            inbox=memory_labels.MemoryInbox(),
            recorded=lambda service: service == "pricing",
            now=lambda: 1_763_000_000.0,
        ),
    )
    found.state.following = source
    return fastapi.testclient.TestClient(found, headers={"authorization": f"Bearer {TOKEN}"})


def _following(world: simulator.Simulator, directory: pathlib.Path) -> following.Following:
    """Follows what it is told; nobody turns it."""
    server = repository.MemoryRepository(directory / "checkouts")
    return following.Following(
        loop=world.loop,
        store=world.store,
        registry=world.registry,
        shipper=shippers.MemoryShipper(lambda _: lambda: None),
        locker=lockers.MemoryLocker(lambda _: locker.Updated(commit="", text="")),
        open_space=lambda _: follow_work.Workspace(copy=server, reverts=server),
        read_service=service_file.parse_bytes,
        executor=concurrent.futures.ThreadPoolExecutor(1),
    )
