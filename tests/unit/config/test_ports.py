from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.config import ports, settings

SETTINGS = settings.Settings()


def _assign(
    environments: list[str], remembered: dict[str, int] | None = None, taken: tuple[int, ...] = ()
) -> dict[str, int]:
    return ports.assign(
        environments,
        remembered=remembered or {},
        settings=SETTINGS,
        is_free=lambda port: port not in taken,
    )


def test_production_has_its_own_port_and_the_others_count_upward() -> None:
    assert _assign(["staging", "production", "integration"]) == {
        "production": 8080,
        "integration": 8081,
        "staging": 8082,
    }


def test_a_port_in_use_is_passed_over() -> None:
    assert _assign(["staging"], taken=(8081, 8082)) == {"staging": 8083}


def test_a_remembered_port_stays_even_while_our_own_gateway_uses_it() -> None:
    assert _assign(["a", "staging"], {"staging": 8081}, taken=(8081,)) == {"a": 8082, "staging": 8081}


def test_a_port_promised_to_an_environment_that_does_not_run_is_not_given_away() -> None:
    assert _assign(["new"], {"old": 8081}) == {"new": 8082}


def test_the_ports_of_production_and_of_the_api_are_not_given_away() -> None:
    chosen = settings.Settings(api_port=8081, production_port=8082, environment_port_first=8081)

    assert ports.assign(["a"], remembered={}, settings=chosen, is_free=lambda _: True) == {"a": 8083}


def test_production_follows_its_setting_and_not_its_memory() -> None:
    assert _assign(["production"], {"production": 9999}) == {"production": 8080}


def test_the_same_question_has_the_same_answer() -> None:
    first = _assign(["b", "a", "a"])

    assert first == _assign(["a", "b"], first)


def test_no_port_left_is_said() -> None:
    with pytest.raises(errors.UnavailableError, match="No port from 8081 upward"):
        ports.assign(["a"], remembered={}, settings=SETTINGS, is_free=lambda _: False)
