"""Downloads of every kind of URL, by the word before ://; see ports.download.Downloads."""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.adapters.data_sources import http_files, objects
from softlaunch.core import pins
from softlaunch.ports import download


class Downloads:
    """See ports.download.Downloads."""

    def __init__(self) -> None:
        http, stores = http_files.HttpFiles(), objects.ObjectFiles()
        self._by_scheme: Mapping[str, download.Downloads] = {
            "http": http,
            "https": http,
            **dict.fromkeys(pins.OBJECT_SCHEMES, stores),
        }

    def fetch(self, url: str, path: pathlib.Path, *, version: str = "") -> download.Fetched:
        """See ports.download.Downloads.fetch."""
        return self._of(url).fetch(url, path, version=version)

    def version(self, url: str) -> str:
        """See ports.download.Downloads.version."""
        return self._of(url).version(url)

    def _of(self, url: str) -> download.Downloads:
        found = self._by_scheme.get(url.partition("://")[0])
        if found is None:
            raise errors.ConfigError(
                f"{url.partition(':')[0]!r:.40} is no kind of URL that can be fetched.",
                remedy=f"Write one of {', '.join(f'{scheme}://' for scheme in self._by_scheme)}.",
                code=errors.Code.DOWNLOAD_FAILED,
            )
        return found
