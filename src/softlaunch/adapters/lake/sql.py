"""Names and texts in SQL, for DuckDB and for the predicates of Delta tables."""

from __future__ import annotations


def quoted(text: str) -> str:
    """A text as a literal."""
    return "'" + text.replace("'", "''") + "'"


def named(name: str) -> str:
    """A column's name, whatever letters it has."""
    return '"' + name.replace('"', '""') + '"'
