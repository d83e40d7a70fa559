"""The example of a command is launched, asked, and taken back when its next release is broken."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator

import httpx
import own_code_lab
import psutil
import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(shutil.which("node") is None, reason="the example is a Node.js program, and there is no node"),
]


@pytest.fixture(scope="module")
def command() -> Iterator[own_code_lab.OwnCode]:
    with own_code_lab.example("command") as found:
        yield found


def test_it_is_asked_and_recorded(command: own_code_lab.OwnCode) -> None:
    with command.users():
        found = command.recorded(lambda record: record.status == 200)

    assert 0.0 <= json.loads(found[0].answer)["late"] <= 1.0
    with httpx.Client(base_url=f"http://127.0.0.1:{command.machine.port}", trust_env=False) as caller:
        assert "ok" == caller.get("/health").text


def test_a_release_that_answers_nonsense_is_taken_back_and_no_user_notices(command: own_code_lab.OwnCode) -> None:
    stable = command.live()

    with command.users(), command.changed("server.js", "late: 1 /", "late: 7 /"):
        view = command.deploy()

    assert "rolled_back" == view["outcome"], view["reason"]
    assert "invalid" in own_code_lab.guardrail(view)
    assert stable == command.live()


def test_a_killed_command_comes_back_and_no_user_notices(command: own_code_lab.OwnCode) -> None:
    first, second = sorted(found["pid"] for found in command.replicas())
    (program,) = psutil.Process(first).children()

    with command.users():
        program.kill()
        command.wait(
            lambda: {found["pid"] for found in command.replicas() if found["phase"] == "ready"} - {first, second}
        )
        command.wait(lambda: 2 == len([found for found in command.replicas() if found["phase"] == "ready"]))

    assert not psutil.pid_exists(program.pid)
