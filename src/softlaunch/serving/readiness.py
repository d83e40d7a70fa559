"""What an app has once its model answers, and which phase of its life it is in."""

from __future__ import annotations

import dataclasses
import enum

from softlaunch.core import predictions, release
from softlaunch.serving import batching, rows_codec
from softlaunch.serving.features import resolver


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
    examples: tuple[predictions.Row, ...] = ()
    """A few rows the model has answered, for people."""
    keys: tuple[str, ...] = ()
    """Business keys that requests may carry beside the features: recorded, never shown to the model."""
    lookups: resolver.Resolver | None = None
    """Fills in what clients need not send; None: nothing is looked up."""
