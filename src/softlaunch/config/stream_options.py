"""The file of a stream's options: properties of librdkafka, `name=value` a line, as its own documentation has them."""

from __future__ import annotations

import pathlib
import stat

from softlaunch import errors

_SECRET = ("password", "secret", "ssl.key.pem", "oauthbearer")


def read(path: pathlib.Path) -> dict[str, str]:
    """
    The options in a file; empty lines and those that begin with # say nothing.

    Raises:
        ConfigError: it cannot be read, a line is none, or others may read a secret in it.
    """
    try:
        text, mode = path.read_text("utf-8"), path.stat().st_mode
    except (OSError, UnicodeError) as error:
        raise _wrong(f"{path} cannot be read: {error}.", "Correct the file.") from error
    found = {}
    for number, line in enumerate(text.splitlines(), start=1):
        stripped = line.strip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        if not equals or not name.strip():
            raise _wrong(f"{path}:{number} is no `name=value`.", "Correct the line.")  # not shown: it may be a secret
        found[name.strip()] = value.strip()
    if stat.S_IMODE(mode) & 0o077 and any(word in name for name in found for word in _SECRET):
        raise _wrong(f"{path} holds a secret and has mode {stat.S_IMODE(mode):04o}.", f"Run chmod 600 {path}.")
    return found


def _wrong(message: str, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.STREAM_OPTIONS)
