"""BentoML: a service with one worker, served by `bentoml serve`."""

from __future__ import annotations

from typing import Any

import bentoml
import model_call
import numpy as np
import pydantic

settings = model_call.SETTINGS
Row: Any = pydantic.create_model("Row", **dict.fromkeys(model_call.FEATURES, (float, ...)))


class Answer(pydantic.BaseModel):
    label: int
    probability: float


config: dict[str, Any] = {
    "workers": 1,
    "threads": settings["threads"],
    "metrics": {"enabled": False},
    "logging": {"access": {"enabled": False}},
    "traffic": {"timeout": 60},
}


def answers(probabilities: Any, rows: list[Any]) -> list[Any]:
    found = probabilities(np.array([model_call.row_of(row.__dict__) for row in rows]))
    return [Answer(**model_call.answer_of(each)) for each in found]


if settings["batchable"]:

    @bentoml.service(**config)
    class Service:
        def __init__(self) -> None:
            self.probabilities = model_call.load()

        @bentoml.api(
            batchable=True, max_batch_size=settings["max_batch_size"], max_latency_ms=settings["max_latency_ms"]
        )
        def predict(self, rows: list[Row]) -> list[Answer]:
            return answers(self.probabilities, rows)

elif settings["handler"] == "sync":

    @bentoml.service(**config)
    class Service:
        def __init__(self) -> None:
            self.probabilities = model_call.load()

        @bentoml.api
        def predict(self, row: Row) -> Answer:
            return answers(self.probabilities, [row])[0]

else:

    @bentoml.service(**config)
    class Service:
        def __init__(self) -> None:
            self.probabilities = model_call.load()

        @bentoml.api
        async def predict(self, row: Row) -> Answer:
            return answers(self.probabilities, [row])[0]
