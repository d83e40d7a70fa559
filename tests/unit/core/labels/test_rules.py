"""Declarations of labels."""

from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core.labels import rules


def declared(**members: object) -> tuple[str, rules.Rule]:
    return rules.declared(
        **{"name": "good", "within": "7d", "match": "all", "events": [], "otherwise": None, **members}
    )


def test_events_have_values_and_one_without_means_one() -> None:
    name, rule = declared(events=["accepted", "refunded=0"], within="30d", match="last", otherwise=0.5)

    assert "good" == name
    assert {"accepted": 1.0, "refunded": 0.0} == rule.events
    assert (30 * 86_400.0, rules.Match.LAST, 0.5) == (rule.within_seconds, rule.match, rule.otherwise)
    assert rule == rules.Rule.from_json(rule.to_json())
    assert rules.Rule() == rules.Rule.from_json(rules.Rule().to_json())


@pytest.mark.parametrize(
    ("members", "reason"),
    [
        ({"name": "1st"}, "1st"),
        ({"within": "0"}, "no window"),
        ({"within": "9999d"}, "no window"),
        ({"within": "soon"}, "soon"),
        ({"events": ["click=yes"]}, "'yes' is no number"),
        ({"events": ["click=inf"]}, "'inf' is no number"),
        ({"events": ["click=1", "click=0"]}, "two values"),
        ({"events": ["=1"]}, "cannot be used"),
        ({"otherwise": float("nan")}, "nan is no number"),
    ],
)
def test_what_cannot_be_declared_says_why(members: dict[str, object], reason: str) -> None:
    with pytest.raises(errors.ConfigError, match=reason):
        declared(**members)
