"""
The keys `env:` and `secrets:` of an environment.

Their values are never shown: a secret may stand here in the wrong shape.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from softlaunch.config import fields, keys, problems, yaml_tree
from softlaunch.core import secret_references

_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,254}")
_REFERENCE = re.compile(r"\$(?:([A-Za-z_][A-Za-z0-9_]{0,254})|\{([A-Za-z_][A-Za-z0-9_]{0,254})\})")
_FILE = re.compile(r"(?:/|~/)[^\x00-\x1f]{1,4000}")
_VAULT = re.compile(r"(?!/)[^\s\x00-\x1f?#%]{1,1000}#[^\s\x00-\x1f#]{1,200}")

References = Mapping[str, secret_references.SecretReference]


def read(env: fields.Field | None, secrets: fields.Field | None) -> tuple[Mapping[str, str], References]:
    """Texts as they are written, and what is kept elsewhere."""
    texts: dict[str, str] = {}
    references: dict[str, secret_references.SecretReference] = {}
    if env is not None:
        for key, value in env.entries("a mapping of names to texts", example="{CARRIER_API: $CARRIER_API}"):
            name = _name(key)
            if isinstance(value.node, yaml_tree.Mapping):
                _put(references, name, _reference(name, value))
            elif value.scalar is None:
                value.wrong(
                    f"{problems.show(name)} has no text.",
                    "Write a text, or $NAME to take it from where softlaunch runs.",
                )
            else:
                if "\x00" in value.scalar:
                    value.wrong(f"The text of {problems.show(name)} holds a NUL character.", "Remove it.")
                texts[name] = value.scalar
    if secrets is not None:
        for key, value in secrets.entries("a mapping of names to references", example="{API_KEY: $API_KEY}"):
            name = _name(key)
            if name in texts or name in references:
                key.wrong(f"{problems.show(name)} stands under `env` too.", "Keep one of them.")
            _put(references, name, _secret(name, value))
    return texts, references


def _name(key: fields.Field) -> str:
    name = key.scalar or ""
    if not _VARIABLE.fullmatch(name):
        key.wrong(
            f"'{problems.show(name)}' cannot name an environment variable.", "Use letters, digits and underscores."
        )
    elif name.startswith("SOFTLAUNCH_"):
        key.wrong(f"{problems.show(name)} belongs to softlaunch.", "Give the variable another name.")
    return name


def _put(
    references: dict[str, secret_references.SecretReference],
    name: str,
    found: secret_references.SecretReference | None,
) -> None:
    if found is not None:
        references[name] = found


def _secret(name: str, value: fields.Field) -> secret_references.SecretReference | None:
    if isinstance(value.node, yaml_tree.Mapping):
        return _reference(name, value)
    match = _REFERENCE.fullmatch(value.scalar or "")
    if match is None:
        value.wrong(
            f"{problems.show(name)} does not say where the secret is kept.",
            "Write $NAME, {file: PATH}, {env: NAME} or {vault: PATH#FIELD}: this file is committed.",
        )
        return None
    return secret_references.SecretReference(kind=secret_references.SecretKind.ENV, target=match[1] or match[2])


def _reference(name: str, value: fields.Field) -> secret_references.SecretReference | None:
    section = fields.Section(value, keys.SECRET)
    kind = section.one_of(*(found.value for found in secret_references.SecretKind))
    field = section.get(kind) if kind is not None else None
    if kind is None or field is None:
        return None
    pattern, example = {
        "file": (_FILE, "/run/secrets/api-key"),
        "env": (_VARIABLE, "API_KEY"),
        "vault": (_VAULT, "secret/data/tips#password"),
    }[kind]
    text = field.scalar
    if text is None or not pattern.fullmatch(text) or (kind == "vault" and ".." in text.split("/")):
        field.wrong(f"{problems.show(name)}: this names no secret of that kind.", f"For example: {kind}: {example}")
        return None
    return secret_references.SecretReference(kind=secret_references.SecretKind(kind), target=text)
