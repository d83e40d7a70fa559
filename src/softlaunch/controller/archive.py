"""
The evidence archive of a rollout: everything its judge was fed, in order, so that each decision can be recomputed.

    recorder = Recorder.begin(archive, 7, court.state())     # or Recorder.resume(...) after a restart
    recorder.observe(attempt)                                # whatever the judge is told, it is told
    position = recorder.save(court.state(), new_keys)        # to be stored together with that state

Rules:

* A chain begins with a checkpoint: the judge's state, and the users it has set aside. A judge made from it and fed the
  chain's entries ends, bit for bit, where the one that decided ended.
* The position in the archive is stored with the judge's state and the place in the attempt log. What a killed control
  plane had archived beyond that is cut off, and archived again from the log.
* The archive never stands in the way: what cannot be written (a full disk) is left out, and a new chain begins as soon
  as it can be. No decision waits for it.
* Over its budget, the oldest chain goes: recent decisions can always be recomputed.

Attempts are written by columns, since most columns of a block are all the same value, and deflated.
"""

from __future__ import annotations

import array
import json
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import msgspec
import structlog

from softlaunch import errors
from softlaunch.core import attempts, spec
from softlaunch.core.rollout import judge_keys
from softlaunch.ports import archive

LOG = structlog.get_logger()

BUDGET_BYTES = 64 << 20
"""Per rollout: some 1.6 million attempts at the measured 40 bytes each."""
_CHAIN_SHARE = 4
"""A chain may take a quarter of the budget: so much is lost when the oldest goes."""
_PENDING_MAX = 8_192
"""Entries kept in memory before they become a block by themselves: 8,192 attempts take about ten milliseconds."""
_LEVEL = 1
"""Of zlib. Level 3 saves a further hundredth of the space and costs half as much time again."""

_ENCODER = msgspec.msgpack.Encoder()
_DECODER = msgspec.msgpack.Decoder()

Entry = tuple[str, Any]
"""What happened and its document: ATTEMPT with an Attempt, anything else with plain values."""

CHECKPOINT = "checkpoint"
EPOCHS = "epochs"
ATTEMPT = "attempt"
DECISION = "decision"


class Recorder:
    """Writes the archive of one rollout. Make one with `begin` or `resume`."""

    def __init__(self, store: archive.Archive, rollout_id: int, *, budget_bytes: int = BUDGET_BYTES) -> None:
        self._archive = store
        self._rollout_id = rollout_id
        self._chain_bytes_max = budget_bytes // _CHAIN_SHARE
        self._budget_bytes = budget_bytes
        self._pending: list[Entry | attempts.Attempt] = []
        self._keys = {name: array.array("Q") for name in judge_keys.COUNTED}
        self._position = 0
        self._failing = False
        self._whole = False
        """The chain on disk and what is pending are, together, everything since its checkpoint."""
        self._chain_bytes = 0

    @classmethod
    def begin(
        cls,
        store: archive.Archive,
        rollout_id: int,
        state: Mapping[str, Any],
        *,
        budget_bytes: int = BUDGET_BYTES,
    ) -> Recorder:
        """
        The recorder of a rollout that begins.

        Args:
            store: Where to.
            rollout_id: What an earlier attempt at it has left is forgotten.
            state: Of its judge, which was told nothing yet.
            budget_bytes: On disk.
        """
        found = cls(store, rollout_id, budget_bytes=budget_bytes)

        def anew() -> None:
            store.delete(rollout_id)
            found._open(state, continues=False)

        found._attempt(anew)
        return found

    @classmethod
    def resume(
        cls,
        store: archive.Archive,
        rollout_id: int,
        position: int | None,
        state: Mapping[str, Any],
        keys: Iterable[tuple[str, int]],
        *,
        budget_bytes: int = BUDGET_BYTES,
    ) -> Recorder:
        """
        The recorder of a rollout another control plane began.

        Args:
            store: Where to.
            rollout_id: Whose.
            position: As `save` gave it with that state; None: nothing was archived then.
            state: Of the judge, as stored.
            keys: All users it has set aside by then: (guardrail, key hash).
            budget_bytes: On disk.
        """
        found = cls(store, rollout_id, budget_bytes=budget_bytes)
        found._remember(keys)

        def go_on() -> None:
            reached = store.truncate(rollout_id, position or 0)
            if position and reached == position:
                found._position, found._whole = reached, True
                found._chain_bytes = (store.chains(rollout_id) or (0,))[-1]
            else:
                found._open(state, continues=False)  # shorter than the state: what lies between is lost

        found._attempt(go_on)
        return found

    def observe(self, attempt: attempts.Attempt) -> None:
        """The judge is fed an attempt."""
        self._pending.append(attempt)

    def begin_epochs(self, shares: Mapping[int, float]) -> None:
        """The judge is told of a routing decision."""
        self.tell(EPOCHS, sorted(shares.items()))

    def decide(self, document: Mapping[str, Any]) -> None:
        """
        The rollout has changed its state for what the judge reported.

        Args:
            document: {"at", "phase", "step", "reason", "report"}; `report` as `report_document` makes it.
        """
        self.tell(DECISION, json.dumps(document))

    def tell(self, kind: str, document: Any) -> None:
        """Anything else the judge is fed (pairs, kills): plain values, which rejudge.DEEDS knows how to feed again."""
        self._pending.append((kind, document))

    def save(self, state: Mapping[str, Any], new_keys: Sequence[tuple[str, int]]) -> int | None:
        """
        Writes what is pending; returns the position to be stored together with `state`.

        Args:
            state: Of the judge, now.
            new_keys: Users it has set aside since the last call.

        Returns:
            None while nothing can be archived; the next one that can begins a new chain.
        """
        self._remember(new_keys)
        pending, self._pending = self._pending, []
        self._attempt(lambda: self._write(pending, state))
        return self._position if self._whole else None

    def _write(self, pending: list[Entry | attempts.Attempt], state: Mapping[str, Any]) -> None:
        if not self._whole:
            self._open(state, continues=False)
            return
        for index in range(0, len(pending), _PENDING_MAX):
            self._append(encode(pending[index : index + _PENDING_MAX]))
        if self._chain_bytes > self._chain_bytes_max:
            self._open(state, continues=True)
            while (
                len(sizes := self._archive.chains(self._rollout_id)) > 2  # the chain before holds the saved position
                and sum(sizes) + self._chain_bytes_max > self._budget_bytes
            ):
                self._archive.drop_oldest(self._rollout_id)

    def _open(self, state: Mapping[str, Any], *, continues: bool) -> None:
        self._chain_bytes = 0
        keys = {name.value: found.tobytes() for name, found in self._keys.items()}
        self._append(encode([(CHECKPOINT, [json.dumps(state), keys, continues])]), opens=True)
        self._whole = True

    def _append(self, block: bytes, *, opens: bool = False) -> None:
        self._position = self._archive.append(self._rollout_id, block, opens=opens)
        self._chain_bytes += len(block)

    def _remember(self, keys: Iterable[tuple[str, int]]) -> None:
        for name, hashed in keys:
            self._keys[spec.GuardrailName(name)].append(hashed)

    def _attempt(self, deed: Callable[[], None]) -> None:
        try:
            deed()
        except errors.UnavailableError as error:
            if not self._failing:  # once, not at every save
                LOG.warning("evidence_not_archived", rollout_id=self._rollout_id, detail=str(error))
            self._failing, self._whole = True, False
        else:
            self._failing = False


def encode(entries: Sequence[Entry | attempts.Attempt]) -> bytes:
    """A block of entries; `decode` gives them back, equal to the last bit."""
    found: list[Any] = []
    run: list[attempts.Attempt] = []
    for entry in entries:
        if isinstance(entry, attempts.Attempt):
            run.append(entry)
            continue
        if run:
            found.append((ATTEMPT, _columns(run)))
            run = []
        found.append(entry)
    if run:
        found.append((ATTEMPT, _columns(run)))
    return zlib.compress(_ENCODER.encode([attempts.Attempt._fields, found]), _LEVEL)


def decode(block: bytes) -> Iterator[Entry]:
    """
    The entries of a block, in order.

    Raises:
        UnavailableError: it is none.
    """
    try:
        fields, entries = _DECODER.decode(zlib.decompress(block))
    except (zlib.error, msgspec.DecodeError, ValueError, TypeError) as error:
        raise errors.UnavailableError(
            f"A block of evidence cannot be read: {error}.",
            remedy="Restore the rollout's folder below evidence/ from a backup, or leave it: nothing else needs it.",
            code=errors.Code.EVIDENCE_DAMAGED,
        ) from error
    for kind, document in entries:
        if kind != ATTEMPT:
            yield kind, document
            continue
        for attempt in _attempts(fields, document):
            yield ATTEMPT, attempt


def checkpoint(document: Any) -> tuple[dict[str, Any], list[judge_keys.DepartedKey], bool]:
    """State and keys of a CHECKPOINT entry, as Judge.restore wants them; and whether nothing is missing before it."""
    state, keys, continues = document
    departed = [
        judge_keys.DepartedKey(spec.GuardrailName(name), hashed)
        for name, packed in keys.items()
        for hashed in array.array("Q", packed)
    ]
    return json.loads(state), departed, continues


def _columns(run: list[attempts.Attempt]) -> list[Any]:
    """[count, column, ...]; a column that is the same value throughout is written once."""
    count = len(run)
    columns: list[Any] = [count]
    for column in zip(*run, strict=True):
        first = column[0]
        columns.append([first] if column.count(first) == count else column)
    return columns


def _attempts(fields: list[str], columns: list[Any]) -> Iterator[attempts.Attempt]:
    count, *written = columns
    whole = [column * count if len(column) == 1 else column for column in written]
    if tuple(fields) == attempts.Attempt._fields:
        yield from map(attempts.Attempt._make, zip(*whole, strict=True))
        return
    known = [name for name in fields if name in attempts.Attempt._fields]  # written before, or after, a field came
    for values in zip(*whole, strict=True):
        written_fields = dict(zip(fields, values, strict=True))
        yield attempts.Attempt(**{name: written_fields[name] for name in known})
