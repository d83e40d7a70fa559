"""`softlaunch image`: container images of releases, without a daemon; and what serverless platforms need beside."""

from __future__ import annotations

import pathlib
import shlex
import sys
import tempfile
from typing import Annotated, Any

import rich.markup
import typer

from softlaunch.cli import options, output
from softlaunch.config import home as homes

IMAGE = typer.Typer(
    name="image",
    help="Container images of releases, built without a daemon.",
    no_args_is_help=True,
    rich_markup_mode="markdown",
)

Release = Annotated[str, typer.Argument(help="Release: digest, commit, tag or branch.")]
_BASE = f"python:{sys.version_info.major}.{sys.version_info.minor}-slim"


@IMAGE.command("build")
def build(
    release: Release,
    *,
    base: Annotated[
        str, typer.Option(metavar="IMAGE", help="What it begins with: image of a registry, oci:DIR, or rootfs:DIR.")
    ] = _BASE,
    python: Annotated[
        pathlib.Path | None,
        typer.Option(metavar="DIR", help="Relocatable Python to put in, where the base has none.", file_okay=False),
    ] = None,
    architecture: Annotated[str, typer.Option("--arch", help="amd64 or arm64.")] = "amd64",
    compression: Annotated[str, typer.Option(help="gzip or none, of the layers.")] = "gzip",
    write: Annotated[
        pathlib.Path | None,
        typer.Option("--output", metavar="PATH", help="Copy it into this OCI layout folder, or FILE.tar, too."),
    ] = None,
    tag: Annotated[str | None, typer.Option(help="Its name; else the release's first twelve digits.")] = None,
    backend: Annotated[
        str | None, typer.Option(help="Let buildah, docker or kaniko build it, from a Dockerfile written for it.")
    ] = None,
    context: Annotated[
        pathlib.Path | None, typer.Option(metavar="DIR", help="Keep what the backend was given in this folder.")
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Make the container image of a release.

    The same release on the same base has the same digest, wherever and whenever it is built. Layers are base,
    interpreter, dependencies, server, model and code: an edit of the code changes the last one only. The image listens
    at $PORT (8080) as nobody.

    Examples:

        softlaunch image build main
        softlaunch image build 3f1c9a0b77de --base rootfs:/srv/debian --output flight-delay.tar
        softlaunch image build v1.2 --backend buildah --tag flight-delay:v1.2
    """
    from softlaunch.wiring import imaging as wired  # noqa: PLC0415 - imports no other command needs

    order = wired.order(
        release=release,
        base=base,
        interpreter=python,
        architecture=architecture,
        compression=compression,
        tag=tag,
    )
    place = homes.Home.locate(home)
    if backend is not None:
        with tempfile.TemporaryDirectory(prefix="softlaunch-context-") as scratch:
            given = (context or pathlib.Path(scratch)).absolute()
            digest, name = wired.build_with(place, backend, order, given)
        document: dict[str, Any] = {"release": digest.value, "tag": name, "backend": backend}
        lines = [f"[bold]image {rich.markup.escape(name)}[/] of release {digest.short}, built by {backend}"]
    else:
        built, where = wired.build(place, order, write)
        document = {
            "release": built.release.value,
            "image": built.image.digest.value,
            "tag": built.tag,
            "layout": str(where),
            "output": None if write is None else str(write.absolute()),
            "bytes": built.image.size,
            "python": built.image.python,
            "layers": [
                {"name": layer.name, "digest": layer.digest.value, "bytes": layer.size} for layer in built.image.layers
            ],
            "notes": list(built.notes),
        }
        lines = [f"  {layer.name:<13}{layer.digest.short}  {_megabytes(layer.size)}" for layer in built.image.layers]
        lines += [f"[dim]note[/] {rich.markup.escape(note)}" for note in built.notes]
        lines.append(f"[bold]image {built.image.digest.value}[/] of release {built.release.short}")
    if as_json:
        output.document(document)
    else:
        for line in lines:
            output.text(line)


@IMAGE.command("push")
def push(
    release: Release,
    target: Annotated[str, typer.Argument(help="Where to: HOST/NAME or HOST/NAME:TAG.")],
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Send the image that was built last of a release to a registry.

    What the registry has already is not sent again. Prints the reference by digest: the one to run.

    Examples:

        softlaunch image push main registry.example.com/flight-delay:v1.2
        softlaunch image push 3f1c9a0b77de localhost:5000/flight-delay --json
    """
    from softlaunch.wiring import imaging as wired  # noqa: PLC0415 - as in `build`

    sent = wired.push(homes.Home.locate(home), release, target)
    reference = f"{_without_tag(target)}@{sent.digest}"
    if as_json:
        output.document(
            {
                "image": sent.digest.value,
                "reference": reference,
                "sent_bytes": sent.sent_bytes,
                "present_bytes": sent.present_bytes,
            }
        )
    else:
        output.plain(f"{reference}: {_megabytes(sent.sent_bytes)} sent, {_megabytes(sent.present_bytes)} were there.")


@IMAGE.command("list")
def images(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    List the images that were built here, the oldest first.

    Examples:

        softlaunch image list
    """
    from softlaunch.wiring import imaging as wired  # noqa: PLC0415 - as in `build`

    found = wired.images(homes.Home.locate(home))
    if as_json:
        output.document(found)
    else:
        for each in found:
            output.plain(f"{each['image']}  {each['tag']}  release {each['release'][7:19]}  base {each['base']}")


@IMAGE.command("run-command")
def run_command(
    release: Release,
    *,
    reference: Annotated[
        str | None, typer.Option("--from", metavar="NAME", help="Registry it was pushed to; else run it from here.")
    ] = None,
    port: Annotated[int, typer.Option(help="Port of this machine, loopback only.", min=1, max=65535)] = 8080,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Print a podman command that runs the image of a release by its digest.

    Examples:

        softlaunch image run-command main
        softlaunch image run-command main --from registry.example.com/flight-delay --port 9000
    """
    from softlaunch.wiring import imaging as wired  # noqa: PLC0415 - as in `build`

    found, layout = wired.stored(homes.Home.locate(home), release)
    name = f"oci:{layout}:{found.annotations['org.opencontainers.image.ref.name']}"
    if reference is not None:
        name = f"{_without_tag(reference)}@{found.digest}"
    words = ["podman", "run", "--rm", "--read-only", "--publish", f"127.0.0.1:{port}:8080", name]
    if as_json:
        output.document({"image": found.digest.value, "command": words})
    else:
        output.plain(shlex.join(words))


Where = Annotated[str, typer.Argument(help="Where the image was pushed: HOST/NAME.")]
Folder = Annotated[
    pathlib.Path, typer.Option("--output", metavar="DIR", help="Folder to write into; files there are kept.")
]
Memory = Annotated[int, typer.Option(help="Megabytes of one instance.", min=128)]
Timeout = Annotated[int, typer.Option(help="Seconds a request may take.", min=1)]


def export_lambda(
    release: Release,
    image: Where,
    *,
    write: Folder = pathlib.Path("lambda"),
    memory: Memory = 1024,
    timeout: Timeout = 30,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Write what AWS Lambda needs to run the image of a release.

    A CloudFormation template: one function with a URL that IAM guards. The image is the tested one, by digest; Lambda
    starts the handler that is in it, which answers HTTP API and function URL events (payload format 2.0).

    Examples:

        softlaunch export lambda main 123456789012.dkr.ecr.eu-central-1.amazonaws.com/flight-delay
    """
    _export("lambda", (release, image), write, (memory, timeout, None, None), home=home, as_json=as_json)


def export_cloud_run(
    release: Release,
    image: Where,
    *,
    write: Folder = pathlib.Path("cloud-run"),
    memory: Memory = 1024,
    timeout: Timeout = 30,
    concurrency: Annotated[int, typer.Option(help="Requests at once in one instance.", min=1)] = 8,
    replicas: Annotated[int, typer.Option(help="Instances at most.", min=1)] = 10,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Write what Google Cloud Run needs to run the image of a release.

    A service for `gcloud run services replace`, with the image by digest, its probes and its limits.

    Examples:

        softlaunch export cloud-run main europe-west3-docker.pkg.dev/project/repository/flight-delay
    """
    _export("cloud-run", (release, image), write, (memory, timeout, concurrency, replicas), home=home, as_json=as_json)


def export_azure_functions(
    release: Release,
    image: Where,
    *,
    write: Folder = pathlib.Path("azure-functions"),
    timeout: Timeout = 30,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Write what Azure Functions needs to run the image of a release.

    host.json with the model server as custom handler, one function for every path, and a Dockerfile that puts the
    release's folder of the tested image beside the Functions host.

    Examples:

        softlaunch export azure-functions main example.azurecr.io/flight-delay
    """
    _export("azure-functions", (release, image), write, (1024, timeout, None, None), home=home, as_json=as_json)


EXPORTS = {
    "lambda": export_lambda,
    "cloud-run": export_cloud_run,
    "azure-functions": export_azure_functions,
}
"""Further commands of `softlaunch export`."""


def _export(
    platform: str,
    what: tuple[str, str],
    folder: pathlib.Path,
    limits: tuple[int, int, int | None, int | None],
    *,
    home: pathlib.Path | None,
    as_json: bool,
) -> None:
    from softlaunch.wiring import imaging as wired  # noqa: PLC0415 - as in `build`

    release, image = what
    written = wired.serverless_files(
        homes.Home.locate(home),
        platform,
        release=release,
        reference=_without_tag(image),
        folder=folder,
        limits=limits,
    )
    if as_json:
        output.document({"platform": platform, "files": [str(path) for path in written]})
    else:
        for path in written:
            output.plain(f"wrote {path}")


def _without_tag(reference: str) -> str:
    head, slash, last = reference.partition("@")[0].rpartition("/")
    return f"{head}{slash}{last.partition(':')[0]}"


def _megabytes(count: int) -> str:
    return f"{count / 1e6:,.1f} MB" if count >= 100_000 else f"{count / 1e3:,.1f} kB"
