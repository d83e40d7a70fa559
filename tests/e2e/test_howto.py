"""The launches that docs/howto shows, each with the environments, the commands and the service that its page names."""

from __future__ import annotations

import contextlib
import http.server
import json
import pathlib
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import lab
import pytest
from flights_lab import NEW, NEW_ON_PAGES, ONCALL

from softlaunch.cli import client

pytestmark = pytest.mark.slow


def test_recreate_is_down_for_a_moment_in_which_the_fallback_answers(flights) -> None:
    flights.commit("recreate.md", NEW)
    with flights.people(fallbacks=True) as (users, _):
        view = flights.says("softlaunch deploy --wait ended").document
        assert "promoted" == view["outcome"]
        assert 0.0 < view["measured"]["downtime_seconds"] < 30.0
        assert flights.new == flights.live
        assert 0 < users.load.tally().failed < users.load.tally().ok
        failed = users.load.tally().failed
        flights.says('softlaunch rollback --reason "Fares look odd."')
        assert flights.old == flights.live
        assert failed == users.load.tally().failed

    flights.says('softlaunch unpin 4fc15d446385 --reason "The fares were right."')
    assert {flights.old, flights.new} == set(users.releases)


def test_blue_green_moves_everybody_at_once_and_back_in_under_a_second(flights) -> None:
    flights.commit("blue-green.md", NEW)
    with flights.people() as (users, _):
        assert "promoted" == flights.says("softlaunch deploy --wait ended").document["outcome"]
        assert flights.new == flights.live
        users.since()
        back = flights.says('softlaunch rollback --reason "Fares look odd."').document

    assert flights.old == flights.live
    assert {flights.old, flights.new} >= set(users.releases)
    number = back["rollout_id"] if "rollout_id" in back else back["id"]
    events = flights.machine.client.get("/v1/events", rollout_id=number)
    assert next(event["at"] for event in events if event["kind"] == "finished") - events[0]["at"] < 1.0


def test_employees_meet_a_release_before_everybody_else(flights) -> None:
    flights.commit("canary-by-cohorts.md", NEW)
    with flights.people() as (users, employees):
        with flights.launching("softlaunch deploy --wait ended") as (number, printed):
            flights.waits(number)
            assert {flights.old} == set(users.releases)
            employees.since()
            flights.machine.when(number, lambda _: employees.releases.total() >= 100)
            assert 0.6 < employees.releases[flights.new] / employees.releases.total() < 0.95
            flights.says('softlaunch approve --reason "Employees are content."')
            assert "promoted" == printed.result().document["outcome"]
        assert flights.new == flights.live
        flights.says('softlaunch rollback --reason "Fares look odd."')

    assert flights.old == flights.live
    assert 0 < users.releases[flights.new]


def test_nobody_sees_what_a_shadow_answers_until_somebody_approves(flights) -> None:
    flights.commit("shadow.md", NEW)
    with flights.people() as (users, employees):
        with flights.launching("softlaunch deploy --wait ended") as (number, printed):
            flights.waits(number)
            pairs = flights.machine.command("compare", str(number)).document["pairs"]
            assert 100 <= pairs["pair_count"]
            assert 0.9 < pairs["agreement_rate"] <= 1.0
            assert {flights.old} == set(users.releases) | set(employees.releases)
            flights.says('softlaunch approve --reason "The differences are fine."')
            assert "promoted" == printed.result().document["outcome"]
        assert flights.new == flights.live
        flights.says('softlaunch rollback --reason "Fares look odd."')

    assert flights.old == flights.live


def test_a_shadow_that_is_aborted_has_met_nobody_and_is_not_pinned(flights) -> None:
    flights.commit("shadow.md", NEW)
    with (
        flights.people() as (users, employees),
        flights.launching("softlaunch deploy --wait ended", allowed=(0, 1)) as (number, _),
    ):
        flights.waits(number)
        flights.says('softlaunch abort --reason "Look at the night flights first."')
        assert "aborted" == flights.machine.finished(number)["outcome"]

    assert {flights.old} == set(users.releases) | set(employees.releases)
    assert [] == flights.machine.command("pins").document


def test_a_composed_launch_goes_through_all_of_its_steps(flights) -> None:
    flights.commit("compose-a-launch.md", NEW)
    with flights.people() as (users, employees):
        with flights.launching("softlaunch deploy --wait ended") as (number, printed):
            flights.waits(number)
            assert {flights.old} == set(users.releases)
            assert 0 < employees.releases[flights.new]
            flights.says('softlaunch approve --reason "Employees are content."')
            view = printed.result().document
        assert ("promoted", flights.new) == (view["outcome"], flights.live)
        flights.says('softlaunch rollback --reason "Fares look odd."')

    assert flights.old == flights.live
    texts = [event["text"] for event in flights.machine.client.get("/v1/events", rollout_id=number)]
    steps = [int(step) for text in texts for step in re.findall(r"Step (\d) of 6", text)]
    assert sorted(set(steps)) == steps == list(range(steps[0], steps[-1] + 1))
    assert (1, 5) == (steps[0], steps[-1])


def test_people_approve_pause_freeze_replace_and_launch_again(flights) -> None:
    flights.commit("fallbacks.md", NEW)
    fix = flights.build()
    flights.commit("approve-and-steer.md", NEW)
    ana = flights.says("softlaunch token add ana").document["token"]
    approve = 'softlaunch approve --reason "Looked at fifty answers."'
    with flights.people() as (users, _):
        with flights.launching("softlaunch deploy --wait no") as (number, _):
            flights.waits(number)
        assert 2 == flights.says(approve, allowed=(2,)).code
        flights.says(approve, SOFTLAUNCH_TOKEN=ana)
        flights.says("softlaunch pause")
        assert flights.machine.view(number)["paused"]
        flights.says("softlaunch resume")
        with flights.hanging(flights.new):
            frozen = flights.machine.when(number, lambda view: (view["hold"] or {}).get("kind") == "frozen")
            assert (50.0, None) == (frozen["candidate_percent"], frozen["outcome"])

        flights.commit("approve-and-steer.md", NEW, files_of="fallbacks.md")
        with flights.launching("softlaunch deploy --wait no") as (second, _):
            assert "aborted" == flights.machine.finished(number)["outcome"]
            assert fix in flights.waits(second)["candidate"]
        flights.says('softlaunch abort --reason "Not on a Friday."')
        assert "aborted" == flights.machine.finished(second)["outcome"]

        with flights.launching("softlaunch retry", allowed=(0, 1)) as (third, _):
            flights.waits(third)
            flights.says("softlaunch promote --full", SOFTLAUNCH_TOKEN=ana)
            flights.machine.when(third, lambda view: view["phase"] in {"watching", "finishing", "promoted"})

    assert {flights.old, flights.new, fix} == set(users.releases)
    flights.machine.command("token", "remove", "ana")


def test_a_release_is_rolled_back_by_complaints_commands_and_programs_and_pinned(flights) -> None:
    flights.commit("roll-back.md", NEW)
    with flights.people():
        flights.says("softlaunch deploy --wait ended")
        prediction = ask(flights, flights.rows()[0]).headers["x-request-id"]
        report = 'softlaunch report 8eb46c3c-9a6a-45fc-8629-273b710e8c4a "90 % late on a sunny day?" --ticket SUP-812'
        assert report in flights.page
        until(lambda: complain(flights, prediction).document["complaint"]["release"])
        for number in range(12):
            told = {"prediction": prediction, "text": "90 % late?", "by": "ana", "ticket": f"SUP-{number}"}
            flights.machine.client.post("/v1/complaints", told)
        (place,) = flights.says("softlaunch complaints").document["places"]
        assert place["offer"]

        flights.says('softlaunch rollback --reason "Customers complain."')
        assert flights.old == flights.live
        assert [flights.new] == [pin["release"][7:19] for pin in flights.says("softlaunch pins").document]
        assert "pinned" in flights.says("softlaunch deploy", allowed=(2,)).out
        flights.says('softlaunch unpin 4fc15d446385 --reason "The fares were right."')
        flights.says("softlaunch deploy --wait ended")
        assert flights.new == flights.live

        secret = flights.machine.command("webhook", "secret").document["secret"]
        blocks = re.findall(r"^```sh\n(.*?)^```$", flights.page, re.MULTILINE | re.DOTALL)
        hook, api = (block for block in blocks if "curl" in block)
        back = typed(flights, hook, SECRET=secret)
        flights.machine.finished(back["rollout_id"])
        assert flights.old == flights.live
        flights.says('softlaunch unpin 4fc15d446385 --reason "The fares were right."')
        token = flights.machine.command("token", "add", "bo").document["token"]
        forth = typed(flights, api, TOKEN=token)
        assert "bo" == flights.machine.finished(forth["rollout_id"])["requested_by"]

    assert flights.new == flights.live


def test_fallbacks_answer_in_their_order_when_no_release_does(flights) -> None:
    with elsewhere() as (port, answers):
        flights.commit("fallbacks.md", NEW, ports={9000: port})
        with flights.people(fallbacks=True):
            flights.says("softlaunch deploy --wait ended")
            live = flights.live
            row = flights.rows()[0]
            with flights.hanging(live):
                previous = ask(flights, {**row, "origin": "EWR", "carrier": "UA"})
            assert ("previous", flights.old) == (fallback(previous), previous.json()["release"])

            def dead(by: str, **asked: object) -> Any:
                """The prediction of that fallback, with every model server killed as often as it takes."""
                wanted = {name: value for name, value in {**row, "origin": "LGA", **asked}.items() if value is not None}

                def answer() -> httpx.Response | None:
                    flights.send(signal.SIGKILL, live, flights.old)
                    found = ask(flights, wanted)
                    return found if fallback(found) == by else None

                return until(answer).json()["predictions"]

            assert 0.24 == dead("table", origin="EWR", carrier="UA")[0]["probability"]
            assert 0.28 == dead("python", dep_hour=18)[0]["probability"]
            assert "elsewhere" == dead("url", dep_hour=None)[0]["answered"]
            answers.clear()
            assert [] == dead("body", dep_hour=None)
            until(lambda: fallback(ask(flights, row)) is None)

        (found,) = flights.machine.command("status").document["services"]
        assert 4 < found["fallback_answers"]


def test_a_check_of_your_own_takes_a_release_back_and_lets_it_pass_when_it_is_mended(flights, tmp_path) -> None:
    port = lab.free_port()
    flights.commit("own-guardrails.md", NEW, ports={9100: port})
    well, behind = re.findall(r"^.*?echo '(\{.*\})' > /tmp/feed/lag.json", flights.page, re.MULTILINE)[:2]
    feed = tmp_path / "lag.json"
    feed.write_text(well)
    server = [sys.executable, "-m", "http.server", str(port), "--bind", "127.0.0.1", "--directory", str(tmp_path)]
    with flights.people() as (users, _), running(server):
        with flights.launching("softlaunch deploy --wait ended", allowed=(1,)) as (number, printed):
            flights.machine.when(number, lambda view: view["phase"] == "stepping")
            feed.write_text(behind)
            assert "rolled_back" == printed.result().document["outcome"]
        view = flights.machine.view(number)
        assert view["reason"].startswith("check feed: broken 2 times in a row, last: 50 is above 10"), view
        assert flights.old == flights.live
        checks = {check["name"]: check for check in view["evidence"]["checks"]}
        assert ("unanswered", False) == (checks["queue"]["verdict"], checks["queue"]["enforcing"])

        feed.write_text(well)
        again = flights.says('softlaunch retry --lift "The feed is back."').document["id"]
        assert "promoted" == flights.machine.finished(again)["outcome"]
    assert {flights.old, flights.new} == set(users.releases)


def test_people_are_told_what_they_have_to_do_and_what_happened(flights, tmp_path) -> None:
    flights.commit("notify.md", NEW)
    port = flights.machine.variables[ONCALL].rpartition(":")[2]
    (receiver,) = re.findall(r"```python\n(import http.server.*?)```", flights.page, re.DOTALL)
    told = tmp_path / "told"
    with running([sys.executable, "-c", receiver.replace("8099", port)], out=told):
        with flights.launching("softlaunch deploy --wait no") as (number, _):
            flights.waits(number)
        until(lambda: "`softlaunch approve`" in told.read_text())
        flights.says('softlaunch approve --reason "Go."')
        flights.machine.finished(number)
        flights.says('softlaunch rollback --reason "Fares look odd."')
        until(lambda: "is not launched again" in told.read_text())

    assert flights.old == flights.live
    said = told.read_text()
    # On a busy machine several changes come in one message: the first word of each is there in any case.
    assert f"(rollout {number})" in said
    assert "started" in said
    assert "Go." in said


def ask(flights, row: dict[str, Any]) -> httpx.Response:
    url = f"http://127.0.0.1:{flights.machine.port}/predict"
    return httpx.post(url, json={"rows": [row]}, timeout=10.0, trust_env=False)


def fallback(answer: httpx.Response) -> str | None:
    """Who answered in place of the releases."""
    return answer.headers.get("x-softlaunch-fallback")


def complain(flights, prediction: str):
    return flights.machine.command("report", prediction, "90 % late on a sunny day?", "--ticket", "SUP-812")


def typed(flights, script: str, **variables: str) -> dict[str, Any]:
    """What a program of the page printed."""
    address = client.read_address(flights.machine.home)
    done = subprocess.run(
        ["sh"],
        input="set -eu\n" + script.replace(NEW_ON_PAGES, flights.new),
        env={**flights.machine.environment(), "URL": address["url"], **variables},
        cwd=flights.machine.directory,
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def until(look: Callable[[], Any], *, seconds: float = 20.0) -> Any:
    """The first answer that is something."""
    ends_at = time.monotonic() + seconds
    while not (found := look()):
        assert time.monotonic() < ends_at, "it did not come"
        time.sleep(0.05)
    return found


@contextlib.contextmanager
def running(command: list[str], *, out: pathlib.Path | None = None) -> Iterator[None]:
    with contextlib.ExitStack() as stack:
        output = stack.enter_context(out.open("w")) if out else subprocess.DEVNULL
        process = subprocess.Popen(command, stdout=output, stderr=subprocess.DEVNULL)
        try:
            yield
        finally:
            process.kill()
            process.wait()


@contextlib.contextmanager
def elsewhere() -> Iterator[tuple[int, list[str]]]:
    """Another service that answers predictions, while its list of answers has one."""
    answers = ["elsewhere"]

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["content-length"]))
            body = json.dumps({"predictions": [{"answered": answer} for answer in answers]}).encode()
            self.send_response(200 if answers else 503)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: Any) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port, answers
        server.shutdown()
