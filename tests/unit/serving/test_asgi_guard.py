"""The guard around an app, asked as an ASGI server asks it."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from typing import Any

import pytest

from softlaunch.core import answer_checks
from softlaunch.serving import asgi_answers, asgi_guard, meter, readiness

CHECKS = (answer_checks.AnswerCheck(path="late", minimum=0, maximum=1),)
JSON = (b"content-type", b"application/json")
ID = (b"x-request-id", b"r1")


@dataclasses.dataclass
class Kept:
    """What a capture was given."""

    records: list[tuple[Any, ...]] = dataclasses.field(default_factory=list)
    numbers: list[int] = dataclasses.field(default_factory=list)

    def takes(self, headers, request_id) -> bool:
        return request_id != "unchosen"

    def add(self, path, headers, request_id, reply, measured, **rest) -> None:
        self.records.append((path, request_id, reply, measured))
        self.numbers.append(rest["served_count"])


@dataclasses.dataclass
class Said:
    status: int
    headers: list[tuple[bytes, bytes]]
    parts: list[bytes]

    @property
    def body(self) -> bytes:
        return b"".join(self.parts)

    def header(self, name: str) -> str | None:
        return next((value.decode() for key, value in self.headers if key == name.encode()), None)


def guard(app, *, capture: Any = None, **changes: Any) -> asgi_guard.Guard:
    async def ready() -> str:
        return ""

    values = {
        "version": "0123456789ab",
        "instance": "token",
        "paths": ("/score", "/v1/*"),
        "checks": CHECKS,
        "body_bytes_max": 1000,
    }
    found = asgi_guard.Guard(
        app,
        asgi_answers.Rules(**{**values, **changes}),
        ready=ready,
        capture=capture,
        counters=meter.Meter(),
        cpu_clock=lambda: 0,
    )
    found.phase = readiness.Phase.READY
    return found


def answering(
    body: Any, *, status: int = 200, headers: tuple[tuple[bytes, bytes], ...] = (JSON,), parts: tuple[bytes, ...] = ()
):
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()

    async def app(scope, receive, send) -> None:
        while (await receive()).get("more_body"):
            pass
        await send({"type": "http.response.start", "status": status, "headers": list(headers)})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
        await send({"type": "http.response.body", "body": raw})

    return app


async def _ask(
    found: asgi_guard.Guard, path: str, body: bytes, method: str, headers, *, ends_apart: bool = False
) -> Said:
    said = Said(status=0, headers=[], parts=[])
    inbox = [{"type": "http.request", "body": body, "more_body": ends_apart}]
    if ends_apart:
        inbox.append({"type": "http.request", "body": b"", "more_body": False})

    async def receive() -> Any:
        return inbox.pop(0) if inbox else {"type": "http.disconnect"}

    async def send(message) -> None:
        if message["type"] == "http.response.start":
            said.status, said.headers = message["status"], message["headers"]
        else:
            said.parts.append(message.get("body", b""))

    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "headers": list(headers),
        "extensions": {"http.response.pathsend": {}},
    }
    await found(scope, receive, send)
    return said


def ask(
    found, path="/score", body=b'{"distance": 1}', *, method="POST", headers=(ID, JSON), ends_apart: bool = False
) -> Said:
    return asyncio.run(_ask(found, path, body, method, headers, ends_apart=ends_apart))


def test_a_good_answer_leaves_as_the_app_made_it_and_is_measured_and_recorded() -> None:
    kept = Kept()
    said = ask(guard(answering({"late": 0.25}), capture=kept))

    assert 200 == said.status
    assert {"late": 0.25} == json.loads(said.body)
    assert "0123456789ab" == said.header("x-softlaunch-release")
    assert "n:0.25" == said.header("x-softlaunch-out")
    assert "r1:0" == said.header("x-softlaunch-prediction-id")
    ((path, request_id, reply, measured),) = kept.records
    assert ("/score", "r1", b'{"distance": 1}') == (path, request_id, measured.request)
    assert said.body == reply.body


def test_answers_that_are_sent_at_once_are_told_the_numbers_they_are_recorded_with() -> None:
    kept = Kept()
    found = guard(answering({"late": 0.25}), capture=kept)
    told = []

    async def both() -> None:
        gate = asyncio.Event()

        async def send(message) -> None:
            if message["type"] == "http.response.start":
                told.append(dict(message["headers"])[b"x-softlaunch-served"].decode())
                if len(told) == 2:
                    gate.set()
                await gate.wait()

        async def receive() -> Any:
            return {"type": "http.request", "body": b"{}", "more_body": False}

        def scope(name: bytes) -> Any:
            return {
                "type": "http", "method": "POST", "path": "/score", "raw_path": b"/score", "query_string": b"",
                "headers": [(b"x-request-id", name)],
            }  # fmt: skip

        await asyncio.gather(*(found(scope(name), receive, send) for name in (b"a", b"b")))

    asyncio.run(both())
    assert (["0r", "1r"], [0, 1]) == (sorted(told), sorted(kept.numbers))
    assert "2" == ask(found, headers=((b"x-request-id", b"unchosen"), JSON)).header("x-softlaunch-served")
    assert 2 == len(kept.records)


def test_rows_of_an_answer_are_counted_where_the_first_check_has_a_star() -> None:
    checks = (answer_checks.AnswerCheck(path="rows.*.late"),)
    said = ask(guard(answering({"rows": [{"late": 1}, {"late": 2}, {"late": 3}]}), checks=checks))

    assert "r1:0-2" == said.header("x-softlaunch-prediction-id")
    assert "n:1" == said.header("x-softlaunch-out")


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"late": NaN}', "not a finite number"),
        ({"late": 3}, "outside of 0 to 1"),
        ({"late": None}, "null"),
        ({}, "nothing at 'late'"),
        (b"<html>", "not JSON"),
        (b"\xff\xfe", "not JSON"),
    ],
)
def test_an_answer_that_breaks_a_check_becomes_an_invalid_one(body, message) -> None:
    kept = Kept()
    said = ask(guard(answering(body), capture=kept))

    assert 500 == said.status
    assert "1" == said.header("x-softlaunch-invalid")
    assert message in json.loads(said.body)["error"]
    assert None is said.header("x-softlaunch-prediction-id")
    assert said.body == kept.records[0][2].body


def test_a_compressed_answer_cannot_be_checked_so_nobody_is_asked_for_one() -> None:
    seen = []

    async def app(scope, receive, send) -> None:
        seen.append(dict(scope["headers"]))
        await answering(b"\x1f\x8b", headers=(JSON, (b"content-encoding", b"gzip")))(scope, receive, send)

    said = ask(guard(app), headers=(ID, JSON, (b"accept-encoding", b"gzip")))

    assert b"accept-encoding" not in seen[0]
    assert 500 == said.status


def test_an_error_of_the_app_leaves_as_it_is() -> None:
    said = ask(guard(answering({"detail": "distance is missing"}, status=422)))

    assert (422, None) == (said.status, said.header("x-softlaunch-invalid"))


def test_an_app_that_raises_answers_500_and_its_traceback_is_printed(capsys) -> None:
    async def app(scope, receive, send) -> None:
        raise ValueError("no model")

    said = ask(guard(app))

    assert 500 == said.status
    assert "ValueError: no model" in json.loads(said.body)["error"]
    assert "Traceback" in capsys.readouterr().err


def test_an_app_that_ends_without_an_answer_answers_500() -> None:
    async def app(scope, receive, send) -> None:
        await receive()

    assert 500 == ask(guard(app)).status


def test_a_stream_on_a_prediction_path_is_let_through_and_recorded_as_cut() -> None:
    kept = Kept()
    app = answering(b"data: 2\n", headers=((b"content-type", b"text/event-stream"),), parts=(b"data: 1\n",))
    said = ask(guard(app, capture=kept))

    assert [b"data: 1\n", b"data: 2\n"] == said.parts
    assert kept.records[0][3].cut


def test_a_large_answer_is_let_through_unchecked_and_recorded_as_cut() -> None:
    kept = Kept()
    said = ask(guard(answering(b"end", parts=(b"x" * 600, b"x" * 600)), capture=kept))

    assert 1203 == len(said.body)
    assert kept.records[0][3].cut


def test_a_large_request_reaches_the_app_and_is_recorded_as_cut() -> None:
    kept = Kept()
    said = ask(guard(answering({"late": 0}), capture=kept), body=b"x" * 2000)

    assert 200 == said.status
    assert (b"", True) == (kept.records[0][3].request, kept.records[0][3].cut)


@pytest.mark.parametrize(
    ("declared", "recorded"), [(((b"content-length", b"4"),), (b"1234", False)), ((), (b"", True))]
)
def test_an_answer_that_comes_before_the_empty_last_part_of_the_request_is_recorded(declared, recorded) -> None:
    async def app(scope, receive, send) -> None:
        await receive()  # a program that counts the bytes asks for no more
        await send({"type": "http.response.start", "status": 200, "headers": [JSON]})
        await send({"type": "http.response.body", "body": b'{"late": 0.5}'})

    kept = Kept()
    ask(guard(app, capture=kept), body=b"1234", headers=(ID, JSON, *declared), ends_apart=True)

    assert recorded == (kept.records[0][3].request, kept.records[0][3].cut)


@pytest.mark.parametrize(("method", "path"), [("GET", "/score"), ("POST", "/other"), ("POST", "/score/1")])
def test_what_is_no_prediction_passes_through_untouched(method, path) -> None:
    kept = Kept()
    said = ask(guard(answering(b"c", parts=(b"a", b"b")), capture=kept), path, method=method)

    assert [b"a", b"b", b"c"] == said.parts
    assert "0123456789ab" == said.header("x-softlaunch-release")
    assert None is said.header("x-softlaunch-served")
    assert [] == kept.records


def test_a_path_with_a_star_stands_for_any_rest() -> None:
    assert 500 == ask(guard(answering({"late": 7})), "/v1/score").status


def test_cpu_time_is_told_of_a_request_that_was_alone() -> None:
    ticks = iter(range(0, 10_000_000, 1_000_000))
    found = guard(answering({"late": 0}))
    found._cpu_clock = lambda: next(ticks)

    assert "1000" == ask(found).header("x-softlaunch-cpu-us")


def test_cpu_time_is_not_told_of_requests_that_ran_together() -> None:
    async def app(scope, receive, send) -> None:
        await asyncio.sleep(0.01)
        await answering({"late": 0})(scope, receive, send)

    async def both() -> list[Said]:
        found = guard(app)
        asked = [_ask(found, "/score", b"{}", "POST", (ID,)) for _ in range(2)]
        return list(await asyncio.gather(*asked))

    assert [None, None] == [said.header("x-softlaunch-cpu-us") for said in asyncio.run(both())]


def test_only_the_supervisors_own_question_is_answered_by_the_guard() -> None:
    found = guard(answering({"theirs": True}))
    ours = ask(found, "/v2/health/ready", method="GET", headers=((b"x-softlaunch-probe", b"token"),))
    theirs = ask(found, "/v2/health/ready", method="GET", headers=((b"x-softlaunch-probe", b"guessed"),))

    assert (200, "token") == (ours.status, ours.header("x-softlaunch-instance"))
    assert {"theirs": True} == json.loads(theirs.body)


def test_the_reason_why_an_app_is_not_ready_is_told() -> None:
    async def not_yet() -> str:
        return "its ready path /health answers 503"

    found = guard(answering({}))
    found._ready = not_yet
    said = ask(found, "/", headers=((b"x-softlaunch-probe", b"token"),))

    assert (503, "its ready path /health answers 503") == (said.status, said.header("x-softlaunch-detail"))


def test_an_app_that_hangs_is_asked_whether_it_is_ready_once_at_a_time() -> None:
    asked = []

    async def hangs() -> str:
        asked.append(1)
        await asyncio.sleep(60)
        return ""

    async def probes() -> None:
        found = guard(answering({}))
        found._ready = hangs
        probe = ((b"x-softlaunch-probe", b"token"),)
        for _ in range(3):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(_ask(found, "/", b"", "GET", probe), 0.01)

    asyncio.run(probes())
    assert [1] == asked


def test_no_request_reaches_an_app_that_has_not_started() -> None:
    found = guard(answering({"late": 0}))
    found.phase = readiness.Phase.LOADING

    assert 503 == ask(found).status


def test_a_draining_guard_closes_connections() -> None:
    found = guard(answering({"late": 0}))
    found.phase = readiness.Phase.DRAINING

    assert "close" == ask(found).header("connection")
