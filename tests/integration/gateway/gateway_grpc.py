"""A concurrent gRPC client of the gateway: calls on a few channels, each call's whole outcome."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Sequence
from typing import Any

import gateway_bench
import grpc
import grpc.aio
from tritonclient.grpc import service_pb2, service_pb2_grpc  # type: ignore[import-untyped]

LARGEST = 64 * 1024 * 1024
OPTIONS = (("grpc.max_receive_message_length", LARGEST), ("grpc.max_send_message_length", LARGEST))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Call:
    method: str = "ModelInfer"
    message: Any = dataclasses.field(default_factory=lambda: service_pb2.ModelInferRequest(model_name="m"))
    metadata: tuple[tuple[str, str], ...] = ()
    compression: grpc.Compression | None = None
    timeout: float = 20.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reply:
    code: grpc.StatusCode
    details: str
    message: Any
    metadata: dict[str, str]
    """Initial and trailing."""
    seconds: float

    @property
    def release(self) -> str:
        """The fault server that answered."""
        return str(self.message.model_name)


async def _send(port: int, calls: Sequence[Call], connections: int, options: Sequence[tuple[str, Any]]) -> list[Reply]:
    # Channels of equal options share a connection unless each has a pool of its own.
    own = ("grpc.use_local_subchannel_pool", 1)
    channels = [
        grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[*OPTIONS, *options, own])
        for _ in range(min(connections, 4))
    ]
    stubs = [service_pb2_grpc.GRPCInferenceServiceStub(channel) for channel in channels]
    replies: list[Reply | None] = [None] * len(calls)
    work = iter(enumerate(calls))

    async def worker(stub: Any) -> None:
        for index, call in work:
            replies[index] = await _ask(stub, call)

    try:
        await asyncio.gather(*(worker(stubs[number % len(stubs)]) for number in range(connections)))
    finally:
        for channel in channels:
            await channel.close()
    return [reply for reply in replies if reply is not None]


async def _ask(stub: Any, call: Call) -> Reply:
    began = time.perf_counter()
    pending = getattr(stub, call.method)(
        call.message, metadata=call.metadata, timeout=call.timeout, compression=call.compression
    )
    message = None
    try:
        message = await pending
    except grpc.aio.AioRpcError as error:
        found = [*error.initial_metadata(), *error.trailing_metadata()]
        code, details = error.code(), error.details() or ""
    else:
        found = [*await pending.initial_metadata(), *await pending.trailing_metadata()]
        code, details = await pending.code(), await pending.details()
    return Reply(
        code=code,
        details=details,
        message=message,
        metadata={key: str(value) for key, value in found},
        seconds=time.perf_counter() - began,
    )


def send(
    bench: gateway_bench.Bench,
    calls: int | Sequence[Call],
    *,
    connections: int = 32,
    options: Sequence[tuple[str, Any]] = (),
    **call: Any,
) -> list[Reply]:
    """The replies, in the order of the calls; a number stands for one ModelInfer of each of so many users."""
    if isinstance(calls, int):
        users = [(("x-user-id", f"user-{number}"),) for number in range(calls)]
        calls = [Call(**({"metadata": user} | call)) for user in users]
    return asyncio.run(_send(bench.port, calls, connections, options))


def failed(replies: Sequence[Reply]) -> list[Reply]:
    """Failed for the user: no OK, or a fallback."""
    return [
        reply
        for reply in replies
        if reply.code is not grpc.StatusCode.OK or not reply.release or "x-softlaunch-fallback" in reply.metadata
    ]
