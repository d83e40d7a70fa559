"""An archive in memory."""

from __future__ import annotations

from collections.abc import Iterator

from softlaunch import errors
from softlaunch.ports import archive


class MemoryArchive:
    """A ports.archive.Archive that a test can fill up."""

    def __init__(self) -> None:
        self._blocks: dict[int, list[archive.Block]] = {}
        self._dropped: dict[int, int] = {}
        self.failing = False
        """Nothing can be written, as on a full disk."""

    def append(self, rollout_id: int, block: bytes, *, opens: bool = False) -> int:
        self._refuse()
        blocks = self._blocks.setdefault(rollout_id, [])
        ends = self._end(rollout_id) + len(block)
        blocks.append(archive.Block(content=block, opens=opens or not blocks, ends=ends))
        return ends

    def truncate(self, rollout_id: int, position: int) -> int:
        self._refuse()
        self._blocks[rollout_id] = [found for found in self._blocks.get(rollout_id, []) if found.ends <= position]
        return self._end(rollout_id)

    def read(self, rollout_id: int) -> Iterator[archive.Block]:
        yield from tuple(self._blocks.get(rollout_id, ()))

    def chains(self, rollout_id: int) -> tuple[int, ...]:
        sizes: list[int] = []
        for found in self._blocks.get(rollout_id, ()):
            if found.opens:
                sizes.append(0)
            sizes[-1] += len(found.content)
        return tuple(sizes)

    def drop_oldest(self, rollout_id: int) -> None:
        blocks = self._blocks.get(rollout_id, [])
        second = next((index for index, found in enumerate(blocks) if found.opens and index), None)
        if second is not None:
            self._dropped[rollout_id] = blocks[second - 1].ends
            del blocks[:second]

    def delete(self, rollout_id: int) -> None:
        self._blocks.pop(rollout_id, None)
        self._dropped.pop(rollout_id, None)

    def _end(self, rollout_id: int) -> int:
        blocks = self._blocks.get(rollout_id)
        return blocks[-1].ends if blocks else self._dropped.get(rollout_id, 0)

    def _refuse(self) -> None:
        if self.failing:
            raise errors.UnavailableError(
                "The evidence cannot be written: no space left.",
                remedy="Free space on the disk.",
                code=errors.Code.DISK_FULL,
            )
