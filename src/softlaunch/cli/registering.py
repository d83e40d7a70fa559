"""`softlaunch registry`: releases and their evidence, to and from registries."""

from __future__ import annotations

import pathlib
from typing import Annotated

import typer

from softlaunch import errors
from softlaunch.cli import options, output
from softlaunch.config import home as homes
from softlaunch.core import units
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

    Says of each where it is used: live, previous, candidate, next or pinned, and in which environment.

    Examples:

        softlaunch registry list
        softlaunch registry list --remote registry.example.com/flight-delay --json
    """
    place = homes.Home.locate(home)
    if remote is not None:
        from softlaunch.wiring import registering as wired  # noqa: PLC0415 - as in `push`

        tags = list(wired.tags(place, remote))
        if as_json:
            output.document(tags)
        for tag in () if as_json else tags:
            output.plain(tag)
        return
    from softlaunch.wiring import shelves  # noqa: PLC0415 - as in `push`

    found = shelves.releases(place)
    if as_json:
        output.document(found)
    for each in () if as_json else found:
        tags = [*each["registry_tags"], *each["tags"]]
        names = " ".join(filter(None, (each["commit"][:12], each["branch"], *dict.fromkeys(tags))))
        used = f"  ({', '.join(each['used'])})" if each["used"] else ""
        output.plain(f"{each['release'][7:19]}  {each['service']}  {each['bytes']:,} bytes  {names}".rstrip() + used)


@REGISTRY.command("tag")
def tag(
    release: Annotated[str, typer.Argument(help="Release: digest, commit, tag or branch; with --remove the tag.")],
    name: Annotated[str, typer.Argument(help="The tag.", show_default=False)] = "",
    *,
    force: Annotated[bool, typer.Option("--force", help="Also when the tag names another release.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take the tag away.")] = False,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Let a tag name a release of this home, wherever a release is asked for; `registry gc` keeps what has one.

    Examples:

        softlaunch registry tag 3f1c9a0b77de v1.2
        softlaunch registry tag main champion --force
        softlaunch registry tag --remove v1.2
    """
    from softlaunch.wiring import shelves  # noqa: PLC0415 - as in `push`

    if remove == bool(name):
        raise errors.ConfigError(
            "--remove takes a tag and nothing else." if remove else "There is no tag to give.",
            remedy="`softlaunch registry tag RELEASE NAME`, or `softlaunch registry tag --remove NAME`.",
            code=errors.Code.BAD_OPTION,
        )
    place, named = homes.Home.locate(home), release if remove else name
    digest = shelves.untag(place, named) if remove else shelves.tag(place, release, named, force=force)
    if as_json:
        output.document({"tag": named, "release": digest.value, "removed": remove})
    else:
        output.plain(f"{named} names {'no release any more' if remove else digest.short}.")


@REGISTRY.command("gc")
def collect(
    *,
    keep: Annotated[
        int, typer.Option(min=1, max=10_000, help="Newest releases of each service that stay, and last promoted ones.")
    ] = 10,
    grace: Annotated[str, typer.Option(help="Nothing younger is removed.")] = "24h",
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be removed, and why not.")] = False,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Remove releases that nothing needs, with what is attached to them.

    What is live, previous, on its way, next or pinned in an environment stays, and so does what has a tag. It may run
    while releases are built, fetched and launched.

    Examples:

        softlaunch registry gc --dry-run
        softlaunch registry gc --keep 3 --grace 7d --json
    """
    from softlaunch.wiring import shelves  # noqa: PLC0415 - as in `push`

    grace_seconds = units.duration_seconds(grace)
    found = shelves.collect(homes.Home.locate(home), keep=keep, grace_seconds=grace_seconds, dry_run=dry_run)
    if as_json:
        output.document(found)
        return
    for each in found["kept"] if dry_run else ():
        output.plain(f"{each['release'][7:19]}  {each['service']}  stays: {', '.join(each['why'])}")
    for digest in found["young"] if dry_run else ():
        output.plain(f"{digest[7:19]}  stays: younger than {units.format_duration(grace_seconds)}")
    for digest in found["removed"]:
        output.plain(f"{digest[7:19]}  {'would be' if dry_run else 'was'} removed")
    output.plain(
        f"{len(found['removed'])} releases with {found['referrers']} attached, {found['files']} files, "
        f"{found['freed_bytes']:,} bytes {'would be freed' if dry_run else 'freed'}."
    )


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
