"""FastAPI and uvicorn, as tutorials write them: the model is loaded at start, pydantic checks the row."""

from __future__ import annotations

from typing import Any

import fastapi
import model_call
import numpy as np
import orjson
import pydantic
import uvicorn

probabilities = model_call.load()
settings = model_call.SETTINGS
Row: Any = pydantic.create_model("Row", **dict.fromkeys(model_call.FEATURES, (float, ...)))
app = fastapi.FastAPI()


class Answer(pydantic.BaseModel):
    label: int
    probability: float


def answer(row: Any) -> dict[str, Any]:
    found = model_call.row_of(row.__dict__)
    return model_call.answer_of(probabilities(np.array([found]))[0])


if settings["handler"] == "async":

    @app.post("/predict")
    async def predict(row: Row) -> Answer:
        return Answer(**answer(row))

elif settings["handler"] == "async, orjson response":

    @app.post("/predict")
    async def predict(row: Row) -> fastapi.Response:
        return fastapi.Response(orjson.dumps(answer(row)), media_type="application/json")

elif settings["handler"] == "sync":

    @app.post("/predict")
    def predict(row: Row) -> Answer:
        return Answer(**answer(row))

elif settings["handler"] == "by hand":  # no validation: the body is read and the answer written by orjson

    @app.post("/predict")
    async def predict(request: fastapi.Request) -> fastapi.Response:
        found = model_call.row_of(orjson.loads(await request.body()))
        told = model_call.answer_of(probabilities(np.array([found]))[0])
        return fastapi.Response(orjson.dumps(told), media_type="application/json")


if __name__ == "__main__":
    where: dict[str, Any] = (
        {"uds": model_call.TASK["socket"]}
        if settings["uds"]
        else {"host": "127.0.0.1", "port": model_call.TASK["port"]}
    )
    uvicorn.run(
        app,
        loop=settings["loop"],
        http="httptools",
        access_log=False,
        log_level="warning",
        timeout_keep_alive=60,
        **where,
    )
