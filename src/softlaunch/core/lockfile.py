"""
softlaunch.lock: which bytes a model's URL, or its name in a registry, stood for when somebody looked at them.

A JSON document that is committed beside softlaunch.yaml. A build fetches the model again, or takes its cached copy, and
refuses anything but these bytes. An alias of an MLflow registry may move on: the version it stood for is fetched.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from softlaunch import errors

NAME = "softlaunch.lock"
SCHEMA_VERSION = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class ModelPin:
    """What a name in a model registry stood for."""

    version: str
    sha256: str
    """Of the downloaded directory, in hex: names and bytes of its files."""


def dump(pins: Mapping[str, str], models: Mapping[str, ModelPin] | None = None) -> bytes:
    """
    The file's bytes: sorted and indented, so that a change is one line of a diff.

    Args:
        pins: sha256 in hex by URL.
        models: By models:/NAME@ALIAS or models:/NAME/VERSION.
    """
    document: dict[str, Any] = {"schema": SCHEMA_VERSION, "sha256": dict(pins)}
    if models:
        document["models"] = {uri: dataclasses.asdict(found) for uri, found in models.items()}
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def load_models(raw: bytes) -> dict[str, ModelPin]:
    """
    Pins of registries' models, as `dump` wrote them; none in a file without any.

    Raises:
        ConfigError: not such a file.
    """
    found = _document(raw).get("models", {})
    if not isinstance(found, dict):
        raise _broken("`models` is not a mapping of models to versions and digests")
    pins = {}
    for uri, pin in found.items():
        version, digest = (pin.get("version"), pin.get("sha256")) if isinstance(pin, dict) else (None, None)
        if not isinstance(version, str) or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise _broken(f"the pin of {uri!r:.200} is {pin!r:.120}, not a version and 64 hex digits")
        pins[uri] = ModelPin(version=version, sha256=digest)
    return pins


def load(raw: bytes) -> dict[str, str]:
    """
    Pins by URL, as `dump` wrote them.

    Raises:
        ConfigError: not such a file.
    """
    pins = _document(raw).get("sha256")
    if not isinstance(pins, dict):
        raise _broken("`sha256` is not a mapping of URLs to digests")
    for url, digest in pins.items():
        if not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise _broken(f"the digest of {url!r:.200} is {digest!r:.80}, not 64 hex digits")
    return pins


def _document(raw: bytes) -> dict[str, Any]:
    try:
        document = json.loads(raw)
    except ValueError as error:
        raise _broken(f"it is not JSON ({error})") from error
    if not isinstance(document, dict) or document.get("schema") != SCHEMA_VERSION:
        found = document.get("schema") if isinstance(document, dict) else document
        raise _broken(f"its schema is {found!r:.40}, this softlaunch reads {SCHEMA_VERSION}")
    return document


def _broken(why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{NAME} cannot be read: {why}.",
        remedy="Write it anew with `softlaunch build --pin` and commit it.",
        code=errors.Code.PIN_FILE,
    )
