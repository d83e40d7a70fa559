from __future__ import annotations

import pytest

from softlaunch import errors
from softlaunch.core import env_references


def test_references_are_replaced_wherever_they_stand() -> None:
    env = {"URL": "http://${HOST}:$PORT/x", "PLAIN": "as it is", "PRICE": "5$$"}

    assert env_references.resolve(env, {"HOST": "example.com", "PORT": "80"}) == {
        "URL": "http://example.com:80/x",
        "PLAIN": "as it is",
        "PRICE": "5$",
    }


def test_what_a_variable_holds_is_not_searched_again() -> None:
    assert env_references.resolve({"A": "$B"}, {"B": "$C and $$"}) == {"A": "$C and $$"}


def test_an_empty_variable_is_set() -> None:
    assert env_references.resolve({"A": "$B"}, {"B": ""}) == {"A": ""}


def test_every_missing_variable_is_named_at_once_and_no_value_is() -> None:
    with pytest.raises(errors.ConfigError) as caught:
        env_references.resolve({"A": "hunter2$ONE", "B": "$TWO-$THERE", "C": "9 $"}, {"THERE": "hunter2"})

    assert caught.value.message == (
        "These environment variables are not set: $ONE (for A), $TWO (for B). A $ refers to nothing in: C."
    )
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("text", ["$", "a$", "$ x", "${", "${}", "${A", "$1", "${A-b}"])
def test_a_stray_dollar_is_refused(text: str) -> None:
    with pytest.raises(errors.ConfigError, match="refers to nothing in: KEY"):
        env_references.resolve({"KEY": text}, {"A": "1", "A-b": "2"})


def test_references_are_listed_in_their_order() -> None:
    assert env_references.references("$B ${A} $$C $B") == ("B", "A", "B")
