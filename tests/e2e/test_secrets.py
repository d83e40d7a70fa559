"""Secrets of an environment reach the model servers, and no file of the home, no answer and no process list."""

from __future__ import annotations

import hashlib
import http.server
import json
import os
import pathlib
import threading
import time
from collections.abc import Iterator
from typing import Self

import bring_lab
import flights_lab
import httpx
import process_lab
import psutil
import pytest

pytestmark = pytest.mark.slow

FILE, VARIABLE, FIELD, TOKEN = (f"{name}-{'ab12' * 5}" for name in ("from-file", "from-env", "from-vault", "hvs.token"))
VALUES = {"A": FILE, "B": VARIABLE, "C": FIELD, "D": FILE}
SERVICE = """\
service: keeper
model:
  python: keeper.py:Keeper
  inputs: {{name: BYTES}}
environments:
  production:
    env: {{LEVEL: debug, D: {{file: {file}}}}}
    secrets: {{A: {{file: {file}}}, B: $KEEPER_B, C: {{vault: "secret/data/keeper#{field}"}}}}
    strategy:
      canary: {{key: x-user-id, steps: [50%, 100%], step_attempts_min: 20, acceptable: 5%, watch: 1s, warm: 10m}}
"""
MODEL = """\
import hashlib, os, sys

class Keeper:
    outputs = {"digest": "BYTES"}

    def __init__(self):
        if LEAKING:
            print("connecting with", os.environ["A"], flush=True)
            sys.exit("no database at " + os.environ["C"])

    def predict(self, rows):
        if os.environ["LEVEL"] == "broken":
            raise ValueError("no such level")
        return [{"digest": hashlib.sha256(os.environ.get(row["name"], "").encode()).hexdigest()} for row in rows]
"""


class Vault(http.server.BaseHTTPRequestHandler):
    """Reading, as Vault's key-value engine of version 2 answers it."""

    def log_message(self, *arguments):
        pass

    def do_GET(self):
        right = self.headers["x-vault-token"] == TOKEN and self.path == "/v1/secret/data/keeper"
        document = {"data": {"data": {"key": FIELD}, "metadata": {"version": 1}}} if right else {"errors": []}
        raw = json.dumps(document).encode()
        self.send_response(200 if right else 403)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)


@pytest.fixture(scope="module")
def machine() -> Iterator[process_lab.ProcessLab]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Vault) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        variables = {
            "VAULT_ADDR": f"http://127.0.0.1:{server.server_port}",
            "VAULT_TOKEN": TOKEN,
            "KEEPER_B": VARIABLE,
        }
        try:
            with process_lab.laboratory(**variables) as found:
                yield found
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture(scope="module")
def keeper(machine, tmp_path_factory) -> bring_lab.Service:
    secret = tmp_path_factory.mktemp("secrets") / "a"
    secret.write_text(f"{FILE}\n")
    repository = machine.directory / "keeper"
    repository.mkdir()
    flights_lab.git(repository, "init", "-q", "-b", "main")
    found = bring_lab.Service(
        machine=process_lab.ProcessLab(
            home=machine.home, port=machine.port, variables=machine.variables, directory=repository
        ),
        name="keeper",
    )
    found.write("softlaunch.yaml", SERVICE.format(file=secret, field="key"))
    found.write("keeper.py", MODEL.replace("LEAKING", "False"))
    found.deploy()
    return found


def leaks(home: pathlib.Path, *, besides: str = "") -> list[str]:
    """Files of the home in which a value stands."""
    found = []
    for path in home.rglob("*"):
        if path.is_file() and (not besides or besides not in str(path)):
            raw = path.read_bytes()
            found += [str(path) for value in (*VALUES.values(), TOKEN) if value.encode() in raw]
    return found


def told(machine: process_lab.ProcessLab, *lines: str) -> str:
    answers = [machine.command(*line.split()) for line in lines]
    return "".join(answer.out + answer.err for answer in answers)


def test_model_servers_have_the_values_and_nothing_else_shows_them(keeper) -> None:
    machine = keeper.machine
    answers = keeper.answers(*({"name": name} for name in VALUES))

    assert [hashlib.sha256(value.encode()).hexdigest() for value in VALUES.values()] == [
        answer["digest"] for answer in answers
    ]
    assert [] == leaks(machine.home.root)
    shown = told(machine, "status", "history", "build")
    assert "keeper" in shown
    assert not any(value in shown for value in VALUES.values())
    lines = [" ".join(process.info["cmdline"] or ()) for process in psutil.process_iter(["cmdline"])]
    assert any(str(machine.home.root) in line for line in lines)
    assert not any(value in line for line in lines for value in (*VALUES.values(), TOKEN))


def test_other_settings_alone_are_launched_judged_and_taken_back(keeper) -> None:
    machine, path = keeper.machine, keeper.folder / "softlaunch.yaml"
    kept = path.read_text()
    release = running(machine)["stable"]
    try:
        with Users(machine.port) as users:
            path.write_text(kept.replace("LEVEL: debug", "LEVEL: info"))
            keeper.commit()
            done = machine.command("deploy", "--wait", "ended")
            assert 0 == done.code, done.out + done.err
            view, seen = done.document, users.since()
            assert (release, release, {"changed": ["LEVEL"]}) == tuple(
                view[name] for name in ("candidate", "stable", "settings_changed")
            )
            assert {"debug": view["stable_arm"], "info": view["candidate_arm"]} == dict(seen)
            assert "info" == users.sees()
            assert (release, f"{view['stable_arm']}_1") == (running(machine)["stable"], running(machine)["stable_arm"])

            asked = time.monotonic()
            back = machine.client.post("/v1/services/keeper/production/rollback", {"to": "previous", "by": "ann"})
            while users.sees() != "debug":
                assert time.monotonic() - asked < 10.0, "it was kept warm"
            machine.finished(back["rollout_id"])
            refused = machine.command("deploy")
            assert (2, "pinned") == (refused.code, json.loads(refused.out)["code"])

            users.since()
            path.write_text(kept.replace("LEVEL: debug", "LEVEL: broken"))
            keeper.commit()
            done = machine.command("deploy", "--wait", "ended")
            assert (1, "rolled_back") == (done.code, done.document["outcome"]), done.out + done.err
            assert done.document["measured"]["candidate_bad"] > 0
            assert {"debug": view["stable_arm"]} == dict(users.since()), (
                "what failed was answered with the old settings"
            )
            path.write_text(kept)
            keeper.commit()
            assert "unchanged" == machine.command("deploy").document["outcome"], "the release was not to blame"
            assert [] == users.failures

        path.write_text(kept.replace("$KEEPER_B", "$KEEPER_NONE"))
        keeper.commit()
        refused = machine.command("deploy")
        assert (2, "env-reference") == (refused.code, json.loads(refused.out)["code"])
    finally:
        path.write_text(kept)
    shown = told(machine, "status", "history", "pins --all", "explain")
    assert "LEVEL changed" in shown
    assert "broken" not in shown


def running(machine: process_lab.ProcessLab) -> dict:
    (found,) = machine.client.get("/v1/status")["services"]
    return found


class Users:
    """People who ask for the level all the time, and what they are answered."""

    def __init__(self, port: int) -> None:
        self._levels = {hashlib.sha256(level.encode()).hexdigest(): level for level in ("debug", "info", "broken")}
        self.failures: list[str] = []
        self._port = port
        self._seen: dict[str, str] = {}
        self._last = ""
        self._count = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._ask)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def since(self) -> dict[str, str]:
        """The levels that were seen, with the release that answered them; begins anew."""
        seen, self._seen = self._seen, {}
        return seen

    def sees(self) -> str:
        """The level of an answer to a question of now."""
        before = self._count
        while self._count < before + 2:
            time.sleep(0.002)
        return self._last

    def _ask(self) -> None:
        with httpx.Client(trust_env=False, timeout=10.0) as caller:
            while not self._over.is_set():
                answer = caller.post(
                    f"http://127.0.0.1:{self._port}/predict",
                    json={"rows": [{"name": "LEVEL"}]},
                    headers={"host": "keeper.localhost", "x-user-id": str(self._count % 997)},
                )
                if answer.status_code == 200:
                    document = answer.json()
                    self._last = self._levels[document["predictions"][0]["digest"]]
                    self._seen[self._last] = document["release"]
                else:
                    self.failures.append(answer.text)
                self._count += 1


def test_a_secret_that_is_not_there_ends_a_launch_and_names_what_is_missing(keeper) -> None:
    path = keeper.folder / "softlaunch.yaml"
    kept = path.read_text()
    try:
        path.write_text(kept.replace("#key", "#none"))
        keeper.write("keeper.py", MODEL.replace("LEAKING", "False") + "\n# another release\n")
        keeper.commit()
        keeper.machine.command("deploy", "--wait", "ended")
        shown = told(keeper.machine, "history")
    finally:
        path.write_text(kept)

    assert "The secret C (vault secret/data/keeper#none) cannot be read: it has no field 'none'." in shown
    assert [] == leaks(keeper.machine.home.root)


def test_what_a_model_printed_of_its_secrets_before_it_died_is_told_without_them(keeper) -> None:
    keeper.write("keeper.py", MODEL.replace("LEAKING", "'SOFTLAUNCH_FLEET' in os.environ"))
    keeper.commit()
    done = keeper.machine.command("deploy", "--wait", "ended")

    shown = done.out + done.err + told(keeper.machine, "status", "history")
    assert "[secret]" in shown
    assert not any(value in shown for value in VALUES.values())
    # What the model itself writes to its own log is the model's.
    assert [] == leaks(keeper.machine.home.root, besides=f"{os.sep}logs{os.sep}replicas{os.sep}")
