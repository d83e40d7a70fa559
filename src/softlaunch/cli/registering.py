"""`softlaunch registry`: releases and their evidence, to and from registries."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from softlaunch.cli import options, output
from softlaunch.config import home as homes
from softlaunch.ports import registry

REGISTRY = typer.Typer(
    name="registry",
    help="Releases and their evidence, to and from registries.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)


@REGISTRY.command("push")
def push(
    release: Annotated[str, typer.Argument(help="Release: digest, commit, tag or branch.")],
    *,
    to: Annotated[
        str | None,
        typer.Option(metavar="REPOSITORY", help="Where to: HOST/NAME.", show_default="`registry:` of softlaunch.yaml"),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="A tag to write, last of all.")] = None,
    directory: options.Directory = pathlib.Path(),
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Send a release, and everything attached to it, to a registry.

    What the registry has already is not sent again. Prints the reference by digest: the one to pull.

    Examples:

        softlaunch registry push main
        softlaunch registry push main --to registry.example.com/flight-delay --tag v1.2
        softlaunch registry push 3f1c9a0b77de --to localhost:5000/flight-delay --json
    """
    from softlaunch.wiring import registering as wired  # noqa: PLC0415 - a second of imports, as in `build`

    target = to or wired.repository_of(directory)
    if tag is not None:
        target = f"{target}:{tag}"
    _tell(wired.push(homes.Home.locate(home), release, target, _progress(quiet=as_json)), "sent", as_json=as_json)


@REGISTRY.command("pull")
def pull(
    reference: Annotated[str, typer.Argument(help="HOST/NAME:TAG or HOST/NAME@sha256:HEX.")],
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Fetch a release, and everything attached to it, from a registry.

    Every blob is compared with its digest. Pulling proves nothing about who made it: `softlaunch verify` does.

    Examples:

        softlaunch registry pull registry.example.com/flight-delay:v1.2
    """
    from softlaunch.wiring import registering as wired  # noqa: PLC0415 - as in `push`

    _tell(wired.pull(homes.Home.locate(home), reference, _progress(quiet=as_json)), "fetched", as_json=as_json)


@REGISTRY.command("list")
def releases(
    *,
    remote: Annotated[
        str | None, typer.Option(metavar="REPOSITORY", help="Tags of HOST/NAME instead of releases here.")
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    List the releases of this home, the oldest first, or the tags of a repository.

    Examples:

        softlaunch registry list
        softlaunch registry list --remote registry.example.com/flight-delay --json
    """
    from softlaunch.wiring import registering as wired  # noqa: PLC0415 - as in `push`

    place = homes.Home.locate(home)
    if remote is not None:
        tags = list(wired.tags(place, remote))
        if as_json:
            output.document(tags)
        for tag in () if as_json else tags:
            output.plain(tag)
        return
    found = wired.releases(place)
    if as_json:
        output.document(found)
    for each in () if as_json else found:
        names = " ".join(filter(None, (each["commit"][:12], each["branch"], *each["tags"])))
        output.plain(f"{each['release'][7:19]}  {each['service']}  {each['bytes']:,} bytes  {names}".rstrip())


def _progress(*, quiet: bool) -> registry.Show:
    return (lambda _: None) if quiet else lambda line: output.CONSOLE_ERR.print(line, style="dim", markup=False)


def _tell(carried: registry.Carried, verb: str, *, as_json: bool) -> None:
    if as_json:
        output.document(
            {
                "release": carried.digest.value,
                "reference": carried.reference,
                f"{verb}_bytes": carried.carried_bytes,
                "present_bytes": carried.present_bytes,
                "referrers": carried.referrer_count,
            }
        )
    else:
        output.plain(
            f"{carried.reference}: {carried.carried_bytes:,} bytes {verb}, {carried.present_bytes:,} were there; "
            f"{carried.referrer_count} attached."
        )
