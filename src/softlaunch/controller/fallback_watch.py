"""
Fallback answers, counted and told: the first at once, then once a minute while they go on, and when it is over.

A fallback answer is no failure of the gateway's, but it means that every release had failed: somebody must hear of it.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from softlaunch.controller import ledger as ledgers

TOLD_SECONDS = 60.0
"""Between two history records while fallback answers go on; so long without one, and it is over."""
KIND = "fallback"


@dataclasses.dataclass(kw_only=True)
class _Spell:
    began_at: float
    told_at: float
    last_at: float
    count: int = 0
    """Since it began."""
    untold: int = 0


class FallbackWatch:
    """Counts per place, since this process began; the history keeps what was told."""

    def __init__(self) -> None:
        self.counts: dict[ledgers.Place, int] = {}
        self._spells: dict[ledgers.Place, _Spell] = {}

    def observe(self, counts: Mapping[ledgers.Place, int], now: float) -> None:
        """Takes fallback answers into account, by place."""
        for place, count in counts.items():
            if count <= 0:
                continue
            self.counts[place] = self.counts.get(place, 0) + count
            spell = self._spells.get(place)
            if spell is None:
                spell = self._spells[place] = _Spell(began_at=now, told_at=float("-inf"), last_at=now)
            spell.last_at = now
            spell.count += count
            spell.untold += count

    def due(self, now: float) -> list[tuple[ledgers.Place, str]]:
        """What is to be told now: place and sentence."""
        found = []
        for place, spell in tuple(self._spells.items()):
            if now - spell.last_at >= TOLD_SECONDS:
                del self._spells[place]
                seconds = spell.last_at - spell.began_at
                over = f"No fallback answer for {TOLD_SECONDS:g} s: {spell.count} were given within {seconds:.0f} s."
                found.append((place, over))
            elif spell.untold and now - spell.told_at >= TOLD_SECONDS:
                first = spell.told_at == float("-inf")
                said = "Every release failed" if first else "In the last minute every release failed"
                found.append((place, f"{said} for {spell.untold} requests, which a fallback answered."))
                spell.told_at, spell.untold = now, 0
        return found
