from __future__ import annotations

from softlaunch.adapters.envoy import attempt_lines
from softlaunch.core import attempts

CANDIDATE = (
    b'{"cluster":"flights/production/composite/bbbbbbbbbbbb-aaaaaaaaaaaa-0123456789abcdef","epoch":"7","flags":"UT",'
    b'"host":"/tmp/sl-0-1/bbbbbbbbbbbb.3.x.sock","id":"r-1","invalid":"1","key":"u\\u00ff\\"1","number":"2","out":"3",'
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
        )
    ]


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
