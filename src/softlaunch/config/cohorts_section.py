"""The key `cohorts:`, at the top of softlaunch.yaml or in an environment."""

from __future__ import annotations

import re

from softlaunch.config import fields, keys, problems, yaml_tree
from softlaunch.core import spec

_NAME = re.compile(r"[a-z0-9]([a-z0-9_-]{0,62})", re.ASCII)
_RESERVED = frozenset({"shadow", "approval", "share"})
"""Words of steps: a plan in one line would read wrong."""
_COHORT_COUNT_MAX = 16
"""Each has routes of its own; a guess."""
_VALUE_COUNT_MAX = 1_000
_PATTERN_CHARACTERS_MAX = 256
_NOT_RE2 = re.compile(r"\(\?(?:[=!>#(]|<[=!]|P=)|\\[1-9]|[*+?}]\+")
"""What Python's expressions have and RE2's have not: looking around, references back, possessive repeats."""


def read(field: fields.Field) -> tuple[spec.CohortSpec, ...]:
    """The cohorts in the order of the file."""
    found = []
    for key, value in field.entries("a mapping of names to cohorts", example="{internal: {header: x-employee}}"):
        name = key.scalar or ""
        if not _NAME.fullmatch(name):
            key.wrong(
                f"'{problems.show(name)}' cannot name a cohort.",
                "Use lower-case letters, digits, hyphens, _.",
            )
        elif name in _RESERVED:
            key.wrong(f"'{name}' is a word of steps.", "Give the cohort another name.")
        found.append(_cohort(name, value))
    if isinstance(field.node, yaml_tree.Mapping) and not found:
        field.wrong("There is no cohort.", "For example: {internal: {header: x-employee}}")
    if len(found) > _COHORT_COUNT_MAX:
        field.wrong(f"There are {len(found)} cohorts, more than {_COHORT_COUNT_MAX}.", "Put users into fewer.")
    return tuple(found)


def merged(own: tuple[spec.CohortSpec, ...], common: tuple[spec.CohortSpec, ...]) -> tuple[spec.CohortSpec, ...]:
    """An environment's cohorts first, then those of the file that it does not name anew."""
    names = {cohort.name for cohort in own}
    return (*own, *(cohort for cohort in common if cohort.name not in names))


def _cohort(name: str, field: fields.Field) -> spec.CohortSpec:
    section = fields.Section(field, keys.COHORT)
    header, values, pattern = section.need("header"), section.get("values"), section.get("pattern")
    if values is not None and pattern is not None:
        pattern.wrong("`values` and `pattern` exclude each other.", "Keep one of them.")
    return spec.CohortSpec(
        name=name,
        header=header.header() if header is not None else "",
        values=(values.texts("value", example="[u1, u2]", count_max=_VALUE_COUNT_MAX) if values is not None else ()),
        pattern=_pattern(pattern) if pattern is not None else "",
    )


def _pattern(field: fields.Field) -> str:
    text = field.text("an RE2 expression", example='"acme-.*"')
    if len(text) > _PATTERN_CHARACTERS_MAX:
        field.wrong(f"The expression has {len(text)} characters, more than {_PATTERN_CHARACTERS_MAX}.", "Use `values`.")
        return text
    foreign = _NOT_RE2.search(text)
    if foreign is not None:
        field.wrong(f"RE2 has no '{problems.show(foreign[0])}'.", "For example: acme-.*")
        return text
    try:
        re.compile(text)
    except (re.error, RecursionError, OverflowError) as error:
        field.wrong(f"'{problems.show(text)}' is no expression: {error}.", "For example: acme-.*")
    return text
