"""
The fallback server: `python -m softlaunch.serving.fallback --spec FILE --socket PATH`.

Asked by the gateway when every release has failed. Answers prediction requests from a table or a Python function
(core.fallbacks), in the model server's shape, marked by x-softlaunch-fallback. What it has no answer for is a 503 with
x-softlaunch-fallback-miss, so that the gateway goes on to the next fallback:

    no-row       the table has no row for it, and no default
    raised       the function raised, or said None
    timeout      the function took longer than --call-seconds
    not-outputs  the function's answer is no mapping of outputs to plain, finite values
    unreadable   tensors whose columns nobody can name; a path that is not a prediction's

The service's code runs in this process and nowhere else. It is called in a thread, one call at a time; a call that
takes too long is given up, and when several of them never end, so does the process, to be started again. Health is
asked as of a model server.
"""

from __future__ import annotations

import argparse
import asyncio
import collections
import concurrent.futures
import contextlib
import ctypes
import math
import os
import pathlib
import signal
import sys
import threading
import types
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NoReturn, Protocol

from softlaunch import errors
from softlaunch.core import fallbacks, oip, predictions, spec
from softlaunch.serving import listener, oip_inference, replies, rows_codec
from softlaunch.serving.runtimes import model

MARK = "x-softlaunch-fallback"
MISS = "x-softlaunch-fallback-miss"
CALL_SECONDS = 0.25
"""A guess: the request has waited for every release already."""
STUCK_MAX = 4
"""Calls that were given up and run on; a guess. Each holds a thread, and perhaps the interpreter's lock."""


class MissError(Exception):
    """There is no answer for a row; `reason` is one of the module's words."""

    def __init__(self, reason: str, said: str) -> None:
        super().__init__(said)
        self.reason = reason


class Answers(Protocol):
    async def rows(self, rows: Sequence[fallbacks.Row]) -> list[dict[str, Any]]:
        """
        Outputs for each row.

        Raises:
            MissError: one of them has no answer.
        """
        ...


class TableAnswers:
    """From a table."""

    def __init__(self, table: fallbacks.Table) -> None:
        self._table = table

    async def rows(self, rows: Sequence[fallbacks.Row]) -> list[dict[str, Any]]:
        """See Answers.rows."""
        found = [self._table.answer(row) for row in rows]
        if None in found:
            raise MissError("no-row", "The table has no row for this request, and no default.")
        return [dict(each) for each in found if each is not None]


class PythonAnswers:
    """From a function, called in a thread with a time limit. Make it with `load`."""

    def __init__(self, function: Callable[[dict[str, Any]], Any], call_seconds: float) -> None:
        self._function = function
        self._call_seconds = call_seconds
        self._turn = asyncio.Lock()
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._ident = 0
        self._stuck: list[concurrent.futures.Future[Any]] = []
        self._troubles: collections.Counter[str] = collections.Counter()

    @classmethod
    async def load(cls, fallback: spec.FallbackSpec, call_seconds: float) -> PythonAnswers:
        """
        Runs the file and takes its function.

        Raises:
            ConfigError: it raised, or is not such a file.
        """
        name = fallbacks.function_name(fallback)
        file = fallback.target.partition(":")[0]
        module = types.ModuleType("softlaunch_fallback")
        sys.modules[module.__name__] = module  # dataclasses and pickles look their module up
        code = compile(fallback.content, file, "exec")

        def run() -> Any:
            exec(code, module.__dict__)  # noqa: S102  # the service's own code, in the process made for it
            return getattr(module, name, None)

        try:
            function = await asyncio.to_thread(run)
        except (Exception, SystemExit) as error:  # the user's code: anything can come out
            raise _unusable(fallback, f"raised {model.one_line(error)} when it was run") from error
        if not callable(function):
            raise _unusable(fallback, f"defines no function {name!r} that can be called")
        return cls(function, call_seconds)

    async def rows(self, rows: Sequence[fallbacks.Row]) -> list[dict[str, Any]]:
        """See Answers.rows."""
        return [await self._row(dict(row)) for row in rows]

    async def _row(self, row: dict[str, Any]) -> dict[str, Any]:
        try:
            await asyncio.wait_for(self._turn.acquire(), self._call_seconds)
        except TimeoutError:
            raise self._miss("timeout", "calls before it took too long") from None
        try:
            call = self._thread.submit(self._call, row)
            answered = asyncio.wrap_future(call)
            done, _ = await asyncio.wait({answered}, timeout=self._call_seconds)
            if not done:
                answered.cancel()  # else what it raises some day would be logged with its text
                self._give_up(call)
                raise self._miss("timeout", f"a call took longer than {self._call_seconds:g} s")
        finally:
            self._turn.release()
        error = answered.exception()
        if error is not None:
            raise self._miss("raised", _where(error)) from None
        answer = answered.result()
        if answer is None:
            raise MissError("raised", "The function has no answer for this request.")
        outputs = _outputs(answer)
        if outputs is None:
            raise self._miss("not-outputs", "it answered no mapping of names to plain, finite values")
        return outputs

    def _call(self, row: dict[str, Any]) -> Any:
        self._ident = threading.get_ident()
        return self._function(row)

    def _give_up(self, call: concurrent.futures.Future[Any]) -> None:
        """Asks the thread to stop, which Python code does at its next line, and takes another one."""
        ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(self._ident), ctypes.py_object(SystemExit))
        self._thread.shutdown(wait=False)
        self._thread = concurrent.futures.ThreadPoolExecutor(max_workers=1)
        self._stuck = [each for each in (*self._stuck, call) if not each.done()]
        if len(self._stuck) > STUCK_MAX:
            sys.stderr.write(f"softlaunch.serving.fallback: {len(self._stuck)} calls never ended; starting afresh\n")
            sys.stderr.flush()
            os._exit(1)

    def _miss(self, reason: str, said: str) -> MissError:
        """Logged without the row's values: an exception's text may quote them, so it is left out, too."""
        trouble = f"{reason}: {said}"
        self._troubles[trouble] += 1
        count = self._troubles[trouble]
        if math.log10(count).is_integer():  # the first, tenth, hundredth: a dead service asks a thousand times a second
            sys.stderr.write(f"softlaunch.serving.fallback: {trouble} ({count} times)\n")
            sys.stderr.flush()
        return MissError(reason, f"The fallback has no answer: {said}.")


class FallbackApp:
    """
    The RSGI application.

    Args:
        kind: What x-softlaunch-fallback says.
        instance: Token of health answers.
        features: See fallbacks.Task.
        body_bytes_max: Larger bodies are answered 413.
    """

    def __init__(self, *, kind: spec.FallbackKind, instance: str, features: Sequence[str], body_bytes_max: int) -> None:
        self.answers: Answers | None = None
        """None until it is loaded: not ready."""
        self.draining = False
        self.in_flight = 0
        self.last_request_at = 0.0
        self._headers = [("content-type", "application/json"), (MARK, kind.value)]
        self._instance_header = ("x-softlaunch-instance", instance)
        self._features = features
        self._body_bytes_max = body_bytes_max

    async def __rsgi__(self, scope: Any, proto: Any) -> None:
        self.in_flight += 1
        try:
            reply = await self._reply(scope, proto)
        except MissError as miss:
            reply = replies.document(503, {"error": str(miss), "remedy": "Try again later."}, (MISS, miss.reason))
        except predictions.MalformedError as error:
            reply = replies.refused(error)
        except Exception as error:  # noqa: BLE001  # the last frame before granian, which would answer without a body
            sys.stderr.write(f"softlaunch.serving.fallback: {_where(error)}\n")
            reply = replies.server_failed(type(error).__name__)
        finally:
            self.in_flight -= 1
        headers = [*self._headers, *reply.headers]
        if self.draining:
            self.last_request_at = asyncio.get_running_loop().time()
            headers.append(("connection", "close"))
        proto.response_bytes(reply.status, headers, reply.body)

    async def _reply(self, scope: Any, proto: Any) -> replies.Reply:
        parts = scope.path.split("/")[1:]
        if scope.method == "GET" and parts == ["v2", "health", "live"]:
            return replies.document(200, {"live": True}, self._instance_header)
        if scope.method == "GET" and parts == ["v2", "health", "ready"]:
            ready = self.answers is not None and not self.draining
            return replies.document(200 if ready else 503, {"ready": ready}, self._instance_header)
        if scope.method != "POST":
            return replies.not_found(scope.path)
        body = await self._bounded_body(proto)
        if body is None:
            return replies.too_large(self._body_bytes_max)
        if self.answers is None:
            return replies.not_ready()
        if parts == ["predict"]:
            return await _predicted(self.answers, rows_codec.read_json(body))
        if parts[:2] == ["v2", "models"] and parts[-1] == "infer" and len(parts) in (4, 6):
            # An answer in JSON is understood by clients that asked for binary tensor data, too.
            document, binary = oip_inference.split(body, scope.headers.get(oip_inference.HEADER_BYTES))
            return await _inferred(self.answers, document, parts[2], self._features, binary=binary)
        raise MissError("unreadable", f"The fallback does not know what {scope.path[:200]} takes.")

    async def _bounded_body(self, proto: Any) -> bytes | None:
        parts: list[bytes] = []
        size = 0
        async for part in proto:
            size += len(part)
            if size > self._body_bytes_max:
                return None
            parts.append(part)
        return b"".join(parts)


async def _predicted(answers: Answers, document: Any) -> replies.Reply:
    bare = isinstance(document, dict) and not isinstance(document.get("rows"), list)
    rows = [document] if bare else document["rows"] if isinstance(document, dict) else document
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise predictions.MalformedError(
            f"The body is {predictions.shown(document)}, not rows.",
            remedy='Send {"rows": [{...}, ...]}, a list of rows, or one row, by feature name.',
        )
    found = await answers.rows(rows)
    # `release` is in every answer of a model server: null says that none answered.
    return replies.document(200, {"prediction": found[0], "release": None} if bare else _many(found))


def _many(found: list[dict[str, Any]]) -> dict[str, Any]:
    return {"predictions": found, "release": None}


async def _inferred(
    answers: Answers, document: Any, name: str, features: Sequence[str], *, binary: memoryview
) -> replies.Reply:
    try:
        request = oip.parse_untyped(document, features, binary=binary)
    except errors.ConfigError as error:
        raise MissError("unreadable", error.message) from error
    found = await answers.rows(request.rows)
    return replies.document(200, oip.untyped_response(model=name, request=request, rows=found))


def _outputs(answer: Any) -> dict[str, Any] | None:
    """The answer as plain values; None when it is not one."""
    if not isinstance(answer, Mapping) or not answer:
        return None
    outputs: dict[str, Any] = {}
    for name, raw in answer.items():
        value = raw.item() if hasattr(raw, "item") and callable(raw.item) else raw  # numpy's and torch's scalars
        if not isinstance(name, str) or not (value is None or isinstance(value, bool | int | float | str)):
            return None
        if isinstance(value, float) and not math.isfinite(value):
            return None
        outputs[name] = value
    return outputs


def _where(error: BaseException) -> str:
    """The exception's class and line, without its text."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    place = "" if trace is None else f" in {pathlib.Path(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}"
    return f"{type(error).__name__}{place}"


def _unusable(fallback: spec.FallbackSpec, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The fallback {fallback.target[:200]!r} {what}.",
        remedy="Fix the file and deploy again.",
        code=errors.Code.FALLBACK_UNUSABLE,
    )


async def _serve(chosen: argparse.Namespace) -> int:
    try:
        raw = chosen.spec.read_bytes()
    except OSError as error:
        raise errors.ConfigError(
            f"{chosen.spec} cannot be read ({error.strerror}).",
            remedy="Pass --spec with the file that was written for it.",
            code=errors.Code.FALLBACK_UNUSABLE,
        ) from error
    task = fallbacks.load(raw)
    fallback = task.fallback
    if fallback.kind not in fallbacks.LOCAL:
        raise _unusable(fallback, f"is of kind {fallback.kind}, which is a route and no process")
    app = FallbackApp(
        kind=fallback.kind,
        instance=chosen.instance,
        features=task.features,
        body_bytes_max=chosen.body_bytes_max,
    )
    server = listener.Listener(app, chosen.socket)
    loop = asyncio.get_running_loop()
    stopping = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    serving = loop.create_task(server.serve())
    loading = loop.create_task(_load(app, fallback, chosen.call_seconds))
    stopped = loop.create_task(stopping.wait())
    try:
        await asyncio.wait({serving, loading, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if loading.done():
            loading.result()
            await asyncio.wait({serving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        if serving.done():
            serving.result()
            raise errors.InvariantError("The HTTP server ended by itself.")
    finally:
        app.draining = True
        server.withdraw()
    return await listener.drain(app, server, serving, chosen.grace_seconds)


async def _load(app: FallbackApp, fallback: spec.FallbackSpec, call_seconds: float) -> None:
    if fallback.kind is spec.FallbackKind.TABLE:
        app.answers = TableAnswers(fallbacks.Table(fallback))
    else:
        app.answers = await PythonAnswers.load(fallback, call_seconds)


def main(arguments: Sequence[str]) -> NoReturn:
    """Serves until SIGTERM or a failure; never returns."""
    parser = argparse.ArgumentParser(prog="python -m softlaunch.serving.fallback", description="Serve one fallback.")
    parser.add_argument("--spec", type=pathlib.Path, required=True, help="file that core.fallbacks.dump wrote")
    parser.add_argument("--socket", type=pathlib.Path, required=True, help="Unix socket to serve on")
    parser.add_argument("--instance", default=os.environ.get("SOFTLAUNCH_INSTANCE", ""), help="token of health answers")
    parser.add_argument("--call-seconds", type=float, default=CALL_SECONDS, help="limit of one call (%(default)s)")
    parser.add_argument("--body-bytes-max", type=int, default=16 * 2**20, help="largest body (%(default)s)")
    parser.add_argument("--grace-seconds", type=float, default=5.0, help="time to drain after SIGTERM (%(default)s)")
    chosen = parser.parse_args(arguments)
    chosen.socket = chosen.socket.absolute()
    try:
        code = asyncio.run(_serve(chosen))
    except errors.SoftlaunchError as error:
        sys.stderr.write(f"softlaunch.serving.fallback: {error.code}: {error}\n")
        code = 1
    with contextlib.suppress(OSError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)  # a hung call keeps no process alive


if __name__ == "__main__":
    main(sys.argv[1:])
