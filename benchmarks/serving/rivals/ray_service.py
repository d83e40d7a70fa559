"""Ray Serve: one replica, its HTTP proxy, a cluster of one node."""

from __future__ import annotations

import asyncio
from typing import Any

import model_call
import numpy as np
import ray
from ray import serve
from starlette.requests import Request

settings = model_call.SETTINGS
options: dict[str, Any] = {
    "num_replicas": 1,
    "max_ongoing_requests": 256,
    "ray_actor_options": {"num_cpus": 1},
    "logging_config": {"enable_access_log": False, "log_level": "WARNING"},
}


@serve.deployment(**options)
class Single:
    def __init__(self) -> None:
        self.probabilities = model_call.load()

    async def __call__(self, request: Request) -> dict[str, Any]:
        row = model_call.row_of(await request.json())
        return model_call.answer_of(self.probabilities(np.array([row]))[0])


@serve.deployment(**options)
class Batched:
    def __init__(self) -> None:
        self.probabilities = model_call.load()

    @serve.batch(max_batch_size=settings["max_batch_size"], batch_wait_timeout_s=settings["batch_wait_timeout_s"])
    async def answers(self, rows: list[Any]) -> list[Any]:
        return [model_call.answer_of(each) for each in self.probabilities(np.array(rows))]

    async def __call__(self, request: Request) -> dict[str, Any]:
        return await self.answers(model_call.row_of(await request.json()))


async def main() -> None:
    # Two "CPUs" whatever the machine has: the replica takes one of them, which core it runs on is taskset's business.
    ray.init(num_cpus=2, include_dashboard=False, log_to_driver=False, configure_logging=False)
    serve.start(
        http_options={"host": "127.0.0.1", "port": model_call.TASK["port"]},
        logging_config={"enable_access_log": False, "log_level": "WARNING"},
    )
    serve.run((Batched if settings["batch"] else Single).bind(), route_prefix="/predict")
    await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main())
