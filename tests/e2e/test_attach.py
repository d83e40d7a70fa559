"""Two services that softlaunch did not start, as docs/howto/attach-running-services.md says."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import re
import threading
from collections.abc import Iterator

import httpx
import lab
import process_lab
import pytest

from softlaunch.testing import arrivals, outcomes, traffic

pytestmark = pytest.mark.slow
PAGE = pathlib.Path(__file__).parents[2] / "docs" / "howto" / "attach-running-services.md"
RATE = 80.0


class _Service:
    """A web service as anybody writes one, at a port of its own."""

    def __init__(self, name: str) -> None:
        self.failing = False
        self.executed: list[str] = []
        service = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def do_GET(self) -> None:
                self._answer(200, {"healthy": name})

            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["content-length"]))
                if self.path != "/price":
                    service.executed.append(self.headers["x-request-id"])
                if service.failing:
                    self._answer(500, {"error": "planted"})
                else:
                    self._answer(200, {"price": 12, "by": name})

            def _answer(self, status: int, document: dict) -> None:
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("content-type", "application/json")
                self.send_header("content-length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_args: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def services() -> Iterator[list[_Service]]:
    found = [_Service(name) for name in ("old", "new", "newer")]
    yield found
    for service in found:
        service.close()


@pytest.fixture
def machine() -> Iterator[process_lab.ProcessLab]:
    with process_lab.laboratory() as found:
        yield found


@contextlib.contextmanager
def _users(port: int) -> Iterator[traffic.Background]:
    def valid(answer) -> bool:
        return json.loads(answer.body)["price"] == 12

    def requests() -> Iterator[traffic.Request]:
        number = 0
        while True:
            number += 1
            headers = (("x-user-id", f"u{number * 7919 % 2000}"), ("content-type", "application/json"))
            yield traffic.Request(path="/price", headers=headers, body=b'{"product": 1}')

    load = traffic.Load(traffic.Target(port=port), requests(), check=outcomes.Check(valid=valid))
    with traffic.Background(load, arrivals.steady(RATE)) as background:
        yield background


def _write(machine: process_lab.ProcessLab, old: _Service, new: _Service) -> None:
    (text,) = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
    text = text.replace("http://127.0.0.1:9000", old.url).replace("http://127.0.0.1:9001", new.url)
    text = text.replace("guardrails:", "acceptable: 5%\n        guardrails:")  # so that a test need not wait as long
    (machine.directory / "softlaunch.yaml").write_text(text)


def test_users_move_from_one_running_service_to_the_other_and_a_bad_third_one_is_left(services, machine) -> None:
    old, new, newer = services
    _write(machine, old, new)
    placed = machine.command("attach", "--candidate", old.url)
    assert 0 == placed.code, placed.out + placed.err
    with _users(machine.port) as users:
        moved = machine.command("attach", "--wait", "ended", timeout=180.0)
        assert 0 == moved.code, moved.out + moved.err
        assert "new" == httpx.post(f"http://127.0.0.1:{machine.port}/price", json={}).json()["by"]
        newer.failing = True
        back = machine.command("attach", "--candidate", newer.url, "--wait", "ended", timeout=180.0)

    assert ("promoted", "rolled_back") == (moved.document["outcome"], back.document["outcome"])
    assert 1 == back.code
    assert 0 == users.report.failed


def test_a_path_that_may_not_be_repeated_is_sent_once_to_an_attached_service(services, machine) -> None:
    old, new, _ = services
    _write(machine, old, new)
    assert 0 == machine.command("attach", "--wait", "no").code
    number = machine.client.get("/v1/rollouts")[0]["id"]
    machine.when(number, lambda view: view["phase"] == "stepping")
    new.failing = True
    answers = [
        httpx.post(f"http://127.0.0.1:{machine.port}/order", json={}, headers={"x-user-id": f"u{user}"})
        for user in range(100)
    ]

    executed = old.executed + new.executed
    assert 100 == len(executed) == len(set(executed))
    assert {200, 500} >= {answer.status_code for answer in answers}
    assert lab.ENVIRONMENT == machine.view(number)["environment"]
