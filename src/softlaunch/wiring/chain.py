"""The chain of a home's history."""

from __future__ import annotations

from collections.abc import Sequence

from softlaunch import errors
from softlaunch.adapters.sql import chain
from softlaunch.config import home as homes
from softlaunch.core import history_chain


def verify(home: homes.Home, heads: Sequence[str] = ()) -> history_chain.Verification:
    """
    Reads the whole history of a home; needs no control plane and disturbs none.

    Args:
        home: Whose history.
        heads: Further heads, NUMBER:HASH, as an earlier call told them.

    Returns:
        What was found.

    Raises:
        ConfigError: there is no history, or a head cannot be read.
        UnavailableError: the state file is damaged.
    """
    known = [*chain.kept_heads(home.state_file), *(_head(text) for text in heads)]
    return chain.check(home.state_file, known)


def headless(home: homes.Home) -> int:
    """The last record of a history whose heads somebody took away; 0: nobody did, or it is not chained yet."""
    if not home.state_file.is_file() or home.heads_file.exists():
        return 0
    try:
        found = chain.check(home.state_file, ())
    except errors.SoftlaunchError:
        return 0  # who opens it will say what is wrong with it
    return found.record_count


def _head(text: str) -> history_chain.Head:
    found = history_chain.Head.parse(text)
    if found is None:
        raise errors.ConfigError(
            f"{text!r:.100} is no head of a history.",
            remedy="Give it as `softlaunch verify --history` told it: NUMBER:HASH.",
            code=errors.Code.NO_HISTORY,
        )
    return found
