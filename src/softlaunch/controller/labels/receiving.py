"""Labels that programs send: kept durably before they are acknowledged, all of them or none."""

from __future__ import annotations

import hashlib
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from softlaunch import errors
from softlaunch.core.labels import record, rules
from softlaunch.ports import labels as ports

LABELS_MAX = 10_000
"""In one request."""


class Receiving:
    """
    Keeps what comes over the API; the shipper adds it to the table.

    Args:
        inbox: Where labels wait.
        recorded: Whether predictions of a service are, or were, recorded.
        now: Unix seconds.
    """

    def __init__(self, *, inbox: ports.Inbox, recorded: Callable[[str], bool], now: Callable[[], float]) -> None:
        self._inbox = inbox
        self._recorded = recorded
        self._now = now

    def receive(self, service: str, documents: Sequence[Any], *, by: str, idempotency_key: str | None) -> int:
        """
        Keeps labels; how many.

        Args:
            service: Whose they are.
            documents: As docs/reference/labels.md has them.
            by: Who sends them.
            idempotency_key: The same again is the same request; None: each is one of its own.

        Raises:
            ConfigError: the service is not known, there are too many, or one is no label.
            UnavailableError: they cannot be kept.
        """
        if not self._recorded(service):
            raise errors.ConfigError(
                f"No predictions of {service!r:.120} were recorded yet.",
                remedy="Send requests to the service first: labels are about its answers.",
                code=errors.Code.NO_LOG,
            )
        if not 1 <= len(documents) <= LABELS_MAX:
            raise rules.refuse(
                f"{len(documents):,} labels came in one request.",
                f"Send between 1 and {LABELS_MAX:,}; more go by `softlaunch labels push`.",
            )
        now = self._now()
        labels = []
        for place, document in enumerate(documents):
            try:
                labels.append(_label(document, now))
            except record.UnfitError as error:
                raise rules.refuse(
                    f"labels[{place}] is no label: {error}. Nothing was kept.", "Mend it, and send all of them again."
                ) from error
        name = uuid.uuid4().hex if idempotency_key is None else _digest(service, idempotency_key)
        self._inbox.put(service, ports.Push(name=name, source=f"api {by}", urgent=False, labels=labels), now=now)
        return len(labels)


def _digest(*words: str) -> str:
    return hashlib.sha256("\n".join(words).encode()).hexdigest()[:32]


def _label(document: Any, now: float) -> record.Label:
    if not isinstance(document, dict):
        raise record.UnfitError("no JSON object")
    label = record.parse(document, now=now)
    if label is None:
        raise record.UnfitError("no value")
    return label
