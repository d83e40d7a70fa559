"""What an app has once its model answers, and which phase of its life it is in."""

from __future__ import annotations

import dataclasses
import enum

from softlaunch.core import release
from softlaunch.serving import batching, rows_codec


class Phase(enum.Enum):
    LOADING = "loading"
    READY = "ready"
    DRAINING = "draining"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loaded:
    """A model that answers."""

    batcher: batching.Batcher
    codec: rows_codec.RowsCodec
    signature: release.Signature
    """What requests are checked against."""
    declared: release.Signature
    """What the release says, for the metadata."""
    platform: str
