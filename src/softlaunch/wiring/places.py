"""This machine: gateway, processes and ports, as the control plane and a replay use them."""

from __future__ import annotations

import contextlib
import dataclasses
import os
import pathlib
import secrets
import socket
import sys
from collections.abc import Sequence
from typing import Any

from softlaunch import errors
from softlaunch.adapters.attached import fleet as attached_fleet
from softlaunch.adapters.envoy import gateway as envoy_gateway
from softlaunch.adapters.local import clock as local_clock
from softlaunch.adapters.local import fleet as local_fleet
from softlaunch.adapters.local import launch as local_launch
from softlaunch.adapters.local import survey as local_survey
from softlaunch.adapters.python_env import uv as uv_environments
from softlaunch.config import home as homes
from softlaunch.config import settings as setting
from softlaunch.controller import (
    shelf,
)
from softlaunch.core import env_references, fallbacks, release
from softlaunch.core import spec as spec_values
from softlaunch.ports import fleet
from softlaunch.serving import fallback as fallback_server
from softlaunch.wiring import evidence, secrecy

_PORT_MAX = 65_535


def gateway(home: homes.Home, settings: setting.Settings) -> envoy_gateway.EnvoyGateway:
    return envoy_gateway.EnvoyGateway(
        directory=home.gateway,
        run_directory=home.run,
        log=home.logs / "envoy.log",
        timekeeper=local_clock.SystemClock(),
        binary=settings.envoy,
        log_budget_bytes=settings.attempt_log_bytes_max,
    )


def fleet_of(home: homes.Home, settings: setting.Settings, shelves: shelf.Shelf) -> local_fleet.LocalFleet:
    return local_fleet.LocalFleet(
        run_dir=home.run, logs_dir=home.logs, launcher=launcher(home, settings, shelves), redact=secrecy.REDACTOR.text
    )


def launcher(home: homes.Home, settings: setting.Settings, shelves: shelf.Shelf) -> local_launch.Launcher:
    secrecy.install()
    proofs = evidence.of(home)
    environments = uv_environments.UvEnvironments(home.venvs)

    def launcher(spec: fleet.ReplicaSpec) -> local_launch.Launch:
        variables = {**env_references.resolve(spec.env, os.environ), **secrecy.resolve(spec.secrets)}
        if spec.fallback is not None:
            return local_launch.Launch(
                python=pathlib.Path(sys.executable),
                release_directory=None,
                module=fallback_server.__name__,
                env=variables,
                arguments=("--spec", str(_fallback_file(home, spec))),
            )
        directory, content = shelves.take(spec.release)
        if content.drill is None:  # a drill's release is made here, and no user may launch one
            proofs.require(spec.release.release, spec.evidence)
        arguments: tuple[str, ...] = ("--batch-rows-max", str(settings.batch_rows_max))
        if spec.release != spec.release.release:  # otherwise the directory's name says it
            arguments = (*arguments, "--digest", spec.release.short)
        arguments = (*arguments, *(f"--capture-key={name}" for name in spec.keys))
        if spec.capture is not None:
            arguments = (*arguments, *_capture(home, spec, spec.capture))
        if content.runtime in (release.Runtime.ASGI, release.Runtime.COMMAND):
            arguments = (*arguments, *(f"--predict-path={path}" for path in spec.predict_paths))
        if content.runtime is release.Runtime.COMMAND:
            # Our own interpreter supervises it; what it is made of comes from the release's environment.
            python = pathlib.Path(sys.executable)
            programs = environments.serving_python(directory).parent
            variables["PATH"] = os.pathsep.join([str(programs), variables.get("PATH", os.environ.get("PATH", ""))])
        elif content.runtime is release.Runtime.ONNX:
            python = pathlib.Path(sys.executable)
        else:
            python = environments.serving_python(directory)
            variables["PYTHONPATH"] = str(environments.import_path())
        return local_launch.Launch(python=python, release_directory=directory, env=variables, arguments=arguments)

    return launcher


def _capture(home: homes.Home, spec: fleet.ReplicaSpec, capture: spec_values.CaptureSpec) -> tuple[str, ...]:
    directory = home.spool / spec.service / spec.environment
    found = [
        "--spool",
        str(directory),
        "--spool-bytes-max",
        str(capture.disk_bytes_max),
        "--capture-percent",
        str(capture.percent),
    ]
    for name, how in capture.redact.items():
        found += ["--redact", f"{name}={how.value}"]
    if spec_values.Redaction.HASH in capture.redact.values():
        found += ["--redact-secret", str(redaction_secret(home))]
    return tuple(found)


def redaction_secret(home: homes.Home) -> pathlib.Path:
    """The file with the key that recorded values are hashed with; made, mode 0600, when there is none."""
    path = home.redaction_secret
    if not path.exists():
        unfinished = path.with_suffix(f".{os.getpid()}.tmp")
        unfinished.unlink(missing_ok=True)
        fd = os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(fd, "wb") as file:
            file.write(secrets.token_bytes(32))
        with contextlib.suppress(FileExistsError):  # another process was first: its key is the key
            os.link(unfinished, path)
        unfinished.unlink()
    return path


def _fallback_file(home: homes.Home, spec: fleet.ReplicaSpec) -> pathlib.Path:
    """What a fallback server answers from, as the file it is started with."""
    assert spec.fallback is not None
    path = home.fallbacks / f"{spec.release.short}.json"
    if not path.exists():
        unfinished = path.with_suffix(".tmp")
        unfinished.write_bytes(fallbacks.dump(fallbacks.Task(fallback=spec.fallback)))
        unfinished.replace(path)
    return path


def attachment(shelves: shelf.Shelf, digest: release.Digest) -> attached_fleet.Attachment | None:
    _, content = shelves.take(digest)
    if content.attached_url is None:
        return None
    return attached_fleet.Attachment(url=content.attached_url, ready_path=content.attached_ready)


def choose_port(settings: setting.Settings, environment: str, used: Sequence[int]) -> int:
    """
    The listener port of a new environment.

    Raises:
        ConflictError: something else listens on production's port.
    """
    if environment == "production":
        if settings.production_port in used or not _free(settings.production_port):
            raise errors.ConflictError(
                f"Port {settings.production_port} on 127.0.0.1, where production shall listen, is taken.",
                remedy="Stop what listens there, or choose another with SOFTLAUNCH_PRODUCTION_PORT and `down`, `up`.",
                code=errors.Code.PORT_TAKEN,
            )
        return settings.production_port
    taken = {*used, settings.production_port, settings.api_port}
    for port in range(settings.environment_port_first, _PORT_MAX + 1):
        if port not in taken and _free(port):
            return port
    raise errors.ConflictError(
        f"No port from {settings.environment_port_first} upward is free for environment {environment!r}.",
        remedy="Choose a lower first one with SOFTLAUNCH_ENVIRONMENT_PORT_FIRST.",
        code=errors.Code.PORT_TAKEN,
    )


def _free(port: int) -> bool:
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def examine(home: homes.Home, settings: setting.Settings) -> list[dict[str, Any]]:
    """The checks of `doctor`, as JSON documents."""
    return [
        dataclasses.asdict(check)
        for check in local_survey.examine(
            home=home.root,
            run_dir=home.run,
            ports={
                settings.api_port: "the control plane's API",
                settings.production_port: "production",
                settings.environment_port_first: "other environments",
            },
            envoy=settings.envoy,
        )
    ]
