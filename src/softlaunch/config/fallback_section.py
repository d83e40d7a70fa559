"""The key `fallback:` of an environment: what answers when every release failed, in order."""

from __future__ import annotations

import json
import math
import re
from typing import Any

from softlaunch.config import fields, keys, model_section, problems, yaml_tree
from softlaunch.core import spec

_COUNT_MAX = 8
"""Each is asked within one request's time; a guess."""
_FUNCTION = re.compile(r"(?!/)(?:[A-Za-z0-9_.-]+/)*[A-Za-z_]\w*\.py:[A-Za-z_]\w*", re.ASCII)
_INTEGER = re.compile(r"-?(0|[1-9]\d{0,17})", re.ASCII)
_FLOAT = re.compile(r"-?(0|[1-9]\d{0,17})(\.\d{1,18})?([eE][-+]?\d{1,2})?", re.ASCII)
_EXAMPLE = "[{previous: true}, {body: {late: 0.2}}]"


def read(field: fields.Field) -> tuple[tuple[spec.FallbackSpec, ...], bytes | None]:
    """Those that are asked, in order, and the body that stands behind all of them."""
    items = list(field.items("a list", example=_EXAMPLE)) if isinstance(field.node, yaml_tree.Sequence) else [field]
    if len(items) > _COUNT_MAX:
        field.wrong(f"There are {len(items)} fallbacks, more than {_COUNT_MAX}.", f"For example: {_EXAMPLE}")
        return (), None
    found: list[spec.FallbackSpec] = []
    body: bytes | None = None
    for item in items:
        one = _one(item)
        if body is not None:
            item.wrong("Nothing is asked behind a body.", "Put the body last.")
        elif isinstance(one, bytes):
            body = one
        elif one is not None and one in found:
            item.wrong("This fallback stands here twice.", "Keep one of them.")
        elif one is not None:
            found.append(one)
    return tuple(found), body


def _one(field: fields.Field) -> spec.FallbackSpec | bytes | None:
    section = fields.Section(field, keys.FALLBACK)
    if section.has("keys") and not section.has("table"):
        section.only_with("table", "keys")
    chosen = section.one_of("body", "table", "python", "previous", "url")
    value = section.get(chosen) if chosen is not None else None
    if value is None:
        return None
    match chosen:
        case "body":
            return json.dumps(_json(value), ensure_ascii=False, separators=(",", ":")).encode()
        case "table":
            return _table(section, value)
        case "python":
            return spec.FallbackSpec(kind=spec.FallbackKind.PYTHON, target=_function(value))
        case "previous":
            if not value.boolean(stand_in=True):
                value.wrong("`previous: false` asks nobody.", "Write previous: true, or remove it.")
            return spec.FallbackSpec(kind=spec.FallbackKind.PREVIOUS)
        case _:
            return spec.FallbackSpec(
                kind=spec.FallbackKind.URL, target=value.url(example="http://10.0.0.7:8080", bare=True)
            )


def _table(section: fields.Section, field: fields.Field) -> spec.FallbackSpec:
    columns = section.get("keys")
    if not section.has("keys"):
        section.field.wrong("Nothing says which columns name a row.", "For example: keys: [origin]")
    return spec.FallbackSpec(
        kind=spec.FallbackKind.TABLE,
        target=field.file_path(suffixes=(".csv",), example="fallback.csv"),
        keys=model_section.names(columns, "column", example="[origin]") if columns is not None else (),
    )


def _function(field: fields.Field) -> str:
    text = field.text("FILE.py:FUNCTION", example="fallback.py:price")
    if text and (not _FUNCTION.fullmatch(text) or ".." in text.split("/")):
        field.wrong(f"'{problems.show(text)}' does not name a function in a file.", "For example: fallback.py:price")
    return text


def _json(field: fields.Field) -> Any:
    node = field.node
    if isinstance(node, yaml_tree.Mapping):
        return {key.text: _json(field.below(key.text, value)) for key, value in node.entries}
    if isinstance(node, yaml_tree.Sequence):
        items = (
            fields.Field(node=item, path=f"{field.path}[{number}]", notebook=field.notebook)
            for number, item in enumerate(node.items)
        )
        return [_json(item) for item in items]
    if not node.plain:
        return node.text
    if yaml_tree.is_null(node):
        return None
    if node.text in {"true", "false"}:
        return node.text == "true"
    if _INTEGER.fullmatch(node.text):
        return int(node.text)
    if _FLOAT.fullmatch(node.text) and math.isfinite(value := float(node.text)):
        return value
    if node.text.lower() in {".nan", ".inf", "-.inf", "+.inf"}:
        field.wrong(f"{node.text} cannot be written as JSON.", "Use a number, a text or null.")
    return node.text
