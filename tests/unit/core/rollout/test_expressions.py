from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core import attempts
from softlaunch.core.rollout import expressions

LINE = attempts.Attempt(
    started_at=1.0,
    request_id="r",
    service="s",
    environment="e",
    epoch=1,
    release="a" * 12,
    composite=False,
    number=1,
    status=200,
    flags="UT",
    latency_us=12_500,
    key="u1",
    invalid=False,
    shed=False,
    output="n:0.42",
    memory_kib=2_048,
    input_bytes=100,
)


@pytest.mark.parametrize(
    "text",
    [
        "status == 200 and latency_ms > 12",
        "10 < latency_ms <= 12.5",
        "memory_mib == 2",
        "'UT' in flags and key not in ('u2', 'u3')",
        "status in [200, 201]",
        "output_number > 0.4 or shed",
        "not invalid",
        "latency_us / input_bytes >= 125",
        "-status < 0",
        "input_bytes * 2 - 1 == 199 and input_bytes // 30 == 3 and input_bytes % 30 == 10",
        "not cpu_ms > 5",  # not known: the comparison is false
        "True",
    ],
)
def test_what_is_true_of_an_attempt(text: str) -> None:
    assert expressions.compile_(text)(LINE) is True


@pytest.mark.parametrize(
    "text",
    [
        "cpu_ms > 5",
        "cpu_ms <= 5",
        "cpu_ms == cpu_ms",
        "cpu_us + 1 > 0",
        "-cpu_us < 0",
        "served_count in (1, 2)",
        "served_count not in (1, 2)",
        "status / 0 > 1",
        "status % 0 == 0",
        "shed",
    ],
)
def test_what_is_not_known_or_not_defined_is_false(text: str) -> None:
    assert expressions.compile_(text)(LINE) is False


@pytest.mark.parametrize(
    ("text", "part"),
    [
        ("__import__('os')", "__import__('os')"),
        ("status.real > 1", "status.real"),
        ("flags[0] == 'U'", "flags[0]"),
        ("colour == 'red'", "colour"),
        ("status == '200'", "status ... '200'"),
        ("status > 1 and latency_ms", "latency_ms"),
        ("status", "status"),
        ("2 ** 9999 > 1", "2 ** 9999"),
        ("(lambda: True)()", "lambda"),
        ("[x for x in flags] == 1", "for x"),
        ("status in (key, 1)", "(key, 1)"),
        ("1 in flags", "1"),
        ("status is 200", "status is 200"),
        ("key + 'x' == 'ux'", "key"),
        ("status > 1e99", "1e+99"),
        ("status ==", "status =="),
        ("status == 1; shed", "status == 1; shed"),
        (" or ".join(["shed"] * 100), "101 parts"),
        ("shed or " * 200 + "shed", "characters"),
        ("f'{status}' == '200'", "f'"),
        ("(y := 1) == 1", "y := 1"),
    ],
)
def test_everything_else_is_refused_by_name(text: str, part: str) -> None:
    with pytest.raises(errors.ConfigError) as refused:
        expressions.compile_(text)

    assert errors.Code.EXPRESSION is refused.value.code
    assert part in str(refused.value)
