"""A release's lookups, opened: sources by kind, each with threads of its own."""

from __future__ import annotations

import importlib
import time
from collections.abc import Mapping, Sequence

from softlaunch.core import lookups, predictions, release
from softlaunch.serving import unpacked
from softlaunch.serving.features import resolver, source, workers

_SOURCES: Mapping[lookups.LookupSource, str] = {
    lookups.LookupSource.HTTP: "http_source",
    lookups.LookupSource.REDIS: "redis_source",
    lookups.LookupSource.SQL: "sql_source",
    lookups.LookupSource.FEAST: "feast_source",
    lookups.LookupSource.PYTHON: "python_source",
}
"""Modules of softlaunch.serving.features; each has open_source(source.Opening) -> source.Source."""
_WARM_SECONDS = 2.0
"""A source that is down delays the start by so much and no more."""


async def opened(
    found: unpacked.Unpacked,
    signature: release.Signature,
    *,
    variables: Mapping[str, str],
    smoke_rows: Sequence[predictions.Row] = (),
) -> resolver.Resolver | None:
    """
    What looks features up for a release, tried once; None when it declares nothing.

    Args:
        found: The release.
        signature: What its model takes.
        variables: Of the process's environment; may hold the servers.
        smoke_rows: The first one's values are looked up, so that the first user does not wait for connections.

    Raises:
        ConfigError: a lookup cannot even be tried. A source that does not answer is no error.
    """
    specs = found.content.lookups
    if not specs:
        return None
    asking: list[tuple[lookups.LookupSpec, resolver.Asker]] = []
    for spec in specs:
        server = source.server(spec, variables)
        what = open_one(
            source.Opening(
                spec=spec,
                server=server,
                code=found.directory / "code",
                connection_count=workers.THREADS,
                own_environment=found.content.lock_file is not None
                and found.content.runtime is not release.Runtime.ONNX,
            )
        )
        asking.append((spec, workers.Workers(spec.name, what, server=server)))
    made = resolver.Resolver(asking, signature, now=time.time)
    await made.warm(smoke_rows[0] if smoke_rows else None, seconds=_WARM_SECONDS)
    return made


def open_one(opening: source.Opening) -> source.Source:
    """
    The source of one lookup.

    Raises:
        ConfigError: it cannot even be tried.
    """
    module = importlib.import_module(f"softlaunch.serving.features.{_SOURCES[opening.spec.source]}")
    made: source.Source = module.open_source(opening)
    return made
