"""
Somebody's own ASGI app: imported by its name, started and ended by the lifespan protocol.

Everything that goes wrong here is said in one line that names what to change; the traceback, which people know from
their own server, goes to the log before it.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import inspect
import os
import pathlib
import re
import sys
import traceback
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any, TypeAlias

from softlaunch import errors
from softlaunch.serving.runtimes import model

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Application: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

TARGET = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*(?:\(\))?", re.ASCII)
"""module:attribute, or module:factory() for an app that a call without arguments makes."""
_LOOPBACK = ("127.0.0.1", 0)


def client(headers: Mapping[bytes, bytes]) -> tuple[str, int]:
    """Who asked, as the gateway saw it: what a client itself wrote there comes before."""
    hops = headers.get(b"x-forwarded-for", b"").decode("latin-1").rpartition(",")[2].strip()
    return (hops, 0) if hops else _LOOPBACK


def declared_bytes(headers: Mapping[bytes, bytes]) -> int | None:
    """What content-length says; None: nothing, or no number."""
    length = headers.get(b"content-length", b"")
    return int(length) if length.isdigit() else None


def load(target: str, code: pathlib.Path) -> Application:
    """
    The app.

    Changes the process: code/ becomes the working directory and the first place modules are imported from.

    Raises:
        ConfigError: it cannot be imported, or is no ASGI app.
    """
    sys.path.insert(0, str(code))
    os.chdir(code)
    module_name, _, path = target.partition(":")
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name is not None and (module_name == error.name or module_name.startswith(f"{error.name}.")):
            raise _unusable(
                f"There is no module {error.name!r} in the release's code/ or its environment.",
                remedy="Correct `model.app` in softlaunch.yaml: module:attribute, seen from the service's folder.",
            ) from error
        raise _unusable(
            f"{module_name} imports {error.name!r}, which the release's environment does not have.",
            remedy="Add the package to requirements.lock and build the release again.",
        ) from error
    except (Exception, SystemExit) as error:
        # The user's code: anything can come out.
        traceback.print_exc()
        raise _unusable(
            f"Importing {module_name} raised {model.one_line(error)}.",
            remedy="The traceback stands above, in the replica's log. Fix the app; it is imported as uvicorn does.",
        ) from error
    return _checked(_attribute(module, module_name, path.removesuffix("()")), target, is_factory=path.endswith("()"))


def _attribute(module: Any, module_name: str, path: str) -> Any:
    found = module
    for name in path.split("."):
        try:
            found = getattr(found, name)
        except AttributeError as error:
            known = ", ".join(each for each in vars(module) if _is_app(vars(module)[each])) or "none"
            raise _unusable(
                f"{module_name} has no {path!r}; ASGI apps in it: {known:.200}.",
                remedy="Correct `model.app` in softlaunch.yaml: module:attribute.",
            ) from error
    return found


def _checked(found: Any, target: str, *, is_factory: bool) -> Application:
    if is_factory:
        try:
            found = found()
        except (Exception, SystemExit) as error:
            # The user's code: anything can come out.
            traceback.print_exc()
            raise _unusable(
                f"Calling {target} raised {model.one_line(error)}.",
                remedy="The traceback stands above, in the replica's log. The factory is called without arguments.",
            ) from error
    if _is_app(found):
        application: Application = found
        return application
    if hasattr(found, "wsgi_app"):
        raise _unusable(
            f"{target} is a WSGI app (Flask, Django's wsgi), not an ASGI app.",
            remedy='Run it as a command: model: {command: "gunicorn -b 127.0.0.1:{port} module:app"}.',
        )
    if callable(found) and not inspect.isclass(found) and not is_factory:
        raise _unusable(
            f"{target} is a function, not an ASGI app.",
            remedy=f"When it makes the app, write {target}().",
        )
    raise _unusable(
        f"{target} is {type(found).__name__}, not an ASGI app.",
        remedy="Name the object that is called with scope, receive and send, such as app = FastAPI().",
    )


def _is_app(found: Any) -> bool:
    if inspect.isclass(found) or hasattr(found, "wsgi_app"):
        return False
    if not callable(found):
        return False
    if inspect.iscoroutinefunction(found) or inspect.iscoroutinefunction(type(found).__call__):
        return True
    try:
        return len(inspect.signature(found).parameters) == 3  # scope, receive, send; wrapped by something not async
    except (TypeError, ValueError):
        return False


class Lifespan:
    """
    The app's startup and shutdown, both in one task as the protocol wants.

    An app that knows no lifespan (it raises before it has answered) is one without startup.
    """

    def __init__(self, app: Application) -> None:
        self._app = app
        self._inbox: asyncio.Queue[Message] = asyncio.Queue()
        self._started: asyncio.Future[str | None] | None = None
        self._ended: asyncio.Future[str | None] | None = None
        self._task: asyncio.Task[None] | None = None
        self.state: dict[str, Any] = {}
        """What the app's startup yields to every request."""

    async def startup(self) -> None:
        """
        Raises:
            ConfigError: the app said that its startup failed.
        """
        loop = asyncio.get_running_loop()
        self._started, self._ended = loop.create_future(), loop.create_future()
        self._task = loop.create_task(self._run())
        await self._inbox.put({"type": "lifespan.startup"})
        failed = await self._started
        if failed is not None:
            raise _unusable(
                f"The app's startup failed: {failed}.",
                remedy="What it printed stands above, in the replica's log. Fix the app or the environment's `env`.",
            )

    async def shutdown(self, seconds: float) -> None:
        """Ends the app; what it says or does not say in time is written down and changes nothing."""
        task, ended = self._task, self._ended
        if task is None or ended is None or task.done():
            return
        await self._inbox.put({"type": "lifespan.shutdown"})
        try:
            failed = await asyncio.wait_for(ended, seconds)
        except TimeoutError:
            failed = f"it took longer than {seconds:.3g} s"
        if failed is not None:
            sys.stderr.write(f"softlaunch.serving: the app's shutdown failed: {failed}\n")
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task

    async def _run(self) -> None:
        assert self._started is not None
        assert self._ended is not None
        scope = {"type": "lifespan", "asgi": {"version": "3.0", "spec_version": "2.0"}, "state": self.state}
        said = None
        try:
            await self._app(scope, self._inbox.get, self._send)
        except (Exception, SystemExit) as error:  # noqa: BLE001  # the user's code: anything can come out
            said = model.one_line(error)
            if self._started.done():
                traceback.print_exc()
            else:
                sys.stderr.write(f"softlaunch.serving: the app knows no lifespan ({said})\n")
        # Neither complete nor failed was said: the app knows no lifespan, which the protocol allows.
        _settle(self._started, None)
        _settle(self._ended, said)

    async def _send(self, message: Message) -> None:
        assert self._started is not None
        assert self._ended is not None
        text = str(message.get("message", "")).strip()
        # Starlette sends the whole traceback: its last line is the exception.
        reason = " ".join(text.splitlines()[-1].split())[:300].rstrip(".") if text else "it gave no reason"
        match message["type"]:
            case "lifespan.startup.complete":
                _settle(self._started, None)
            case "lifespan.startup.failed":
                sys.stderr.write(f"{text}\n")
                _settle(self._started, reason)
            case "lifespan.shutdown.complete":
                _settle(self._ended, None)
            case "lifespan.shutdown.failed":
                sys.stderr.write(f"{text}\n")
                _settle(self._ended, reason)


def _settle(future: asyncio.Future[str | None], value: str | None) -> None:
    if not future.done():
        future.set_result(value)


def _unusable(message: str, *, remedy: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy=remedy, code=errors.Code.APP_UNUSABLE)
