"""YAML as people write it: keys in order, scripts as blocks, no string that another reader takes for something else."""

from __future__ import annotations

import io
import re
from collections.abc import Mapping, Sequence
from typing import Any, Self

import ruamel.yaml
from ruamel.yaml import comments, scalarstring

_OTHERWISE_IN_YAML_1_1 = re.compile(r"(?i)y|n|yes|no|on|off|true|false|null|~|[-+]?[0-9][0-9_:.]*(e[-+]?[0-9]+)?")
"""Strings that Kubernetes, GitLab and PyYAML, which read YAML 1.1, would not read as strings."""
_WIDTH = 4096
"""Longer than any line of ours: folded lines are hard to review."""


class Noted(str):
    """A string with a comment behind it."""

    __slots__ = ("note",)
    note: str

    def __new__(cls, value: str, note: str) -> Self:
        made = super().__new__(cls, value)
        made.note = note
        return made


def text(*documents: Mapping[str, Any], heading: str) -> str:
    """
    The text of a YAML file.

    Args:
        documents: What it says, in one document or in several.
        heading: Comment above it.
    """
    writer = ruamel.yaml.YAML()
    writer.width = _WIDTH
    writer.indent(mapping=2, sequence=4, offset=2)
    parts = []
    for document in documents:
        stream = io.StringIO()
        writer.dump(_written(document), stream)
        parts.append(stream.getvalue())
    return comment(heading, "#") + "---\n".join(parts)


def comment(heading: str, mark: str) -> str:
    """Lines of a comment."""
    return "".join(f"{mark} {line}".rstrip() + "\n" for line in heading.strip().splitlines())


def _written(value: Any) -> Any:
    if isinstance(value, Mapping):
        found = comments.CommentedMap()
        for key, each in value.items():
            found[key] = _written(each)
            if isinstance(each, Noted):
                found.yaml_add_eol_comment(each.note, key, column=0)
        return found
    if isinstance(value, str):
        if "\n" in value:
            return scalarstring.LiteralScalarString(value)
        if _OTHERWISE_IN_YAML_1_1.fullmatch(value):
            return scalarstring.DoubleQuotedScalarString(value)
        return str(value)
    if isinstance(value, Sequence):
        return comments.CommentedSeq(_written(each) for each in value)
    return value
