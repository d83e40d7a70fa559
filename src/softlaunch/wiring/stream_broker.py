"""The Kafka cluster of the settings. Light, so that `softlaunch up` tells at once what it cannot use."""

from __future__ import annotations

from softlaunch import errors
from softlaunch.adapters.streams import broker
from softlaunch.config import settings as setting
from softlaunch.config import stream_options


def broker_of(settings: setting.Settings) -> broker.Broker:
    """
    The cluster; not connected yet.

    Raises:
        ConfigError: none is set, its options cannot be used, or the library is not installed.
    """
    if settings.stream is None:
        raise errors.ConfigError(
            "No stream is set.",
            remedy="Set SOFTLAUNCH_STREAM to kafka://HOST:PORT/PREFIX.",
            code=errors.Code.STREAM_OPTIONS,
        )
    path = settings.stream_options
    return broker.Broker(
        settings.stream.servers, settings.stream.prefix, {} if path is None else stream_options.read(path)
    )
