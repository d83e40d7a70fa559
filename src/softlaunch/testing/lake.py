"""A lake in memory."""

from __future__ import annotations

from collections.abc import Sequence

from softlaunch import errors
from softlaunch.core.prediction_log import progress as progresses
from softlaunch.core.prediction_log import schema
from softlaunch.ports import lake

_NAMES = [field.name for field in schema.ENVELOPE]


class MemoryLake:
    """A ports.lake.Lake whose blocks tests can look at."""

    def __init__(self) -> None:
        self.blocks: dict[str, list[lake.Block]] = {}
        self._states: dict[str, lake.TableState] = {}

    def ids(self, service: str) -> list[str]:
        """First value of every row, sorted."""
        return sorted(row[0] for block in self.blocks.get(service, ()) for row in block.rows)

    def state(self, service: str) -> lake.TableState:
        """See ports.lake.Lake.state."""
        return self._states.get(service, lake.TableState())

    def append(
        self, service: str, blocks: Sequence[lake.Block], *, environment: str, progress: progresses.Progress
    ) -> lake.TableState:
        """See ports.lake.Lake.append."""
        state = self.state(service)
        done = state.progress.get(environment)
        if done is not None and done.version >= progress.version:
            return state
        made = lake.TableState(
            features=_union(state.features, [block.feature_fields for block in blocks]),
            answer=_union(state.answer, [block.answer_fields for block in blocks]),
            progress={**state.progress, environment: progress},
        )
        self.blocks.setdefault(service, []).extend(blocks)
        self._states[service] = made
        return made

    def answered(self, service: str, environment: str, since: float) -> list[tuple[str, str, int]]:
        """See ports.lake.Lake.answered."""
        wanted = ("request_id", "release", "answer_number", "environment", "row", "time")
        places = [_NAMES.index(name) for name in wanted]
        rows = [[row[place] for place in places] for block in self.blocks.get(service, ()) for row in block.rows]
        return [tuple(row[:3]) for row in rows if row[3:5] == [environment, 0] and row[5] >= since * 1e6]


def _union(existing: Sequence[schema.Field], more: Sequence[Sequence[schema.Field]]) -> tuple[schema.Field, ...]:
    found = {field.name: field for field in existing}
    for fields in more:
        for field in fields:
            if found.setdefault(field.name, field) != field:
                raise errors.ConflictError(
                    f"{field.name} is {found[field.name].kind} by now, not {field.kind}.",
                    remedy="Place the rows anew.",
                    code=errors.Code.LOG_UNAVAILABLE,
                )
    return tuple(found.values())
