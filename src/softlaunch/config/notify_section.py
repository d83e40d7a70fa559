"""
The key `notify:`, at the top of softlaunch.yaml or in an environment.

Its values are never shown: they may be secrets.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from softlaunch.config import fields, problems, yaml_tree

_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}", re.ASCII)
_VARIABLE = re.compile(r"\$(?:[A-Za-z_]\w{0,254}|\{[A-Za-z_]\w{0,254}\})", re.ASCII)
_URL = re.compile(r"[a-z][a-z0-9+.-]{0,31}://[^\s\x00-\x1f]{1,2000}", re.IGNORECASE)
_COUNT_MAX = 20


def read(field: fields.Field) -> Mapping[str, str]:
    """Who is told, by name."""
    found: dict[str, str] = {}
    for key, value in field.entries("a mapping of names to URLs", example="{slack: $SLACK_WEBHOOK}"):
        name = key.scalar or ""
        if not _NAME.fullmatch(name):
            key.wrong(
                f"'{problems.show(name)}' cannot name who is told.",
                "Use lower-case letters, digits, hyphens and underscores.",
            )
        text = value.scalar
        if text is None or not (_VARIABLE.fullmatch(text) or _URL.fullmatch(text)):
            value.wrong(
                f"{problems.show(name)} is neither a URL nor a variable.",
                "For example: $SLACK_WEBHOOK, or json://ops.example.com/softlaunch",
            )
            continue
        found[name] = text
    if isinstance(field.node, yaml_tree.Mapping) and not field.node.entries:
        field.wrong("Nobody is told.", "For example: {slack: $SLACK_WEBHOOK}")
    if len(found) > _COUNT_MAX:
        field.wrong(f"There are {len(found)} entries, more than {_COUNT_MAX}.", "Tell fewer, or one that tells others.")
    return found
