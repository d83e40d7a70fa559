"""Fallback answers are told at once, then rarely, and when it is over."""

from __future__ import annotations

from softlaunch.controller import fallback_watch

PLACE = ("demo", "production")


def _watch(*seen: tuple[float, int]) -> list[tuple[float, str]]:
    watch = fallback_watch.FallbackWatch()
    told = []
    for now, count in seen:
        watch.observe({PLACE: count} if count else {}, now)
        told += [(now, text) for _, text in watch.due(now)]
    return told


def test_the_first_fallback_answer_is_told_at_once() -> None:
    assert [(0.0, "Every release failed for 3 requests, which a fallback answered.")] == _watch((0.0, 3), (1.0, 5))


def test_fallback_answers_that_go_on_are_told_once_a_minute_with_their_number() -> None:
    told = _watch((0.0, 3), (30.0, 5), (59.0, 2), (60.0, 1), (61.0, 1))

    assert [0.0, 60.0] == [at for at, _ in told]
    assert told[1][1] == "In the last minute every release failed for 8 requests, which a fallback answered."


def test_a_minute_without_one_ends_it_and_the_next_is_told_at_once_again() -> None:
    told = _watch((0.0, 3), (10.0, 4), (69.0, 0), (70.0, 0), (71.0, 1))

    assert [0.0, 69.0, 70.0, 71.0] == [at for at, _ in told]
    assert told[2][1] == "No fallback answer for 60 s: 7 were given within 10 s."


def test_nothing_is_told_where_nothing_fell_back() -> None:
    assert [] == _watch((0.0, 0), (100.0, 0))
