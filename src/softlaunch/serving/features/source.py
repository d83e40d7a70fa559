"""What every source of features is to the model server, and what they have in common."""

from __future__ import annotations

import dataclasses
import pathlib
import urllib.parse
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from softlaunch import errors
from softlaunch.core import env_references, lookup_values, lookups

_SHOWN_CHARACTERS_MAX = 300


class Source(Protocol):
    """Asked by several threads at once."""

    batch_count_max: int
    """So many combinations of values are best asked for in one call."""

    def fetch(self, wanted: Sequence[Mapping[str, Any]], seconds: float, /) -> Sequence[lookup_values.Answer]:
        """
        One answer for each combination of `by` values, by name.

        Args:
            wanted: At least one, at most `batch_count_max`.
            seconds: Nobody waits longer; the source ends its own waiting about then, so that the thread is free again.

        Raises:
            TimeoutError: it took longer.
            Exception: it did not answer.
        """
        ...

    def close(self) -> None:
        """Ends its connections."""
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opening:
    """What a source is opened with."""

    spec: lookups.LookupSpec
    server: str
    """With the variables put in; a secret."""
    code: pathlib.Path
    """The release's code."""
    connection_count: int
    """Threads that will ask."""
    own_environment: bool
    """The release has a Python environment of its own; otherwise softlaunch's serves it."""


def server(spec: lookups.LookupSpec, variables: Mapping[str, str]) -> str:
    """
    The lookup's server, with the variables it refers to put in.

    Raises:
        ConfigError: one is not set.
    """
    missing = sorted(name for name in env_references.references(spec.server) if name not in variables)
    if missing:
        raise unusable(
            spec,
            f"its `server` is ${missing[0]}, which is not set",
            remedy=f"Add {missing[0]} to `env` of the environment in softlaunch.yaml.",
        )
    return env_references.resolve({"server": spec.server}, variables)["server"] if "$" in spec.server else spec.server


def unusable(spec: lookups.LookupSpec, said: str, *, remedy: str) -> errors.ConfigError:
    """A lookup that cannot even be tried."""
    return errors.ConfigError(
        f"The lookup {spec.name!r} ({spec.source}) cannot be used: {said}.",
        remedy=remedy,
        code=errors.Code.LOOKUP_UNUSABLE,
    )


def library_missing(opening: Opening, package: str) -> errors.ConfigError:
    """The environment that serves the release lacks a client."""
    if opening.own_environment:
        remedy = f"Add {package} to the service's requirements.lock and build the release again."
    else:
        remedy = f"Install it where softlaunch is installed: pip install 'softlaunch[features]' or {package}."
    return unusable(opening.spec, f"the Python environment that serves the release has no {package!r}", remedy=remedy)


def scrubbed(text: str, server: str) -> str:
    """The text without what a server's URL keeps secret, on one line."""
    secrets = [server]
    try:
        parts = urllib.parse.urlsplit(server)
        secrets += [parts.netloc.rpartition("@")[0], parts.query, parts.password or "", parts.username or ""]
    except ValueError:
        pass  # not a URL: the whole of it is the secret
    secrets += [urllib.parse.unquote(secret) for secret in secrets]
    for secret in sorted(set(secrets), key=len, reverse=True):
        if len(secret) > 1:
            text = text.replace(secret, "***")
    return " ".join(text.split())[:_SHOWN_CHARACTERS_MAX]
