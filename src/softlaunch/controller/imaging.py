"""
The image of a release: which packages it needs, what it begins with, and how it is found again.

An image is a function of the release, the base and softlaunch's own version. Commit, branch and time are annotations of
the layout's index, outside of every digest: two commits of one content are one release and one image.
"""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.core import lookups, release
from softlaunch.ports import images, registry

RELEASE_ANNOTATION = "dev.softlaunch.release"
REVISION_ANNOTATION = "org.opencontainers.image.revision"
NAME_ANNOTATION = "org.opencontainers.image.ref.name"
BASE_ANNOTATION = "org.opencontainers.image.base.name"
ARCHITECTURES = ("amd64", "arm64")
_SERVING = ("granian", "msgspec", "numpy", "protobuf", "uvloop")
_RUNTIMES: Mapping[release.Runtime, tuple[str, ...]] = {
    release.Runtime.ONNX: ("onnxruntime",),
    release.Runtime.SKLEARN: ("scikit-learn", "joblib"),
    release.Runtime.XGBOOST: ("xgboost",),
    release.Runtime.LIGHTGBM: ("lightgbm",),
    release.Runtime.CATBOOST: ("catboost",),
    release.Runtime.TORCH: ("torch",),
    release.Runtime.TEXT: ("onnxruntime", "tokenizers"),
    release.Runtime.COMMAND: ("aiohttp",),
}
"""What the model server imports to run one; a lock file that names them decides their versions."""
_LOOKUPS: Mapping[lookups.LookupSource, str] = {
    lookups.LookupSource.REDIS: "redis",
    lookups.LookupSource.SQL: "sqlalchemy",
    lookups.LookupSource.FEAST: "feast",
}
_OWN_CODE = (release.Runtime.PYTHON, release.Runtime.ASGI, release.Runtime.COMMAND, release.Runtime.MLFLOW)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shop:
    """Whom building an image asks."""

    registry: registry.Registry
    builder: images.ImageBuilder
    transport: images.Transport
    tools: images.BuildTool
    releases: pathlib.Path
    """Unpacked releases, DIGESTHEX each."""
    bases: pathlib.Path
    """Layout of bases that were fetched."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    reference: str
    """Of the release: digest, commit, tag or branch."""
    base: str
    interpreter: pathlib.Path | None = None
    architecture: str = "amd64"
    compression: images.Compression = images.Compression.GZIP
    tag: str | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Built:
    release: release.Digest
    image: images.Image
    tag: str
    notes: tuple[str, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Prepared:
    recipe: images.Recipe
    base: str
    """As a Dockerfile's FROM wants it."""
    notes: tuple[str, ...]


def build(order: Order, shop: Shop) -> Built:
    """
    Makes the image of a release in the shop's layout.

    Raises:
        ConfigError: no such release or base, or one that cannot be an image.
        UnavailableError: disk, network or a registry.
    """
    prepared = _prepared(order, shop)
    digest = prepared.recipe.release
    lineage = shop.registry.lineage(digest)
    tag = order.tag or digest.short
    annotations = {
        RELEASE_ANNOTATION: digest.value,
        NAME_ANNOTATION: tag,
        BASE_ANNOTATION: order.base,
        **({REVISION_ANNOTATION: lineage[-1].commit} if lineage else {}),
    }
    image = shop.builder.build(prepared.recipe, annotations)
    return Built(release=digest, image=image, tag=tag, notes=(*prepared.notes, *image.notes))


def build_with(tool: str, order: Order, shop: Shop, context: pathlib.Path) -> tuple[release.Digest, str]:
    """
    Builds the image with a tool of the user's; gives the release and the tag it has in that tool's store.

    Raises:
        ConfigError: as build; or the tool is not installed.
        UnavailableError: as build; or the tool failed.
    """
    shop.tools.check(tool)  # before minutes of preparing
    prepared = _prepared(order, shop)
    if prepared.recipe.base.kind is images.BaseKind.LAYOUT and order.base.startswith("oci:") and tool != "buildah":
        raise errors.ConfigError(
            f"{tool} cannot begin with the layout {order.base}.",
            remedy="Name an image of a registry, or rootfs:DIR; or build without --backend.",
            code=errors.Code.IMAGE_BASE,
        )
    tag = order.tag or f"{prepared.recipe.service}:{prepared.recipe.release.short}"
    shop.builder.context(prepared.recipe, context, prepared.base)
    shop.tools.run(tool, context, tag)
    return prepared.recipe.release, tag


def push(reference: str, target: str, shop: Shop) -> images.Sent:
    """
    Sends the image that was built last of a release to a registry.

    Raises:
        ConfigError: no such release, or no image of it has been built.
        UnavailableError: the registry.
    """
    found = stored(reference, shop)
    return shop.transport.send(shop.builder.root, found.digest, target)


def stored(reference: str, shop: Shop) -> images.Stored:
    """
    The image that was built last of a release, or that an image's own tag or digest names.

    Raises:
        ConfigError: there is none.
    """
    listed = shop.builder.listed()
    for each in reversed(listed):
        if reference in (each.digest.value, each.digest.short, each.annotations.get(NAME_ANNOTATION)):
            return each
    digest = _release(reference, shop)
    for each in reversed(listed):
        if each.annotations.get(RELEASE_ANNOTATION) == digest.value:
            return each
    raise errors.ConfigError(
        f"No image of the release {digest.short} has been built here.",
        remedy=f"Run softlaunch image build {digest.short}.",
        code=errors.Code.NO_IMAGE,
    )


def requirements(content: release.ReleaseContent, lock: bytes | None) -> tuple[bytes | None, tuple[str, ...], str]:
    """
    The lock in force, the packages serving needs beside it, and a note (empty: nothing to say).

    A compiled model needs no package of its training: the model server runs it, here as in the control plane.

    Raises:
        ConfigError: the release cannot be put into an image.
    """
    if content.runtime is release.Runtime.ATTACHED or content.drill is not None:
        what = "stands for a URL that somebody else runs" if content.drill is None else "is a fire drill's"
        raise errors.ConfigError(
            f"This release {what}: there is nothing to put into an image.",
            remedy="Name a release that `softlaunch build` made.",
            code=errors.Code.IMAGE_RELEASE,
        )
    if content.runtime is release.Runtime.ONNX:
        lock = None
    names = {*_SERVING, *_RUNTIMES.get(content.runtime, ())}
    names |= {_LOOKUPS[spec.source] for spec in content.lookups if spec.source in _LOOKUPS}
    if lock is not None and "uvloop" not in lock.decode(errors="replace"):
        names.discard("uvloop")  # nice to have; a release's own environment here has it only when its lock says so
    note = ""
    if lock is None and content.runtime in _OWN_CODE:
        note = "the release has no lock file: the image holds what serving needs, and no package its code may import"
    return lock, tuple(sorted(names)), note


def base_of(text: str) -> images.Base | None:
    """
    The directory that `--base` names; None when it names an image of a registry.

    Raises:
        ConfigError: there is no such directory.
    """
    kind, colon, rest = text.partition(":")
    if colon and kind in ("oci", "rootfs"):
        path, _, digest = rest.partition("@")
        found = images.BaseKind.LAYOUT if kind == "oci" else images.BaseKind.ROOTFS
    elif text.startswith((".", "/", "~")):
        path, _, digest = text.partition("@")
        is_layout = (pathlib.Path(path).expanduser() / "oci-layout").is_file()
        found = images.BaseKind.LAYOUT if is_layout else images.BaseKind.ROOTFS
    else:
        return None
    directory = pathlib.Path(path).expanduser().absolute()
    if not directory.is_dir():
        raise errors.ConfigError(
            f"There is no directory {directory}.",
            remedy="Name an image of a registry, oci:DIR, or rootfs:DIR.",
            code=errors.Code.IMAGE_BASE,
        )
    try:
        return images.Base(kind=found, directory=directory, digest=release.Digest(digest) if digest else None)
    except errors.InvariantError as error:
        raise errors.ConfigError(
            f"{digest!r} is no digest.",
            remedy="Write oci:DIR@sha256:HEX with the digest of an image of that layout.",
            code=errors.Code.IMAGE_BASE,
        ) from error


def _prepared(order: Order, shop: Shop) -> _Prepared:
    if order.architecture not in ARCHITECTURES:
        raise errors.ConfigError(
            f"There is no architecture {order.architecture!r}.",
            remedy=f"Choose {' or '.join(ARCHITECTURES)}.",
            code=errors.Code.BAD_OPTION,
        )
    digest = _release(order.reference, shop)
    directory = shop.releases / digest.value.removeprefix("sha256:")
    content = shop.registry.pull(digest, directory)
    raw = (directory / content.lock_file).read_bytes() if content.lock_file is not None else None
    lock, names, note = requirements(content, raw)
    base, text = base_of(order.base), order.base
    if base is None:
        fetched = shop.transport.fetch(order.base, shop.bases, architecture=order.architecture)
        base = images.Base(kind=images.BaseKind.LAYOUT, directory=shop.bases, digest=fetched)
        text = f"{order.base.partition('@')[0]}@{fetched}"
    return _Prepared(
        recipe=images.Recipe(
            service=content.service,
            release=digest,
            directory=directory,
            base=base,
            interpreter=order.interpreter,
            lock=lock,
            packages=names,
            architecture=order.architecture,
            compression=order.compression,
        ),
        base=text,
        notes=(note,) if note else (),
    )


def _release(reference: str, shop: Shop) -> release.Digest:
    digest = shop.registry.resolve(reference)
    if digest is None:
        raise errors.ConfigError(
            f"The registry has no release {json.dumps(reference, ensure_ascii=False)}.",
            remedy="Name a digest, commit, tag or branch that has been built; or build it first.",
            code=errors.Code.NO_RELEASE,
        )
    return digest
