"""
softlaunch.lock: which bytes the model, the reference and the holdout were when somebody looked at them.

A JSON document that is committed beside softlaunch.yaml. A build fetches them again, or takes its cached copy, and
refuses anything but these bytes. An alias of an MLflow registry may move on: the version it stood for is fetched.

`softlaunch lock` writes schema 2, one pin for each role. `softlaunch build --pin` knows models alone and writes schema
1 (digests by URL, versions and digests by models:/) where no file of schema 2 stands; it is still read.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Mapping
from typing import Any

from softlaunch import errors
from softlaunch.core import pins as pin_values

NAME = "softlaunch.lock"
SCHEMA_VERSION = 1
SCHEMA_VERSION_ROLES = 2
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


def dump_roles(pins: Mapping[pin_values.Role, pin_values.Pin]) -> bytes:
    """The file's bytes in schema 2, sorted and indented as `dump`."""
    document = {"schema": SCHEMA_VERSION_ROLES, "pins": {role.value: dataclasses.asdict(pins[role]) for role in pins}}
    return json.dumps(document, indent=2, sort_keys=True).encode() + b"\n"


def find(raw: bytes | None, role: pin_values.Role, uri: str) -> pin_values.Pin | None:
    """
    The pin of a role; in a file of schema 1, of a model with that URI. None where there is none, or no file.

    In schema 2 the pin may be of another URI than the one asked for: the file is stale then.

    Raises:
        ConfigError: not such a file.
    """
    if raw is None:
        return None
    document = _document(raw)
    if document["schema"] == SCHEMA_VERSION_ROLES:
        return load_roles(raw).get(role)
    if role is not pin_values.Role.MODEL:
        return None
    found = load_models(raw).get(uri)
    if found is not None:
        return pin_values.Pin(uri=uri, version=found.version, sha256=found.sha256)
    digest = load(raw).get(uri)
    return pin_values.Pin(uri=uri, version="", sha256=digest) if digest is not None else None


def load_roles(raw: bytes) -> dict[pin_values.Role, pin_values.Pin]:
    """
    Pins by role, as `dump_roles` wrote them; none in a file of schema 1.

    Raises:
        ConfigError: not such a file.
    """
    document = _document(raw)
    if document["schema"] == SCHEMA_VERSION:
        return {}
    found = document.get("pins")
    if not isinstance(found, dict) or set(document) != {"schema", "pins"}:
        raise _broken("`pins` is not a mapping of roles to pins, or something stands beside it")
    pins = {}
    for name, pin in found.items():
        if name not in tuple(pin_values.Role):
            raise _broken(f"{name!r:.80} is none of {', '.join(pin_values.Role)}")
        if not isinstance(pin, dict) or set(pin) != {"uri", "version", "sha256"}:
            raise _broken(f"the pin of {name} is {pin!r:.120}, not uri, version and sha256")
        if not all(isinstance(text, str) for text in pin.values()) or not _SHA256.fullmatch(pin["sha256"]):
            raise _broken(f"the pin of {name} is {pin!r:.200}: texts are expected, and 64 hex digits")
        pins[pin_values.Role(name)] = pin_values.Pin(**pin)
    return pins


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
    Pins by URL, as `dump` wrote them; none in a file of schema 2.

    Raises:
        ConfigError: not such a file.
    """
    document = _document(raw)
    if document["schema"] == SCHEMA_VERSION_ROLES:
        load_roles(raw)
        return {}
    pins = document.get("sha256")
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
    known = (SCHEMA_VERSION, SCHEMA_VERSION_ROLES)
    if not isinstance(document, dict) or document.get("schema") not in known:
        found = document.get("schema") if isinstance(document, dict) else document
        raise _broken(f"its schema is {found!r:.40}, this softlaunch reads {SCHEMA_VERSION} and {SCHEMA_VERSION_ROLES}")
    return document


def _broken(why: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{NAME} cannot be read: {why}.",
        remedy="Remove it, write it anew with `softlaunch lock --update`, and commit it.",
        code=errors.Code.PIN_FILE,
    )
