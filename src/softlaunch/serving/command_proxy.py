"""
An ASGI application that asks a command on the loopback, and hands its answer on as it comes.

aiohttp speaks HTTP; here is only what a proxy may not hand on (RFC 9110, section 7.6.1), and when to stop.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import aiohttp
import multidict
import yarl

from softlaunch.serving import asgi_guard, asgi_target

_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        # aiohttp would wait for a 100 that the listener has given already.
        b"expect",
    )
)
_ADDED_BY_CLIENT = ("User-Agent", "Accept", "Accept-Encoding", "Content-Type")
_KEPT_SECONDS = 1.0
"""An idle connection is used again for so long: less than any server keeps it (gunicorn: 2 s, node: 5 s)."""
_READY_SECONDS = 2.0
_HOSTS = ("127.0.0.1", "[::1]")
"""A program told to listen on `localhost` may mean either."""


class Proxy:
    """
    Args:
        port: Where the command listens.
    """

    def __init__(self, port: int) -> None:
        self._port = port
        self._host = _HOSTS[0]
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEPT_SECONDS),
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            auto_decompress=False,
            skip_auto_headers=_ADDED_BY_CLIENT,
        )

    async def close(self) -> None:
        await self._session.close()

    async def __call__(self, scope: asgi_target.Scope, receive: asgi_target.Receive, send: asgi_target.Send) -> None:
        body = _Body(receive)
        asking = asyncio.ensure_future(self._ask(scope, body, send))
        leaving = asyncio.ensure_future(body.left())
        try:
            await asyncio.wait({asking, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if not asking.done():  # the client has gone: the command sees its connection closed
                asking.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await asking
                return
            await asking
        finally:
            asking.cancel()
            leaving.cancel()

    async def ready(self, path: str) -> str:
        """Why the command is not ready; empty when it is."""
        if path:
            return await self._asked(path)
        for host in _HOSTS:
            try:
                _, writer = await asyncio.open_connection(host.strip("[]"), self._port)
            except OSError:
                continue
            writer.close()
            self._host = host
            return ""
        return f"the command does not listen on port {self._port} yet (it is told by $PORT and {{port}})"

    async def _asked(self, path: str) -> str:
        for host in _HOSTS:
            try:
                async with self._session.get(
                    yarl.URL(f"http://{host}:{self._port}{path}", encoded=True),
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(total=_READY_SECONDS),
                ) as answer:
                    self._host = host
                    good = 200 <= answer.status < 300
                    return "" if good else f"its ready path {path} answers {answer.status}"
            except TimeoutError:
                return f"its ready path {path} does not answer within {_READY_SECONDS:g} s"
            except (aiohttp.ClientError, OSError):
                continue
        return f"the command does not listen on port {self._port} yet (it is told by $PORT and {{port}})"

    async def _ask(self, scope: asgi_target.Scope, body: _Body, send: asgi_target.Send) -> None:
        headers = multidict.CIMultiDict[str]()
        for name, value in scope["headers"]:
            if name not in _HOP_BY_HOP:
                headers.add(name.decode("latin-1"), value.decode("latin-1"))
        path = (scope.get("raw_path") or scope["path"].encode()).partition(b"?")[0].decode("latin-1")
        query = scope["query_string"].decode("latin-1")
        url = yarl.URL(f"http://{self._host}:{self._port}{path}{'?' if query else ''}{query}", encoded=True)
        empty = _has_no_body(scope)
        if empty:
            body.finish()
        try:
            async with self._session.request(
                scope["method"], url, headers=headers, data=None if empty else body.parts(), allow_redirects=False
            ) as answer:
                found = [(name.lower(), value) for name, value in answer.raw_headers]
                kept = [each for each in found if each[0] not in _HOP_BY_HOP]
                await send({"type": "http.response.start", "status": answer.status, "headers": kept})
                async for part in answer.content.iter_any():
                    await send({"type": "http.response.body", "body": part, "more_body": True})
                await send({"type": "http.response.body", "body": b""})
        except aiohttp.ClientConnectionError as error:
            raise asgi_guard.LostError(f"The command cut the connection: {error}") from error


class _Body:
    """A request's body, which is read for the command; and then the client's leaving."""

    def __init__(self, receive: asgi_target.Receive) -> None:
        self._receive = receive
        self._whole = asyncio.Event()
        self._gone = False

    async def parts(self) -> AsyncIterator[bytes]:
        more = True
        while more:
            message = await self._receive()
            if message["type"] == "http.disconnect":
                self._gone = True
                self._whole.set()
                raise ConnectionAbortedError
            if message.get("body"):
                yield message["body"]
            more = message.get("more_body", False)
        self._whole.set()

    def finish(self) -> None:
        """There is no body to read."""
        self._whole.set()

    async def left(self) -> None:
        """Returns when the client has gone."""
        await self._whole.wait()
        while not self._gone:
            self._gone = (await self._receive())["type"] == "http.disconnect"


def _has_no_body(scope: asgi_target.Scope) -> bool:
    names = dict(scope["headers"])
    return b"transfer-encoding" not in names and names.get(b"content-length", b"0") == b"0"
