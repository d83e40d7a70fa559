"""
Features in Redis: a hash, or a JSON text, at a key.

Which of the two is found out by asking; all combinations of a call go in one pipeline.
"""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from softlaunch.core import lookup_values, lookups
from softlaunch.serving.features import source

_WRONG_TYPE = "WRONGTYPE"


class RedisSource:
    """See source.Source."""

    batch_count_max = 100

    def __init__(self, opening: source.Opening) -> None:
        """
        Raises:
            ConfigError: the library is not there, or the server's URL is none.
        """
        spec = opening.spec
        try:
            redis = importlib.import_module("redis")
        except ModuleNotFoundError as error:
            raise source.library_missing(opening, "redis") from error
        retry = importlib.import_module("redis.retry").Retry(importlib.import_module("redis.backoff").NoBackoff(), 1)
        self._timeouts: tuple[type[Exception], ...] = (redis.exceptions.TimeoutError,)
        self._target = spec.target
        self._reads_hash = True
        self._decode = msgspec.json.Decoder().decode
        try:
            self._client = redis.Redis.from_url(
                opening.server,
                socket_timeout=spec.timeout_seconds,
                socket_connect_timeout=spec.timeout_seconds,
                max_connections=opening.connection_count,
                retry=retry,  # a connection the server had closed; never waits
            )
        except (ValueError, TypeError, AttributeError):
            # Not chained: the message may hold the URL, which is a secret.
            raise source.unusable(
                spec, "its `server` is not a Redis URL", remedy="Write one, such as redis://10.0.0.5:6379/0."
            ) from None

    def fetch(self, wanted: Sequence[Mapping[str, Any]], _seconds: float) -> list[lookup_values.Answer]:
        """See source.Source.fetch; the client's own timeout is the lookup's."""
        keys = [lookups.filled(self._target, values, encoded=False) for values in wanted]
        as_hash = self._reads_hash  # once: other threads may find out meanwhile
        try:
            found = self._read(keys, as_hash=as_hash)
            wrong = [number for number, each in enumerate(found) if _is_wrong_type(each)]
            if wrong:
                again = self._read([keys[number] for number in wrong], as_hash=not as_hash)
                for number, each in zip(wrong, again, strict=True):
                    found[number] = self._answer(each)
                if len(wrong) == len(keys):
                    self._reads_hash = not as_hash
        except self._timeouts as error:
            raise TimeoutError from error
        return [each if isinstance(each, lookup_values.Answer) else self._answer(each) for each in found]

    def _read(self, keys: Sequence[str], *, as_hash: bool) -> list[Any]:
        pipeline = self._client.pipeline(transaction=False)
        for key in keys:
            if as_hash:
                pipeline.hgetall(key)
            else:
                pipeline.get(key)
        read: list[Any] = pipeline.execute(raise_on_error=False)
        return read

    def _answer(self, found: Any) -> lookup_values.Answer:
        if isinstance(found, Exception):
            raise found
        if not found:
            return lookup_values.NOTHING
        if isinstance(found, bytes):
            document = self._decode(found)
            if not isinstance(document, dict):
                raise TypeError(f"the key holds a {type(document).__name__}, not a JSON object")
            return lookup_values.Answer(document)
        return lookup_values.Answer({name.decode(errors="replace"): value for name, value in found.items()})

    def close(self) -> None:
        """See source.Source.close."""
        self._client.close()


def _is_wrong_type(found: Any) -> bool:
    return isinstance(found, Exception) and str(found).startswith(_WRONG_TYPE)


def open_source(opening: source.Opening) -> RedisSource:
    """See opening.opened."""
    return RedisSource(opening)
