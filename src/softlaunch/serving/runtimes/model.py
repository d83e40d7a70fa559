"""What the model server asks of a model, however it is executed."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol, TypeAlias

from softlaunch import errors
from softlaunch.core import predictions, release

Cost: TypeAlias = Callable[[predictions.Row], float]


class Model(Protocol):
    """
    A model may have a further attribute, `cost: Cost | None`: about what a row costs, in any unit, when rows differ
    much (the length of a text). Rows of similar cost then go into one call. See `cost_of`. And another one,
    `calls_anywhere = True`, when it may be called in any thread and does nothing but compute. See `calls_anywhere`.
    """

    platform: str
    """How the Open Inference Protocol's metadata names the runtime."""
    float32_names: frozenset[str]
    """Features that the model computes in float32, whatever the signature says."""

    def answer(self, rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
        """
        Outputs by name for checked rows, in their order.

        Called from one thread only, unless `calls_anywhere`. Raises whatever the model raises.
        """
        ...


@dataclasses.dataclass(frozen=True, kw_only=True)
class Loading:
    """What a runtime module's `load` is given."""

    path: pathlib.Path | None
    """The model's file or directory, there; None when the release names none."""
    content: release.ReleaseContent
    thread_count: int
    """Threads that one call may use."""

    @property
    def needed_path(self) -> pathlib.Path:
        """
        The path, of a runtime that cannot do without.

        Raises:
            ConfigError: the release names no model file.
        """
        if self.path is None:
            raise mismatch(f"A release of runtime {self.content.runtime} names no model file.")
        return self.path


def cost_of(found: Model) -> Cost | None:
    """What the model says of a row's cost; None when it says nothing."""
    cost: Cost | None = getattr(found, "cost", None)
    return cost


def calls_anywhere(found: Model) -> bool:
    """Whether the model says that it only computes, in whichever thread: it waits for nothing and keeps nothing."""
    anywhere: bool = getattr(found, "calls_anywhere", False)
    return anywhere


def unloadable(message: str, *, remedy: str) -> errors.ConfigError:
    """The model cannot be made ready; the process ends with this."""
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.MODEL_UNLOADABLE)


def mismatch(message: str) -> errors.ConfigError:
    """The model is not the one the signature describes; the process ends with this."""
    return errors.ConfigError(
        message,
        remedy="Build the release again, so that its signature is written from this model.",
        code=errors.Code.MODEL_MISMATCH,
    )


def one_line(error: BaseException) -> str:
    """The exception's class and message on one line, at most 300 characters."""
    text = " ".join(str(error).split())
    name = type(error).__name__
    return f"{name}: {text}"[:300] if text else name
