"""A small concurrent HTTP client: a fixed number of connections, kept alive, one request on each at a time."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Sequence


@dataclasses.dataclass(frozen=True, kw_only=True)
class Request:
    path: str = "/predict"
    method: str = "POST"
    host: str = "flights.localhost"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b'{"rows":[{}]}'


@dataclasses.dataclass(frozen=True, kw_only=True)
class Answer:
    status: int
    """0: the connection ended without an answer."""
    headers: dict[str, str]
    body: bytes
    seconds: float


async def send(port: int, requests: Sequence[Request], *, connections: int = 16) -> list[Answer]:
    """Every request's answer, in the order of the requests."""
    answers: list[Answer | None] = [None] * len(requests)
    work = iter(enumerate(requests))

    async def worker() -> None:
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        for index, request in work:
            if writer is None:
                reader, writer = await asyncio.open_connection("127.0.0.1", port)
            assert reader is not None
            began = asyncio.get_running_loop().time()
            answer = await _exchange(reader, writer, request, began)
            answers[index] = answer
            if answer.status == 0 or answer.headers.get("connection") == "close":
                writer.close()
                writer = None
        if writer is not None:
            writer.close()

    await asyncio.gather(*(worker() for _ in range(min(connections, len(requests)))))
    return [answer for answer in answers if answer is not None]


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, request: Request, began: float
) -> Answer:
    lines = [f"{request.method} {request.path} HTTP/1.1", f"host: {request.host}"]
    lines += [f"{name}: {value}" for name, value in request.headers]
    lines += [f"content-length: {len(request.body)}", "", ""]
    now = asyncio.get_running_loop().time
    try:
        writer.write("\r\n".join(lines).encode("latin-1") + request.body)
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in head[1:] if line)}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
    except (asyncio.IncompleteReadError, ConnectionError):
        return Answer(status=0, headers={}, body=b"", seconds=now() - began)
    return Answer(status=int(head[0].split(" ")[1]), headers=headers, body=body, seconds=now() - began)
