"""The application against granian's interface, without a socket, for tests of the protocols it speaks."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pytest

from softlaunch.core import predictions, release
from softlaunch.serving import app as app_module
from softlaunch.serving import batching, model_thread, readiness, rows_codec

VERSION = "0123456789ab"
FEATURES = (
    release.Column(name="a", datatype=release.Datatype.FP64),
    release.Column(name="s", datatype=release.Datatype.BYTES, nullable=True),
    release.Column(name="n", datatype=release.Datatype.INT64, nullable=True),
)
SIGNATURE = release.Signature(
    inputs=FEATURES,
    outputs=(
        *predictions.classifier_outputs(["no", "yes"]),
        release.Column(name="rank", datatype=release.Datatype.INT64, nullable=True),
        release.Column(name="late", datatype=release.Datatype.BOOL),
        release.Column(name="small", datatype=release.Datatype.FP32, nullable=True),
    ),
)


@dataclasses.dataclass
class Scope:
    method: str
    path: str
    headers: dict[str, str]


@dataclasses.dataclass
class Protocol:
    """What granian passes: gives the body, keeps the answer."""

    body: bytes
    status: int = 0
    headers: list[tuple[str, str]] = dataclasses.field(default_factory=list)
    answer: bytes = b""

    async def __call__(self) -> bytes:
        return self.body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for start in range(0, len(self.body), 1_000):
            yield self.body[start : start + 1_000]

    async def client_disconnect(self) -> None:
        await asyncio.Event().wait()

    def response_bytes(self, status: int, headers: list[tuple[str, str]], body: bytes) -> None:
        self.status, self.headers, self.answer = status, headers, body


@dataclasses.dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


def model(rows: Sequence[predictions.Row]) -> Mapping[str, Any]:
    """`s` says what goes wrong; the score is `a` / 10 within 0 and 1, the rank is `n`."""
    said = [row[1] for row in rows]
    if "raise" in said:
        raise KeyError("raise")
    scores = [min(max(row[0] / 10, 0.0), 1.0) if row[1] != "nan" else np.nan for row in rows]
    return {
        "label": np.array(["yes" if score > 0.5 else "no" for score in scores]),
        "probability": np.array(scores),
        "rank": [row[2] for row in rows],
        "late": np.array([score > 0.5 for score in scores]),
        "small": [None if each == "none" else 0.5 for each in said],
    }


@pytest.fixture
def ask() -> Callable[..., Answer]:
    """Asks an application that serves SIGNATURE as `svc`; every header is sent once."""

    def asked(
        method: str,
        path: str,
        body: bytes = b"",
        *,
        headers: Mapping[str, str] | None = None,
        phase: readiness.Phase = readiness.Phase.READY,
        queue_rows_max: int = 100,
        keys: tuple[str, ...] = (),
        examples: tuple[predictions.Row, ...] = (),
    ) -> Answer:
        async def run() -> Protocol:
            thread = model_thread.ModelThread()
            app = app_module.App(service="svc", version=VERSION, instance="tok", body_bytes_max=100_000)
            app.phase = phase
            if phase is not readiness.Phase.LOADING:
                batcher = batching.Batcher(
                    model, SIGNATURE.outputs, thread=thread, batch_rows_max=10, queue_rows_max=queue_rows_max
                )
                app.loaded = readiness.Loaded(
                    batcher=batcher,
                    codec=rows_codec.RowsCodec(SIGNATURE, VERSION),
                    signature=SIGNATURE,
                    declared=SIGNATURE,
                    platform="test",
                    keys=keys,
                    examples=examples,
                )
            protocol = Protocol(body)
            await asyncio.wait_for(app.__rsgi__(Scope(method, path, dict(headers or {})), protocol), 10)
            thread.close()
            assert app.in_flight == 0
            return protocol

        protocol = asyncio.run(run())
        names = [name for name, _ in protocol.headers]
        assert len(names) == len(set(names)), names
        assert ("x-softlaunch-release", VERSION) in protocol.headers
        return Answer(protocol.status, dict(protocol.headers), protocol.answer)

    return asked
