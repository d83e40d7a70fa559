"""
softlaunch.lock: which bytes a model's URL stood for when somebody looked at them.

A JSON document that is committed beside softlaunch.yaml. A build fetches the URL again, or takes its cached copy, and
refuses anything but these bytes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping

from softlaunch import errors

NAME = "softlaunch.lock"
SCHEMA_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


def dump(pins: Mapping[str, str]) -> bytes:
    """
    The file's bytes: sorted and indented, so that a change is one line of a diff.

    Args:
        pins: sha256 in hex by URL.
    """
    return json.dumps({"schema": SCHEMA_VERSION, "sha256": dict(pins)}, indent=2, sort_keys=True).encode() + b"\n"


def load(raw: bytes) -> dict[str, str]:
    """
    Pins by URL, as `dump` wrote them.

    Raises:
        ConfigError: not such a file.
    """
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise _broken(f"it is not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_VERSION:
        found = document.get("schema") if isinstance(document, dict) else document
        raise _broken(f"its schema is {found!r:.40}, this softlaunch reads {SCHEMA_VERSION}")
    pins = document.get("sha256")
    if not isinstance(pins, dict):
        raise _broken("`sha256` is not a mapping of URLs to digests")
    for url, digest in pins.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise _broken(f"the digest of {url!r:.200} is {digest!r:.80}, not 64 hex digits")
    return pins


def _broken(why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{NAME} cannot be read: {why}.",
        remedy="Write it anew with `softlaunch build --pin` and commit it.",
        code=errors.Code.PIN_FILE,
    )
