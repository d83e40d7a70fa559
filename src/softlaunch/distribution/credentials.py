"""
Who one is at a registry, as Docker, podman and skopeo keep it.

The files, the first that knows the registry wins:

1. REGISTRY_AUTH_FILE, as podman, buildah and skopeo take it
2. config.json in DOCKER_CONFIG, else in ~/.docker
3. XDG_RUNTIME_DIR/containers/auth.json, where `podman login` writes
4. XDG_CONFIG_HOME/containers/auth.json (~/.config)

In a file a credential helper takes the place of what stands there, and HOST/TEAM/NAME before HOST/TEAM before HOST. See
containers-auth.json(5). A file that is not there knows nobody; one that cannot be read is an error.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import subprocess
from collections.abc import Iterator, Mapping
from typing import Any

from softlaunch import errors

DOCKER_HUB = "docker.io"
_DOCKER_HUB_KEYS = ("https://index.docker.io/v1/", "index.docker.io", DOCKER_HUB)
_HELPER_SECONDS_MAX = 30


def find(host: str, name: str, variables: Mapping[str, str] = os.environ) -> str | None:
    """
    An Authorization header for the repository HOST/NAME; None when nothing is kept for it.

    Raises:
        ConfigError: a file or a helper cannot be read.
    """
    keys = _keys(host, name)
    for path in _files(variables):
        try:
            config = json.loads(path.read_bytes())
            helper = _helper(config, keys, host)
            kept = next(filter(None, (_auth(config, key) for key in keys)), None)
        except FileNotFoundError:
            continue
        except (OSError, ValueError, AttributeError) as error:
            raise errors.ConfigError(
                f"{path} cannot be read ({type(error).__name__}).",
                remedy="Mend it, or name another file in REGISTRY_AUTH_FILE or another folder in DOCKER_CONFIG.",
                code=errors.Code.IMAGE_REGISTRY,
            ) from None  # what it quotes may be a secret
        found = _from_helper(*helper) if helper is not None else kept and f"Basic {kept}"
        if found:
            return found
    return None


def _files(variables: Mapping[str, str]) -> Iterator[pathlib.Path]:
    home = pathlib.Path.home()
    if variables.get("REGISTRY_AUTH_FILE"):
        yield pathlib.Path(variables["REGISTRY_AUTH_FILE"])
    yield pathlib.Path(variables.get("DOCKER_CONFIG") or home / ".docker") / "config.json"
    if variables.get("XDG_RUNTIME_DIR"):
        yield pathlib.Path(variables["XDG_RUNTIME_DIR"]) / "containers" / "auth.json"
    yield pathlib.Path(variables.get("XDG_CONFIG_HOME") or home / ".config") / "containers" / "auth.json"


def _keys(host: str, name: str) -> list[str]:
    """What credentials may be listed under, the most special first."""
    parts = name.split("/")
    hosts = _DOCKER_HUB_KEYS if host == DOCKER_HUB else (host, f"https://{host}", f"https://{host}/v1/")
    return [*(f"{host}/{'/'.join(parts[:count])}" for count in range(len(parts), 0, -1)), *hosts]


def _auth(config: dict[str, Any], key: str) -> str | None:
    kept = config.get("auths", {}).get(key, {}).get("auth")
    return str(kept) if kept else None


def _helper(config: dict[str, Any], keys: list[str], host: str) -> tuple[str, str] | None:
    """Name of the helper that is responsible, and what it is asked for."""
    helpers = config.get("credHelpers", {})
    for key in keys:
        if helpers.get(key):
            return str(helpers[key]), key
    if config.get("credsStore"):
        return str(config["credsStore"]), _DOCKER_HUB_KEYS[0] if host == DOCKER_HUB else host
    return None


def _from_helper(helper: str, key: str) -> str | None:
    try:
        found = subprocess.run(
            [f"docker-credential-{helper}", "get"],
            input=key,
            capture_output=True,
            text=True,
            check=False,
            timeout=_HELPER_SECONDS_MAX,
        )
        if found.returncode:
            return None  # it has nothing for this registry
        told = json.loads(found.stdout)
        pair = f"{told['Username']}:{told['Secret']}"
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as error:
        raise errors.ConfigError(
            f"The credential helper docker-credential-{helper} does not answer ({type(error).__name__}).",
            remedy="Install it, or remove it from the file that names it.",
            code=errors.Code.IMAGE_REGISTRY,
        ) from None  # its output may hold the secret
    return "Basic " + base64.b64encode(pair.encode()).decode()
