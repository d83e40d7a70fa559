"""
Features looked up for the rows of a request, between reading it and calling the model.

Rules:
    * What the client sent wins; null and nothing are the same: not sent.
    * All lookups of a request run at once, and each asks once for every distinct combination of its `by` values.
    * Nothing takes longer than the longest timeout. What is missing, late or stale by then is the declared default.
    * Answers whose age is limited are kept for a moment, so that a busy key is not asked for by every request.
"""

from __future__ import annotations

import asyncio
import collections
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple, Protocol

from softlaunch.core import lookup_values, lookups, predictions, release
from softlaunch.serving.features import workers

KEPT_SECONDS_MAX = 1.0
"""An answer is used again for so long at most, and for no more than a tenth of `max_age`: a guess at not noticing."""
KEPT_COUNT_MAX = 10_000

_NO_KEYS: Mapping[str, Any] = {}
_By = tuple[Any, ...]


class Asker(Protocol):
    """workers.Workers, or a stand-in in virtual time."""

    batch_count_max: int

    def submit(self, wanted: Sequence[Mapping[str, Any]], seconds: float) -> asyncio.Future[workers.Result]:
        """See workers.Workers.submit."""
        ...

    def close(self) -> None:
        """See workers.Workers.close."""
        ...


class _Kept(NamedTuple):
    until: float
    answer: lookup_values.Answer


class _Lookup:
    """One lookup, compiled for a signature."""

    def __init__(self, spec: lookups.LookupSpec, asker: Asker, signature: release.Signature) -> None:
        places = {column.name: number for number, column in enumerate(signature.inputs)}
        self.spec = spec
        self.asker = asker
        self.by = [(name, places.get(name)) for name in spec.by]
        self.columns = {feature: signature.inputs[places[feature]] for feature in spec.features}
        self.places = [(feature, places[feature]) for feature in spec.features]
        age = spec.age_seconds_max
        self._kept_seconds = 0.0 if age is None else min(KEPT_SECONDS_MAX, age / 10.0)
        self._kept: collections.OrderedDict[_By, _Kept] = collections.OrderedDict()

    def by_of(self, row: Sequence[Any], keys: Mapping[str, Any]) -> _By | None:
        """The values the row is looked up by; None when one of them is missing or cannot be one."""
        found = tuple(keys.get(name) if place is None else row[place] for name, place in self.by)
        return found if all(isinstance(value, str | int | float) for value in found) else None

    def kept(self, by: _By, now: float) -> lookup_values.Answer | None:
        found = self._kept.get(by)
        return found.answer if found is not None and now < found.until else None

    def keep(self, by: _By, answer: lookup_values.Answer, now: float) -> None:
        if not self._kept_seconds or answer.fields is None:
            return
        self._kept[by] = _Kept(now + self._kept_seconds, answer)
        self._kept.move_to_end(by)
        if len(self._kept) > KEPT_COUNT_MAX:
            self._kept.popitem(last=False)


class Resolver:
    """
    The lookups of a release. Must be made on the event loop that uses it.

    Args:
        found: Each lookup with who asks its source.
        signature: What the model takes.
        now: Unix seconds.
    """

    def __init__(
        self,
        found: Sequence[tuple[lookups.LookupSpec, Asker]],
        signature: release.Signature,
        *,
        now: Callable[[], float],
    ) -> None:
        specs = [spec for spec, _ in found]
        self.optional = lookup_values.optional(signature, specs)
        """The signature as clients have to hold it."""
        self.names = lookup_values.names(specs)
        """Features that are looked up, in no order."""
        self._lookups = [_Lookup(spec, asker, signature) for spec, asker in found]
        self._now = now

    async def resolve(
        self,
        rows: Sequence[predictions.Row],
        keys: Sequence[Mapping[str, Any]] | None = None,
        as_sent: Collection[str] = (),
    ) -> tuple[list[predictions.Row], lookup_values.FeaturesServed]:
        """
        The rows with their features filled in, and how each came about.

        Args:
            rows: Of one request, checked against `optional`.
            keys: Business keys by row; None when there are none.
            as_sent: Features that count as sent even where they are null: a recorded request says what was served.
        """
        filling = [list(row) for row in rows]
        served: list[dict[str, tuple[Any, str]]] = [{} for _ in rows]
        asked: list[tuple[_Lookup, _By | None, list[int], lookup_values.Answer | lookups.ServedAs]] = []
        waiting: list[tuple[_Lookup, list[tuple[_By, list[int]]], asyncio.Future[workers.Result]]] = []
        now = self._now()
        for lookup in self._lookups:
            wanted: dict[_By, list[int]] = {}
            for number, row in enumerate(rows):
                if all(row[place] is not None or feature in as_sent for feature, place in lookup.places):
                    continue
                by = lookup.by_of(row, keys[number] if keys is not None else _NO_KEYS)
                if by is None:
                    asked.append((lookup, None, [number], lookups.ServedAs.MISSING))
                else:
                    wanted.setdefault(by, []).append(number)
            for by, numbers in list(wanted.items()):
                kept = lookup.kept(by, now)
                if kept is not None:
                    asked.append((lookup, by, numbers, kept))
                    del wanted[by]
            remaining = iter(wanted.items())
            while chunk := list(itertools.islice(remaining, lookup.asker.batch_count_max)):
                values = [dict(zip(lookup.spec.by, by, strict=True)) for by, _ in chunk]
                waiting.append((lookup, chunk, lookup.asker.submit(values, lookup.spec.timeout_seconds)))
        if waiting:
            await asyncio.gather(*(future for _, _, future in waiting))
            now = self._now()
        for lookup, chunk, future in waiting:
            result = future.result()
            answers = [result] * len(chunk) if isinstance(result, lookups.ServedAs) else result
            for (by, numbers), answer in zip(chunk, answers, strict=True):
                asked.append((lookup, by, numbers, answer))
                if isinstance(answer, lookup_values.Answer):
                    lookup.keep(by, answer, now)
        counts: collections.Counter[str] = collections.Counter()
        for lookup, _, numbers, answer in asked:
            values = lookup_values.read(lookup.spec, lookup.columns, answer, now=now)
            for number in numbers:
                for feature, place in lookup.places:
                    if filling[number][place] is None and feature not in as_sent:
                        value, how = values[feature]
                        filling[number][place] = value
                        served[number][feature] = (value, how.value)
                        counts[how] += 1
        self._add_sent(filling, served)
        return [tuple(row) for row in filling], lookup_values.FeaturesServed(
            served,
            counts[lookups.ServedAs.MISSING],
            counts[lookups.ServedAs.LATE],
            counts[lookups.ServedAs.STALE],
        )

    def _add_sent(self, rows: Sequence[Sequence[Any]], served: Sequence[dict[str, tuple[Any, str]]]) -> None:
        for row, found in zip(rows, served, strict=True):
            for lookup in self._lookups:
                for feature, place in lookup.places:
                    if feature not in found:
                        found[feature] = (row[place], lookups.ServedAs.SENT.value)

    async def warm(self, row: predictions.Row, *, seconds: float) -> None:
        """Asks every source once by the values of a row: connections are made, statements compiled."""
        futures = []
        for lookup in self._lookups:
            by = lookup.by_of(row, _NO_KEYS)
            if by is not None:
                futures.append(lookup.asker.submit([dict(zip(lookup.spec.by, by, strict=True))], seconds))
        await asyncio.gather(*futures)

    def close(self) -> None:
        """Ends threads and connections."""
        for lookup in self._lookups:
            lookup.asker.close()
