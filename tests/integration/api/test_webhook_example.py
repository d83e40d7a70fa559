"""The webhook example of the API's page, typed into a shell, against an API behind a real socket."""

from __future__ import annotations

import json
import os
import pathlib
import re
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

import pytest
import uvicorn

sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "unit" / "api"))

import api_machine

PAGE = (pathlib.Path(__file__).parents[3] / "docs" / "reference" / "api.md").read_text(encoding="utf-8")
(EXAMPLE,) = re.findall(r"^```sh\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
START_SECONDS_MAX = 10.0


@pytest.fixture
def machine(tmp_path: pathlib.Path) -> api_machine.Machine:
    found = api_machine.make(tmp_path)
    found.world.clock.advance(time.time() - found.world.clock.now())  # the example signs with the date of now
    return found


@pytest.fixture
def url(machine: api_machine.Machine) -> Iterator[str]:
    listener = socket.create_server(("127.0.0.1", 0))
    server = uvicorn.Server(uvicorn.Config(machine.client.app, log_config=None, lifespan="off"))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    give_up_at = time.monotonic() + START_SECONDS_MAX
    while not server.started and time.monotonic() < give_up_at:
        time.sleep(0.01)
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    server.should_exit = True
    thread.join()
    listener.close()


def typed(url: str, secret: str) -> dict[str, object]:
    script = "set -eu\n" + EXAMPLE.replace('"flights"', '"demo"')
    variables = {"PATH": os.environ["PATH"], "URL": url, "SECRET": secret}
    done = subprocess.run(["sh"], input=script, env=variables, capture_output=True, text=True, check=True)
    answer: dict[str, object] = json.loads(done.stdout)
    return answer


def test_the_example_rolls_back(machine: api_machine.Machine, url: str) -> None:
    old, new = machine.world.release("old"), machine.world.release("new")
    for digest in (old, new):
        machine.world.end(machine.deploy(digest))
    secret = machine.secret.make(rotate=False)

    done = typed(url, secret)

    assert old.value == machine.world.end(int(str(done["rollout_id"])))["candidate"]
    (pin,) = machine.world.store.pins()
    assert (new, "webhook") == (pin.release, pin.by)
    assert "checkout fell by a third" in pin.reason


def test_the_example_with_another_secret_is_not_believed(machine: api_machine.Machine, url: str) -> None:
    machine.secret.make(rotate=False)

    assert "hook-unsigned" == typed(url, "guessed")["code"]


def test_the_example_without_a_secret_made_is_refused(machine: api_machine.Machine, url: str) -> None:
    assert "hook-off" == typed(url, "guessed")["code"]
