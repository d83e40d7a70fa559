"""Pipelines in memory; see ports.shipper.Shipper."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from softlaunch import errors
from softlaunch.ports import shipper

Pipeline = Callable[[shipper.Order], Callable[[], shipper.Shipped | None]]
"""Begins; then asked for its result until it has one."""


class MemoryShipper:
    """
    See ports.shipper.Shipper.

    Args:
        pipeline: What a pipeline does. What it raises as UnavailableError is that none can be started.
    """

    def __init__(self, pipeline: Pipeline) -> None:
        self._pipeline = pipeline
        self._running: dict[tuple[str, str], Callable[[], shipper.Shipped | None]] = {}
        self.orders: list[shipper.Order] = []
        """What was started, in order."""

    def start(self, order: shipper.Order) -> None:
        """See ports.shipper.Shipper.start."""
        place = (order.service, order.environment)
        if place in self._running:
            raise errors.ConflictError(
                f"A pipeline to {order.environment!r} of {order.service!r} runs already.",
                remedy="Wait for its end.",
                code=errors.Code.SHIP_UNREADY,
            )
        self._running[place] = self._pipeline(order)
        self.orders.append(order)

    def ended(self) -> Sequence[shipper.Shipped]:
        """See ports.shipper.Shipper.ended."""
        found = []
        for place, result in list(self._running.items()):
            shipped = result()
            if shipped is not None:
                del self._running[place]
                found.append(shipped)
        return tuple(found)

    def close(self) -> None:
        """See ports.shipper.Shipper.close."""
        self._running.clear()
