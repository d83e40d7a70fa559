"""Answers of somebody's own code are compared where they are checked."""

from __future__ import annotations

from softlaunch.core.shadow import agreement

RULE = agreement.Rule(paths=("late", "rows.*.fare"), tolerance=0.01)


def test_times_and_ids_beside_may_differ() -> None:
    assert None is agreement.difference(b'{"late": 0.5, "at": 1}', b'{"at": 2, "late": 0.501}', RULE)


def test_a_difference_is_named_by_its_place() -> None:
    found = agreement.difference(b'{"late": 0.5}', b'{"late": 0.9}', RULE)
    inside = agreement.difference(
        b'{"rows": [{"fare": 1}, {"fare": 2}]}', b'{"rows": [{"fare": 1}, {"fare": 3}]}', RULE
    )

    assert ".late: stable 0.5, candidate 0.9" == str(found)
    assert ".rows.*.fare[1]: stable 2, candidate 3" == str(inside)


def test_another_number_of_values_is_a_difference() -> None:
    assert agreement.difference(b'{"rows": [{"fare": 1}]}', b'{"rows": []}', RULE) is not None
    assert agreement.difference(b'{"late": 1}', b"not JSON", RULE) is not None
