"""Images of releases: the builder, the registries and the home, put together."""

from __future__ import annotations

import pathlib
from typing import Any

from softlaunch import errors
from softlaunch.adapters.images import builder as oci_builder
from softlaunch.adapters.images import contexts as build_tools
from softlaunch.adapters.images import transfer as image_transfer
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.config import home as homes
from softlaunch.controller import imaging, serverless
from softlaunch.core import release as releases
from softlaunch.ports import images as ports


def order(
    *,
    release: str,
    base: str,
    interpreter: pathlib.Path | None,
    architecture: str,
    compression: str,
    tag: str | None,
) -> imaging.Order:
    """
    What a command asks for.

    Raises:
        ConfigError: a word that means nothing.
    """
    try:
        packed = ports.Compression(compression)
    except ValueError as error:
        raise errors.ConfigError(
            f"There is no compression {compression!r}.",
            remedy="Choose gzip or none.",
            code=errors.Code.BAD_OPTION,
        ) from error
    return imaging.Order(
        reference=release,
        base=base,
        interpreter=interpreter,
        architecture=architecture,
        compression=packed,
        tag=tag,
    )


def build(home: homes.Home, wanted: imaging.Order, write: pathlib.Path | None) -> tuple[imaging.Built, pathlib.Path]:
    """
    Makes an image, and copies it to where it is wanted; also says in which layout it is kept.

    Raises:
        ConfigError: no such release, base or interpreter.
        UnavailableError: disk, network or a registry.
    """
    shop = _shop(home)
    built = imaging.build(wanted, shop)
    if write is not None:
        shop.builder.export(built.image.digest, write.absolute())
    return built, shop.builder.root


def build_with(
    home: homes.Home, tool: str, wanted: imaging.Order, context: pathlib.Path
) -> tuple[releases.Digest, str]:
    """See controller.imaging.build_with."""
    return imaging.build_with(tool, wanted, _shop(home), context)


def push(home: homes.Home, release: str, target: str) -> ports.Sent:
    """See controller.imaging.push."""
    return imaging.push(release, target, _shop(home))


def stored(home: homes.Home, release: str) -> tuple[ports.Stored, pathlib.Path]:
    """See controller.imaging.stored; and the layout it is in."""
    shop = _shop(home)
    return imaging.stored(release, shop), shop.builder.root


def images(home: homes.Home) -> list[dict[str, Any]]:
    """Every image that was built here, the oldest first."""
    return [
        {
            "image": each.digest.value,
            "tag": each.annotations.get(imaging.NAME_ANNOTATION, ""),
            "release": each.annotations.get(imaging.RELEASE_ANNOTATION, ""),
            "base": each.annotations.get(imaging.BASE_ANNOTATION, ""),
            "revision": each.annotations.get(imaging.REVISION_ANNOTATION),
        }
        for each in _shop(home).builder.listed()
    ]


def serverless_files(
    home: homes.Home,
    platform: str,
    *,
    release: str,
    reference: str,
    folder: pathlib.Path,
    limits: tuple[int, int, int | None, int | None],
) -> list[pathlib.Path]:
    """
    Writes the files that a serverless platform needs to run the image of a release; gives their paths.

    Args:
        home: Where images are kept.
        platform: lambda, cloud-run or azure-functions.
        release: Digest, commit, tag or branch.
        reference: Where the image was pushed.
        folder: Made when absent.
        limits: Megabytes, seconds, requests at once and instances; None for what the platform has no word for.

    Raises:
        ConfigError: no such release, no image of it, or a file is there already.
        UnavailableError: the folder cannot be written.
    """
    shop = _shop(home)
    image = shop.builder.describe(imaging.stored(release, shop).digest)
    memory, timeout, concurrency, replicas = limits
    found = serverless.files(
        platform,
        image,
        reference,
        serverless.Limits(
            memory_mb=memory,
            timeout_seconds=timeout,
            concurrency=concurrency or serverless.Limits.concurrency,
            replicas_max=replicas or serverless.Limits.replicas_max,
        ),
    )
    written = []
    for name, text in found.items():
        path = folder / name
        if path.exists() and path.read_text(encoding="utf-8", errors="replace") != text:
            raise errors.ConfigError(
                f"{path} is there already, with other content.",
                remedy="Move it away, or name another folder with --output.",
                code=errors.Code.IMAGE_FILE,
            )
        written.append(path)
    for path, text in zip(written, found.values(), strict=True):
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        except OSError as error:
            raise errors.UnavailableError(
                f"{path} cannot be written: {error.strerror or error}.",
                remedy="Name another folder with --output.",
                code=errors.Code.DISK_FULL,
            ) from error
    return written


def _shop(home: homes.Home) -> imaging.Shop:
    home.prepare()
    return imaging.Shop(
        registry=oci_registry.OciRegistry(home.registry),
        builder=oci_builder.OciBuilder(home.images, home.cache / "images"),
        transport=image_transfer.Registries(),
        tools=build_tools.Tools(),
        releases=home.releases,
        bases=home.cache / "bases",
    )
