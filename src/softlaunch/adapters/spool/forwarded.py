"""How far a spool was put on a stream: ROOT/SERVICE/ENVIRONMENT/forwarded.json, beside the segments it tells of."""

from __future__ import annotations

import json
import pathlib

from softlaunch import errors
from softlaunch.controller import replacing
from softlaunch.core.prediction_log import stream

_NAME = "forwarded.json"


class ForwardedFiles:
    """
    A ports.stream.Places.

    Args:
        root: HOME/spool.
    """

    def __init__(self, root: pathlib.Path) -> None:
        self._root = root

    def load(self, service: str, environment: str) -> stream.Place | None:
        """
        See ports.stream.Places.load.

        Raises:
            UnavailableError: it cannot be read, or says nothing.
        """
        path = self._path(service, environment)
        try:
            return stream.Place.from_json(json.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise errors.UnavailableError(
                f"{path} cannot be read: {error}.",
                remedy="If it is damaged, delete it: what is spooled is sent again, and left out where it is known.",
                code=errors.Code.STREAM_UNAVAILABLE,
            ) from error

    def save(self, service: str, environment: str, place: stream.Place) -> None:
        """See ports.stream.Places.save."""
        path = self._path(service, environment)
        try:
            replacing.replace_file(path, [json.dumps(place.to_json()).encode()])
        except OSError as error:
            raise errors.UnavailableError(
                f"{path} cannot be written: {error.strerror or error}.",
                remedy="Check the disk and who may write there; what is spooled waits.",
                code=errors.Code.STREAM_UNAVAILABLE,
            ) from error

    def _path(self, service: str, environment: str) -> pathlib.Path:
        return self._root / service / environment / _NAME
