"""An inbox and tables of labels in memory."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from softlaunch.ports import labels as ports


class MemoryInbox:
    """A ports.labels.Inbox."""

    def __init__(self) -> None:
        self._pushes: dict[str, dict[str, tuple[float, ports.Push]]] = {}

    def put(self, service: str, push: ports.Push, *, now: float) -> None:
        """See ports.labels.Inbox.put."""
        self._pushes.setdefault(service, {}).setdefault(push.name, (now, push))

    def waiting(self) -> dict[str, list[ports.Waiting]]:
        """See ports.labels.Inbox.waiting."""
        found = {}
        for service, pushes in self._pushes.items():
            ordered = sorted(pushes.values(), key=lambda pair: pair[0])
            if ordered:
                found[service] = [
                    ports.Waiting(name=push.name, since=since, urgent=push.urgent) for since, push in ordered
                ]
        return found

    def read(self, service: str, name: str) -> ports.Push | None:
        """See ports.labels.Inbox.read."""
        found = self._pushes.get(service, {}).get(name)
        return None if found is None else found[1]

    def drop(self, service: str, names: Collection[str]) -> None:
        """See ports.labels.Inbox.drop."""
        for name in names:
            self._pushes.get(service, {}).pop(name, None)


class MemoryLabels:
    """A ports.labels.Labels whose pushes tests can look at."""

    def __init__(self) -> None:
        self.pushes: dict[str, list[ports.Push]] = {}

    def append(self, service: str, pushes: Sequence[ports.Push]) -> int:
        """See ports.labels.Labels.append."""
        there = self.known(service, {push.name for push in pushes})
        new = [push for push in pushes if push.name not in there and push.labels]
        self.pushes.setdefault(service, []).extend(new)
        return sum(len(push.labels) for push in new)

    def known(self, service: str, names: Collection[str]) -> set[str]:
        """See ports.labels.Labels.known."""
        return {push.name for push in self.pushes.get(service, ())} & set(names)
