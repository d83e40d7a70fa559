"""
Names put into the queries and URLs of a team's own checks: {service}, {environment}, {candidate}, {stable}.

Only these words in braces mean anything; every other brace is PromQL's own. What is put in is escaped for where it
stands, so that no name can end the string it is in.
"""

from __future__ import annotations

import re
import urllib.parse
from collections.abc import Callable, Mapping

NAMES = ("service", "environment", "candidate", "stable")
_PLACE = re.compile(r"\{(" + "|".join(NAMES) + r")\}")
_PROMQL = str.maketrans({"\\": "\\\\", '"': '\\"', "'": "\\'", "\n": "\\n", "\r": "\\r"})


def promql(target: str, names: Mapping[str, str]) -> str:
    """
    A query with the names in it, each escaped as in a PromQL string of single or double quotes.

    Raises:
        KeyError: a name is asked for that is not known.
    """
    return _filled(target, names, lambda value: value.translate(_PROMQL))


def url(target: str, names: Mapping[str, str]) -> str:
    """
    A URL with the names in it, each percent-encoded.

    Raises:
        KeyError: a name is asked for that is not known.
    """
    return _filled(target, names, lambda value: urllib.parse.quote(value, safe=""))


def _filled(target: str, names: Mapping[str, str], escaped: Callable[[str], str]) -> str:
    return _PLACE.sub(lambda found: escaped(names[found[1]]), target)
