"""
References to environment variables ($NAME, ${NAME}) in the texts of `environments.NAME.env`.

They are looked up when a model server is started, not when the file is read: the value is no part of the release, of
the stored plan or of any message. `$$` is a dollar sign.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from softlaunch import errors

_REFERENCE = re.compile(r"\$(?:(\$)|([A-Za-z_][A-Za-z0-9_]*)|\{([A-Za-z_][A-Za-z0-9_]*)\}|)")


def resolve(env: Mapping[str, str], variables: Mapping[str, str]) -> dict[str, str]:
    """
    The texts with every reference replaced by its variable. What a variable holds is not searched again.

    Raises:
        ConfigError: variables are missing, all of which it names, or a `$` stands alone.
    """
    missing = sorted(
        f"${name} (for {key})" for key, text in env.items() for name in references(text) if name not in variables
    )
    stray = sorted(
        key for key, text in env.items() if any(not any(found.groups()) for found in _REFERENCE.finditer(text))
    )
    if missing or stray:
        parts = []
        if missing:
            parts.append(f"These environment variables are not set: {', '.join(missing)}.")
        if stray:
            parts.append(f"A $ refers to nothing in: {', '.join(stray)}.")
        raise errors.ConfigError(
            " ".join(parts),
            remedy="Set them where softlaunch is started; write $$ for a dollar sign.",
            code=errors.Code.ENV_REFERENCE,
        )

    def value(found: re.Match[str]) -> str:
        return "$" if found[1] else variables[found[2] or found[3]]

    return {key: _REFERENCE.sub(value, text) for key, text in env.items()}


def references(text: str) -> tuple[str, ...]:
    """Names of the variables a text refers to, in its order."""
    return tuple(found[2] or found[3] for found in _REFERENCE.finditer(text) if found[2] or found[3])
