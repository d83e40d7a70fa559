"""Where live profiles are kept, in step with the prediction log."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

from softlaunch.core.drift import binning, live_profile
from softlaunch.core.prediction_log import progress

Profiles = Mapping[live_profile.Key, live_profile.LiveProfile]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kept:
    """What was read."""

    profiles: Sequence[tuple[live_profile.Key, live_profile.LiveProfile]]
    """In the order of their keys."""
    binnings: Mapping[bytes, binning.Binning]
    """By digest: what the counts are counts of. They are kept with the profiles, whether their release is or not."""


class LiveProfiles(Protocol):
    """
    Rows are counted once, like they are in the log: `prepare`, then the log's commit, then `settle`.

    Only what the log's newest commit names is taken over, so it makes no difference where in between a process is
    killed: prepared for a commit that never was, it is dropped; for one that was, taken over by the next `settle`.
    """

    def prepare(
        self,
        service: str,
        environment: str,
        *,
        mark: str,
        profiles: Profiles,
        binnings: Iterable[binning.Binning],
    ) -> None:
        """
        Keeps the profiles of a batch apart, under the mark that its commit will carry, in place of those kept before.

        Raises:
            UnavailableError: it cannot be written now; the batch must wait.
        """
        ...

    def settle(self, service: str, progresses: Mapping[str, progress.Progress]) -> None:
        """
        Takes over, once, what was prepared for the newest commit of each environment, and drops all else of these.

        Args:
            progresses: By environment, as the log tells them.

        Raises:
            UnavailableError: it cannot be written now; nothing was taken over.
        """
        ...

    def read(self, service: str, *, hours: tuple[int | None, int | None] = (None, None)) -> Kept:
        """
        Profiles of [from, to) in hours since 1970; None: no bound.

        Raises:
            UnavailableError: they cannot be read.
        """
        ...

    def remove(self, service: str, *, before_hour: int) -> int:
        """Removes the profiles of older hours; how many."""
        ...
