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
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple, Protocol, TypeAlias

from softlaunch.core import lookup_recorded, lookup_values, lookups, predictions, release
from softlaunch.serving.features import workers

KEPT_SECONDS_MAX = 1.0
"""An answer is used again for so long at most, and for no more than a tenth of `max_age`: a guess at not noticing."""
KEPT_COUNT_MAX = 10_000

RECORDED_HEADER = lookup_recorded.HEADER
"""Of a replayed request: see core.lookup_recorded."""
Keys: TypeAlias = Mapping[str, Sequence[Any]]
"""Business keys of a request by name, one value a row."""
_NO_KEYS: Keys = {}
_By = tuple[Any, ...]
_NOTHING: Mapping[release.Datatype, Any] = {
    release.Datatype.BOOL: False,
    release.Datatype.INT64: 0,
    release.Datatype.FP32: 0.0,
    release.Datatype.FP64: 0.0,
    release.Datatype.BYTES: "",
}


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


class _Waiting(NamedTuple):
    lookup: _Lookup
    asked: list[tuple[_By, list[int]]]
    """Each combination of values with the rows it is for."""
    future: asyncio.Future[workers.Result]


class _Lookup:
    """One lookup, compiled for a signature."""

    def __init__(self, spec: lookups.LookupSpec, asker: Asker, signature: release.Signature) -> None:
        places = {column.name: number for number, column in enumerate(signature.inputs)}
        self.spec = spec
        self.asker = asker
        self.by = [(name, places.get(name)) for name in spec.by]
        self.columns = {feature: signature.inputs[places[feature]] for feature in spec.features}
        self.nothing: _By = tuple(
            "" if place is None else _NOTHING[signature.inputs[place].datatype] for _, place in self.by
        )
        """Values that nothing has."""
        self.places = [(feature, places[feature]) for feature in spec.features]
        age = spec.age_seconds_max
        self._kept_seconds = 0.0 if age is None else min(KEPT_SECONDS_MAX, age / 10.0)
        self._kept: collections.OrderedDict[_By, _Kept] = collections.OrderedDict()

    def by_of(self, number: int, row: Sequence[Any], keys: Keys) -> _By | None:
        """The values the row of this number is looked up by; None when one of them is missing."""
        found = tuple(_key(keys, name, number) if place is None else row[place] for name, place in self.by)
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
        keys: Keys | None = None,
        recorded: str | None = None,
    ) -> tuple[list[predictions.Row], lookup_values.FeaturesServed]:
        """
        The rows with their features filled in, and how each came about.

        Args:
            rows: Of one request, checked against `optional`.
            keys: Business keys of the request.
            recorded: The value of lookup_recorded.HEADER.

        Raises:
            MalformedError: `recorded` cannot be read, or does not fit the rows.
            RowError: it holds a value the signature does not allow.
        """
        open_ = [list(row) for row in rows]
        served: list[dict[str, tuple[Any, str]]] = [{} for _ in rows]
        if recorded is not None:
            self._put_recorded(open_, served, lookup_recorded.loads(recorded, len(rows)))
        answered, waiting = self._asked(open_, served, keys or _NO_KEYS)
        if waiting:
            await asyncio.gather(*(each.future for each in waiting))
        now = self._now()
        for each in waiting:
            result = each.future.result()
            answers: Sequence[lookup_values.Answer | lookups.ServedAs] = (
                [result] * len(each.asked) if isinstance(result, lookups.ServedAs) else result
            )
            for (by, numbers), answer in zip(each.asked, answers, strict=True):
                answered.append((each.lookup, numbers, answer))
                if isinstance(answer, lookup_values.Answer):
                    each.lookup.keep(by, answer, now)
        counts: collections.Counter[lookups.ServedAs] = collections.Counter()
        for lookup, numbers, answer in answered:
            values = lookup_values.read(lookup.spec, lookup.columns, answer, now=now)
            for number in numbers:
                for feature, place in lookup.places:
                    if open_[number][place] is None and feature not in served[number]:
                        value, how = values[feature]
                        open_[number][place] = value
                        served[number][feature] = (value, how.value)
                        counts[how] += 1
        self._add_sent(open_, served)
        return [tuple(row) for row in open_], lookup_values.FeaturesServed(
            served,
            counts[lookups.ServedAs.MISSING],
            counts[lookups.ServedAs.LATE],
            counts[lookups.ServedAs.STALE],
        )

    def _asked(
        self, rows: Sequence[Sequence[Any]], served: Sequence[Mapping[str, Any]], keys: Keys
    ) -> tuple[list[tuple[_Lookup, list[int], lookup_values.Answer | lookups.ServedAs]], list[_Waiting]]:
        """Rows that are answered at once, and what was asked for the others."""
        answered: list[tuple[_Lookup, list[int], lookup_values.Answer | lookups.ServedAs]] = []
        waiting: list[_Waiting] = []
        now = self._now()
        for lookup in self._lookups:
            wanted: dict[_By, list[int]] = {}
            for number, row in enumerate(rows):
                if all(row[place] is not None or feature in served[number] for feature, place in lookup.places):
                    continue
                by = lookup.by_of(number, row, keys)
                if by is None:
                    answered.append((lookup, [number], lookups.ServedAs.MISSING))
                else:
                    wanted.setdefault(by, []).append(number)
            asking: list[tuple[_By, list[int]]] = []
            for by, numbers in wanted.items():
                kept = lookup.kept(by, now)
                if kept is None:
                    asking.append((by, numbers))
                else:
                    answered.append((lookup, numbers, kept))
            size = lookup.asker.batch_count_max
            for start in range(0, len(asking), size):
                part = asking[start : start + size]
                values = [dict(zip(lookup.spec.by, by, strict=True)) for by, _ in part]
                waiting.append(_Waiting(lookup, part, lookup.asker.submit(values, lookup.spec.timeout_seconds)))
        return answered, waiting

    def _put_recorded(
        self,
        rows: Sequence[list[Any]],
        served: Sequence[dict[str, tuple[Any, str]]],
        recorded: Sequence[Mapping[str, Any]],
    ) -> None:
        """Puts recorded values where the client sent none; one that was null is served as null."""
        for number, (row, values) in enumerate(zip(rows, recorded, strict=True)):
            for lookup in self._lookups:
                for feature, place in lookup.places:
                    if feature in values and row[place] is None:
                        row[place] = predictions.check_value(lookup.columns[feature], values[feature], number)
                        served[number][feature] = (row[place], lookups.ServedAs.SENT.value)

    def _add_sent(self, rows: Sequence[Sequence[Any]], served: Sequence[dict[str, tuple[Any, str]]]) -> None:
        for row, found in zip(rows, served, strict=True):
            for lookup in self._lookups:
                for feature, place in lookup.places:
                    if feature not in found:
                        found[feature] = (row[place], lookups.ServedAs.SENT.value)

    async def warm(self, row: predictions.Row | None, *, seconds: float) -> None:
        """
        Asks every source once: connections are made, statements compiled.

        Args:
            row: Whose values are looked up. Without one (and where business keys are asked for) sources are asked for
                nothing's values, and have none; a function of the release, which may take that ill, is not asked.
            seconds: Nobody waits longer.
        """
        futures = []
        for lookup in self._lookups:
            by = lookup.by_of(0, row, _NO_KEYS) if row is not None else None
            if by is None and lookup.spec.source is lookups.LookupSource.PYTHON:
                continue
            values = dict(zip(lookup.spec.by, by or lookup.nothing, strict=True))
            futures.append(lookup.asker.submit([values], seconds))
        await asyncio.gather(*futures)

    def close(self) -> None:
        """Ends threads and connections."""
        for lookup in self._lookups:
            lookup.asker.close()


def _key(keys: Keys, name: str, number: int) -> Any:
    found = keys.get(name)
    return None if found is None else found[number]
