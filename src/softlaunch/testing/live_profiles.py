"""Live profiles in memory."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from softlaunch.core.drift import binning, live_profile
from softlaunch.core.prediction_log import progress
from softlaunch.ports import live_profiles


class MemoryProfiles:
    """A ports.live_profiles.LiveProfiles."""

    def __init__(self) -> None:
        self._pending: dict[tuple[str, str], tuple[str, live_profiles.Profiles]] = {}
        self._kept: dict[str, dict[live_profile.Key, live_profile.LiveProfile]] = {}
        self._binnings: dict[str, dict[bytes, binning.Binning]] = {}

    def prepare(
        self,
        service: str,
        environment: str,
        *,
        mark: str,
        profiles: live_profiles.Profiles,
        binnings: Iterable[binning.Binning],
    ) -> None:
        """See ports.live_profiles.LiveProfiles.prepare."""
        self._pending[service, environment] = mark, profiles
        self._binnings.setdefault(service, {}).update({each.digest: each for each in binnings})

    def settle(self, service: str, progresses: Mapping[str, progress.Progress]) -> None:
        """See ports.live_profiles.LiveProfiles.settle."""
        kept = self._kept.setdefault(service, {})
        for environment, told in progresses.items():
            mark, profiles = self._pending.pop((service, environment), ("", {}))
            for key, found in profiles.items() if mark == told.profiles else ():
                kept[key] = live_profile.merge([kept.get(key, live_profile.LiveProfile()), found])

    def read(self, service: str, *, hours: tuple[int | None, int | None] = (None, None)) -> live_profiles.Kept:
        """See ports.live_profiles.LiveProfiles.read."""
        least, end = hours
        found = [
            (key, profile)
            for key, profile in sorted(self._kept.get(service, {}).items(), key=lambda each: each[0])
            if (least is None or key.hour >= least) and (end is None or key.hour < end)
        ]
        return live_profiles.Kept(profiles=found, binnings=dict(self._binnings.get(service, {})))

    def remove(self, service: str, *, before_hour: int) -> int:
        """See ports.live_profiles.LiveProfiles.remove."""
        kept = self._kept.get(service, {})
        gone = [key for key in kept if key.hour < before_hour]
        for key in gone:
            del kept[key]
        return len(gone)
