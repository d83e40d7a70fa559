"""Where the prediction log of a home is; heavy libraries, as the log's."""

from __future__ import annotations

import os

from softlaunch.adapters.lake import delta
from softlaunch.adapters.lake import labels as label_tables
from softlaunch.adapters.lake import place as places
from softlaunch.config import home as homes
from softlaunch.config import settings as setting


def root(home: homes.Home) -> places.Root:
    """
    Below HOME/log, or below SOFTLAUNCH_LOG_URL; every command has the same answer, so none is told it.

    Raises:
        ConfigError: a setting cannot be used.
    """
    return places.Root(folder=home.log, url=setting.read(os.environ).log_url)


def predictions(home: homes.Home, service: str) -> places.Place:
    """
    Of a service's predictions.

    Raises:
        ConfigError: as `root`.
    """
    return root(home).place(service, delta.TABLE)


def labels(home: homes.Home, service: str) -> places.Place:
    """
    Of a service's labels.

    Raises:
        ConfigError: as `root`.
    """
    return root(home).place(service, label_tables.TABLE)
