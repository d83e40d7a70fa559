"""LitServe: its API class, one worker process beside the HTTP process."""

from __future__ import annotations

from typing import Any

import litserve
import model_call
import numpy as np

settings = model_call.SETTINGS


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:  # noqa: ARG002
        self.probabilities = model_call.load()

    def decode_request(self, request):  # noqa: ANN001, ANN201  # LitServe makes the endpoint of what is annotated here
        return np.array(model_call.row_of(request))

    def batch(self, inputs: list[Any]) -> Any:
        return np.stack(inputs)

    def predict(self, rows: Any) -> Any:
        return self.probabilities(rows if settings["max_batch_size"] > 1 else rows[np.newaxis])

    def unbatch(self, output: Any) -> list[Any]:
        return list(output)

    def encode_response(self, output):  # noqa: ANN001, ANN201  # as above
        return model_call.answer_of(output if settings["max_batch_size"] > 1 else output[0])


if __name__ == "__main__":
    api = Api(max_batch_size=settings["max_batch_size"], batch_timeout=settings["batch_timeout"])
    server = litserve.LitServer(
        api, accelerator="cpu", workers_per_device=1, fast_queue=settings["fast_queue"], timeout=False
    )
    server.run(
        host="127.0.0.1",
        port=model_call.TASK["port"],
        num_api_servers=1,
        log_level="warning",
        generate_client_file=False,
        access_log=False,
    )
