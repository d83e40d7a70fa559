"""What an image begins with: another image's layers, or a root directory; and where Python is in it."""

from __future__ import annotations

import dataclasses
import json
import pathlib
import re
import tarfile
from collections.abc import Iterable, Mapping
from typing import Any

from softlaunch import errors
from softlaunch.adapters.images import store, tarring
from softlaunch.core import release
from softlaunch.ports import images

INTERPRETER = "softlaunch/python"
"""Where an interpreter that is put in beside the base lies."""
_PYTHON = re.compile(r"(?:\./)?((?:usr/local|usr|softlaunch/python)/bin/python(3\.\d+))")
_TAR_TYPES = ("tar", "tar+gzip", "tar.gzip")
_DOCKER = "application/vnd.docker."
_PSEUDO = frozenset({"proc", "sys", "dev"})
"""Of a root: what is in them is the running kernel's."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Python:
    path: str
    """Absolute, in the image."""
    version: str
    """3.11"""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Opened:
    layers: tuple[images.Layer, ...]
    config: Mapping[str, Any]
    """The base's own image configuration; of a root a minimal one."""
    digest: release.Digest | None
    """Of its manifest; None for a root."""
    python: Python | None


def opened(recipe: images.Recipe, into: store.Store) -> Opened:
    """
    The base with its layers stored.

    Raises:
        ConfigError: it is no base, or of another architecture.
        UnavailableError: its bytes are not what they are named for.
    """
    if recipe.base.kind is images.BaseKind.ROOTFS:
        return _rootfs(recipe, into)
    return _layout(recipe, into)


def interpreter_python(directory: pathlib.Path) -> Python:
    """
    The interpreter of a relocatable Python's directory.

    Raises:
        ConfigError: there is none.
    """
    found = sorted(path.name for path in directory.glob("bin/python3.*") if re.fullmatch(r"python3\.\d+", path.name))
    if len(found) != 1:
        raise errors.ConfigError(
            f"{directory} holds {len(found)} interpreters named bin/python3.N; one is needed.",
            remedy="Name the directory of a relocatable Python, as `uv python install` makes.",
            code=errors.Code.IMAGE_BASE,
        )
    return Python(path=f"/{INTERPRETER}/bin/{found[0]}", version=found[0].removeprefix("python"))


def _rootfs(recipe: images.Recipe, into: store.Store) -> Opened:
    top = recipe.base.directory
    if not (top / "bin").exists() or not (top / "lib").exists():
        raise _unusable(top, "is no root directory: bin and lib are missing")
    entries = tarring.tree(top, "", is_root=True, skip=is_pseudo)
    config = {
        "architecture": recipe.architecture,
        "os": "linux",
        "config": {},
    }
    return Opened(
        layers=(into.layer("base", entries, recipe.compression),),
        config=config,
        digest=None,
        python=_found(entry.name for entry in entries),
    )


def is_pseudo(relative: str) -> bool:
    """What a root has only while a kernel runs it."""
    first, slash, _ = relative.partition("/")
    return bool(slash) and first in _PSEUDO


def _layout(recipe: images.Recipe, into: store.Store) -> Opened:
    source = store.Store(recipe.base.directory)
    digest = recipe.base.digest or _only(source)
    manifest = json.loads(source.read(digest))
    if "manifests" in manifest:
        digest = _of_platform(manifest, recipe)
        manifest = json.loads(source.read(digest))
    try:
        config = json.loads(source.read(release.Digest(manifest["config"]["digest"])))
        diff_ids = config["rootfs"]["diff_ids"]
        described = list(zip(manifest["layers"], diff_ids, strict=True))
        found = [_layer(each, diff_id) for each, diff_id in described]
        architecture, system = config["architecture"], config["os"]
    except (KeyError, TypeError, ValueError, errors.InvariantError) as error:
        raise _unusable(recipe.base.directory, f"holds no image that can be read ({error!r})") from error
    if (architecture, system) != (recipe.architecture, "linux"):
        wanted = f"linux/{recipe.architecture}"
        raise _unusable(recipe.base.directory, f"holds an image for {system}/{architecture}, {wanted} is wanted")
    for layer in found:
        into.copy_blob(source.path(layer.digest), layer.digest)
    return Opened(layers=tuple(found), config=config, digest=digest, python=_python_of(found, config, into))


def _layer(described: Mapping[str, Any], diff_id: str) -> images.Layer:
    return images.Layer(
        name="base",
        digest=release.Digest(described["digest"]),
        diff_id=release.Digest(diff_id),
        size=described["size"],
        media_type=_oci_type(described["mediaType"]),
    )


def _oci_type(media_type: str) -> str:
    """Docker's types by their OCI names: a manifest must not mix them."""
    if media_type.startswith(_DOCKER):
        return f"{store.LAYER}+gzip" if media_type.endswith(_TAR_TYPES[1:]) else store.LAYER
    return media_type


def _only(source: store.Store) -> release.Digest:
    listed = source.index()
    if len(listed) != 1:
        raise errors.ConfigError(
            f"The layout {source.root} lists {len(listed)} images; one is needed.",
            remedy="Name one as DIR@sha256:DIGEST, or make a layout with a single image.",
            code=errors.Code.IMAGE_BASE,
        )
    return release.Digest(listed[0]["digest"])


def _of_platform(index: Mapping[str, Any], recipe: images.Recipe) -> release.Digest:
    for each in index["manifests"]:
        platform = each.get("platform", {})
        if (platform.get("os"), platform.get("architecture")) == ("linux", recipe.architecture):
            return release.Digest(each["digest"])
    raise _unusable(recipe.base.directory, f"holds no image for linux/{recipe.architecture}")


def _python_of(layers: Iterable[images.Layer], config: Mapping[str, Any], into: store.Store) -> Python | None:
    """By name, in the layers from the last; official Python images say their version, which saves reading them."""
    for variable in config.get("config", {}).get("Env") or ():
        name, _, value = variable.partition("=")
        if name == "PYTHON_VERSION" and re.match(r"3\.\d+", value):
            version = ".".join(value.split(".")[:2])
            return Python(path=f"/usr/local/bin/python{version}", version=version)
    for layer in reversed(list(layers)):
        try:
            with tarfile.open(into.path(layer.digest), mode="r|*") as archive:
                found = _found(info.name for info in archive)
        except tarfile.TarError:
            continue  # zstd: not ours to read; --python says what is to be used
        if found is not None:
            return found
    return None


def _found(names: Iterable[str]) -> Python | None:
    best: tuple[tuple[bool, int], Python] | None = None
    for name in names:
        match = _PYTHON.fullmatch(name)
        if match is None:
            continue
        rank = (match[1].startswith("usr/local"), int(match[2].partition(".")[2]))
        if best is None or rank > best[0]:
            best = rank, Python(path=f"/{match[1]}", version=match[2])
    return None if best is None else best[1]


def _unusable(directory: pathlib.Path, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"The base {directory} {what}.",
        remedy="Name an image of a registry, an OCI layout or a root directory that has Python.",
        code=errors.Code.IMAGE_BASE,
    )
