from __future__ import annotations

import json

import pytest

from softlaunch.adapters.envoy import attempt_lines
from softlaunch.core import attempts

CANDIDATE = (
    b'{"cluster":"flights/production/composite/bbbbbbbbbbbb-aaaaaaaaaaaa-0123456789abcdef","epoch":"7","flags":"UT",'
    b'"bytes":"42","cpu":"1500","memory":"65536","served":"12","features":"missing=2,late=1,stale=0","release":"bbbbbbbbbbbb",'
    b'"host":"/tmp/sl-0-1/bbbbbbbbbbbb.3.x.sock","id":"r-1","invalid":"1","key":"u\\u00ff\\"1","number":"2","out":"n:3",'
    b'"shed":"1","start":"1795382307.535169","status":503,"us":251}\n'
)
UNREACHED = (
    b'{"cluster":"flights/integration/stable/aaaaaaaaaaaa","epoch":"1","flags":"UH","host":null,"id":"r-2","invalid":null,'
    b'"key":null,"number":"1","out":null,"shed":null,"start":"1795382307.535169","status":0,"us":null}\n'
)


def test_every_field_of_a_line_becomes_the_attempts() -> None:
    parsed = attempt_lines.Parser().parse(CANDIDATE)

    assert parsed.gaps == []
    assert parsed.attempts == [
        attempts.Attempt(
            started_at=1795382307.535169,
            request_id="r-1",
            service="flights",
            environment="production",
            epoch=7,
            release="bbbbbbbbbbbb",
            composite=True,
            number=2,
            status=503,
            flags="UT",
            latency_us=251,
            key='uÿ"1',
            invalid=True,
            shed=True,
            output="n:3",
            cpu_us=1500,
            memory_kib=65536,
            served_count=12,
            input_bytes=42,
            replica="bbbbbbbbbbbb.3.x.sock",
            features_defaulted=3,
        )
    ]


@pytest.mark.parametrize("said", [b"missing=1", b"missing=-1,late=0,stale=0", b"missing=x,late=0,stale=0", b"7", b""])
def test_what_no_model_server_says_of_features_says_nothing(said: bytes) -> None:
    line = CANDIDATE.replace(b"missing=2,late=1,stale=0", said)

    assert attempt_lines.Parser().parse(line).attempts[0].features_defaulted is None


def test_an_attempt_that_reached_nobody_has_no_release_and_no_latency() -> None:
    (attempt,) = attempt_lines.Parser().parse(UNREACHED).attempts

    assert ("", None, "", False, False) == (
        attempt.release,
        attempt.latency_us,
        attempt.key,
        attempt.invalid,
        attempt.shed,
    )


def test_a_foreign_cluster_is_a_gap() -> None:
    parsed = attempt_lines.Parser().parse(UNREACHED.replace(b"flights/integration/stable/", b"other/"))

    assert parsed.attempts == []
    assert "unknown cluster" in parsed.gaps[0]


def line(**fields: str | None) -> bytes:
    return json.dumps(json.loads(CANDIDATE) | fields).encode() + b"\n"


@pytest.mark.parametrize("text", ["", "-1", "1.5", "1e9", "x", " 1", "1_0", "9" * 19, "9" * 5000, "0x1", None])
def test_a_malformed_number_is_none_and_the_line_is_still_an_attempt(text: str | None) -> None:
    parsed = attempt_lines.Parser().parse(line(cpu=text, memory=text, served=text, bytes=text))
    (attempt,) = parsed.attempts

    assert parsed.gaps == []
    assert (None, None, None, None) == (
        attempt.cpu_us,
        attempt.memory_kib,
        attempt.served_count,
        attempt.input_bytes,
    )


def test_a_server_outside_is_named_by_its_address_and_its_release_by_the_line() -> None:
    (attempt,) = attempt_lines.Parser().parse(line(host="10.0.0.1:8080")).attempts
    (nobody,) = attempt_lines.Parser().parse(line(host="10.0.0.1:8080", release=None)).attempts

    assert ("bbbbbbbbbbbb", "10.0.0.1:8080") == (attempt.release, attempt.replica)
    assert "" == nobody.release


def test_a_line_of_an_older_gateway_names_the_release_by_its_socket() -> None:
    (attempt,) = attempt_lines.Parser().parse(line(release=None)).attempts

    assert "bbbbbbbbbbbb" == attempt.release


@pytest.mark.parametrize(
    ("role", "composite"),
    [("stable", False), ("guarded-stable", False), ("composite", True), ("guarded-composite", True)],
)
def test_only_the_candidates_share_is_composite(role: str, *, composite: bool) -> None:
    (attempt,) = attempt_lines.Parser().parse(line(cluster=f"flights/production/{role}/a-b-c-d")).attempts

    assert composite is attempt.composite


def test_attempts_of_copies_are_kept_apart() -> None:
    parsed = attempt_lines.Parser().parse(line(cluster="flights/production/shadow/b-c") + CANDIDATE)

    assert (1, 1) == (len(parsed.attempts), len(parsed.copies))


def test_answers_of_fallbacks_are_counted_by_service_and_environment() -> None:
    said = [{"fallback": "table", "place": place, "id": "x", "start": "1.0"} for place in ("a/b", "c/b", "a/b")]
    parsed = attempt_lines.Parser().parse(CANDIDATE + b"".join(json.dumps(each).encode() + b"\n" for each in said))

    assert {("a", "b"): 2, ("c", "b"): 1} == parsed.fallbacks
    assert (1, []) == (len(parsed.attempts), parsed.gaps)


@pytest.mark.parametrize(("text", "expected"), [("12r", (12, True)), ("12", (12, False)), ("r", (None, False))])
def test_a_server_says_with_its_answer_that_it_records_it(text: str, expected: tuple[int | None, bool]) -> None:
    parser = attempt_lines.Parser()
    (attempt,) = parser.parse(line(served=text)).attempts
    (attached,) = parser.parse(line(served=text, host="127.0.0.1:9000")).attempts

    assert expected == (attempt.served_count, attempt.recorded)
    assert (expected[0], False) == (attached.served_count, attached.recorded)
