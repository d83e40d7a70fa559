"""Commands for evidence: keys, what they signed, and whether it verifies."""

from __future__ import annotations

import pathlib
import sys
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import rich.markup
import rich.table
import typer

from softlaunch import errors
from softlaunch.cli import identifying, options, output
from softlaunch.config import home as homes
from softlaunch.core import identities, intoto
from softlaunch.ports import signing

KEY = typer.Typer(help="Keys that sign releases, and keys that are trusted.", no_args_is_help=True)
_DEFAULT = "release"
_ReleaseArgument = Annotated[str, typer.Argument(help="Digest, commit, branch or tag.", metavar="RELEASE")]
_PassphraseOption = Annotated[
    str, typer.Option("--passphrase-env", metavar="NAME", help="Environment variable that holds the passphrase.")
]


def verify(
    release: Annotated[
        str | None, typer.Argument(help="Digest, commit, branch or tag; not with --history.", metavar="RELEASE")
    ] = None,
    *,
    key: Annotated[
        list[str] | None,
        typer.Option("--key", help="Trusted key: a name of `key list` or a PEM file; again for more."),
    ] = None,
    threshold: Annotated[int, typer.Option(min=1, max=10, help="So many keys have to sign each statement.")] = 1,
    identity: identifying.Subject = None,
    identity_regexp: identifying.Pattern = None,
    issuer: identifying.Issuer = None,
    trusted_root: identifying.TrustedRoot = None,
    bundle: Annotated[
        list[pathlib.Path] | None,
        typer.Option("--bundle", help="Sigstore bundle judged as if it were attached; again for more."),
    ] = None,
    history: Annotated[bool, typer.Option("--history", help="Check the history of launches in place of a release.")] = (
        False
    ),
    head: Annotated[
        list[str] | None,
        typer.Option("--head", metavar="HEAD", help="NUMBER:HASH as an earlier --history told it; again for more."),
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Check every byte of a release, and every signed statement about it. Exits 1 when something does not verify.

    Needs no network and no control plane. Without --key and --certificate-identity, every key of the home is trusted.
    With --history: check that no record of the history was changed, taken out or put in since it was written.

    Examples:

        softlaunch verify main
        softlaunch verify 3f2a91 --key ci.pub --json
        softlaunch verify main --certificate-identity ann@example.com --certificate-oidc-issuer https://id.example.com
        softlaunch verify --history
    """
    if history == (release is not None) or (head and not history):
        raise errors.ConfigError(
            "It is not clear what is to be verified.",
            remedy="Name a release, or give --history (and --head with it alone).",
            code=errors.Code.BAD_OPTION,
        )
    if release is None:
        _verify_history(homes.Home.locate(home), head or (), as_json=as_json)
        return
    from softlaunch.wiring import evidence  # noqa: PLC0415 - a tenth of a second of imports

    found = evidence.verify(
        homes.Home.locate(home),
        release,
        key_names=key or (),
        threshold=threshold,
        people=identifying.trust(
            identity, identity_regexp, issuer, trusted_root=trusted_root, needed=bool(bundle), threshold=threshold
        ),
        bundles=bundle or (),
    )
    document = found.document()
    if as_json:
        output.document(document)
    else:
        _tell(document, found.digest.short)
    if not document["verified"]:
        raise typer.Exit(options.EXIT_DIFFERENT)


def _tell(document: dict[str, Any], short: str) -> None:
    for each in document["statements"]:
        _tell_statement(each)
    for problem in document["problems"]:
        output.text(f"[red]✗[/] {rich.markup.escape(problem)}")
    verdict = "[green]verified[/]" if document["verified"] else "[red]does not verify[/]"
    output.text(f"[bold]release {short}[/] {verdict}, {document['blobs']} blobs read")


def _tell_statement(found: dict[str, Any]) -> None:
    mark = "[green]✓[/]" if found["verified"] else "[dim]-[/]" if found["kind"] else "[red]✗[/]"
    signer = found["identity"]
    by = ", ".join(signed["name"] or signed["id"][:12] for signed in found["keys"])
    if signer is not None and found["verified"]:
        by = f"{signer['subject']} of {signer['issuer']}, log index {signer['log_index']}, {signer['integrated_time']}"
    output.text(f"{mark} {found['kind'] or 'statement':<12} {rich.markup.escape(by or found['problem'])}")


def _verify_history(home: homes.Home, heads: Sequence[str], *, as_json: bool) -> None:
    from softlaunch.wiring import chain  # noqa: PLC0415 - as in `verify`

    found = chain.verify(home, heads)
    last = str(found.head) if found.head is not None else None
    if as_json:
        output.document(
            {
                "verified": found.intact,
                "records": found.record_count,
                "head": last,
                "heads": found.heads_count,
                "unheaded": found.unheaded_count,
                "unknown_before": found.unknown_before,
                "problems": [{"record": each.record_id, "text": each.text} for each in found.problems],
                "problem_count": found.problem_count,
            }
        )
    else:
        for problem in found.problems:
            output.text(f"[red]✗[/] {rich.markup.escape(problem.text)}")
        verdict = "[green]verified[/]" if found.intact else "[red]does not verify[/]"
        output.text(f"[bold]history[/] {verdict}, {found.record_count} records against {found.heads_count} kept hashes")
        if found.unknown_before:
            output.text(
                f"[yellow]![/] No hash of a record before {found.unknown_before} was kept: history.heads begins there. "
                "Whether earlier records were written anew before it cannot be told."
            )
        if found.unheaded_count and found.intact:
            output.text(f"[dim]Nothing but the chain itself vouches for the last {found.unheaded_count}.[/]")
        if last is not None and found.intact:
            output.plain(f"head {last}")
            output.text("[dim]Keep it elsewhere: `--head` with it tells whether all of this is still there.[/]")
    if not found.intact:
        raise typer.Exit(options.EXIT_DIFFERENT)


def attest(
    release: _ReleaseArgument,
    *,
    junit: Annotated[pathlib.Path | None, typer.Option(help="JUnit report of the tests.")] = None,
    coverage: Annotated[pathlib.Path | None, typer.Option(help="Report of the tests' coverage.")] = None,
    load: Annotated[pathlib.Path | None, typer.Option(help="Report of a load test.")] = None,
    training: Annotated[pathlib.Path | None, typer.Option(help="Record of the training run.")] = None,
    key: Annotated[str | None, typer.Option("--key", help="Name of the key that signs.")] = None,
    keyless: Annotated[bool, typer.Option("--keyless", help="Sign as who the identity token names, by Sigstore.")] = (
        False
    ),
    trusted_root: identifying.TrustedRoot = None,
    signing_config: Annotated[
        pathlib.Path | None,
        typer.Option("--signing-config", exists=True, dir_okay=False, help="Services of your own Sigstore."),
    ] = None,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Sign reports as evidence of a release: tests, coverage, a load test, the record of a training run.

    With --keyless: by Sigstore, as who the identity token of the job names; at a terminal, as who logs in.

    Examples:

        softlaunch attest main --junit junit.xml --coverage coverage.xml
        softlaunch attest v1.2 --load load.json --key ci --json
        softlaunch attest main --junit junit.xml --keyless
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    named = {
        intoto.Kind.TESTS: {"junit": junit, "coverage": coverage},
        intoto.Kind.LOAD: {"load": load},
        intoto.Kind.TRAINING: {"training": training},
    }
    documents = _given(named)
    if (key is not None and keyless) or (not keyless and (trusted_root or signing_config)):
        raise errors.ConfigError(
            "It is not clear whether a key signs or Sigstore.",
            remedy="Give --key, or --keyless (and --trusted-root and --signing-config with it alone).",
            code=errors.Code.BAD_OPTION,
        )
    place = homes.Home.locate(home)

    def signer() -> signing.Signer | signing.KeylessSigner:
        if not keyless:
            return evidence.key_signer(place, key)
        services = identities.Keyless(trusted_root=str(trusted_root or ""), signing_config=str(signing_config or ""))
        return evidence.keyless_signer(services, browser=sys.stdin.isatty() and sys.stderr.isatty())

    added = evidence.attest(place, release, documents, signer=signer)
    if as_json:
        output.document({"statements": [digest.value for digest in added]})
    else:
        output.plain(f"{len(added)} statements signed and attached." if added else "All of that was signed before.")


def _given(
    named: Mapping[intoto.Kind, Mapping[str, pathlib.Path | None]],
) -> dict[intoto.Kind, dict[str, pathlib.Path]]:
    given = {kind: {name: path for name, path in files.items() if path is not None} for kind, files in named.items()}
    documents = {kind: files for kind, files in given.items() if files}
    if not documents:
        raise errors.ConfigError(
            "Nothing is given that could be signed.",
            remedy="Name a report with --junit, --coverage, --load or --training.",
            code=errors.Code.BAD_OPTION,
        )
    return documents


@KEY.command("new")
def new(
    *,
    name: Annotated[str, typer.Option(help="The key's name.")] = _DEFAULT,
    ec: Annotated[bool, typer.Option("--ec", help="An EC key of the curve P-256 in place of Ed25519.")] = False,
    passphrase_env: _PassphraseOption = "",
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Make a key. From then on builds are signed.

    Examples:

        softlaunch key new
        softlaunch key new --name ci --ec --passphrase-env CI_KEY_PASSPHRASE
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    place = homes.Home.locate(home)
    place.prepare()
    made = evidence.directory(place).new(name, elliptic=ec, passphrase_variable=passphrase_env)
    _told(place, made.name, made.key_id, made.algorithm.value, as_json=as_json)


@KEY.command("import")
def import_key(
    file: Annotated[pathlib.Path, typer.Argument(exists=True, dir_okay=False, help="PEM file, private or public.")],
    *,
    name: Annotated[str, typer.Option(help="The key's name.")] = _DEFAULT,
    passphrase_env: _PassphraseOption = "",
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Keep a key that was made elsewhere. A private one signs, a public one is trusted.

    Examples:

        softlaunch key import ci.pub --name ci
        softlaunch key import release.pem --passphrase-env RELEASE_PASSPHRASE
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    place = homes.Home.locate(home)
    place.prepare()
    kept = evidence.directory(place).add(name, file.read_bytes(), passphrase_variable=passphrase_env)
    _told(place, kept.name, kept.key_id, kept.algorithm.value, as_json=as_json)


@KEY.command("list")
def list_keys(*, home: options.HomeOption = None, as_json: options.Json = False) -> None:
    """
    List keys: their names, ids and kinds, and which of them can sign.

    Examples:

        softlaunch key list
        softlaunch key list --json
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    found = evidence.directory(homes.Home.locate(home)).kept()
    if as_json:
        output.document(
            {
                "keys": [
                    {
                        "name": each.public.name,
                        "id": each.public.key_id,
                        "algorithm": each.public.algorithm.value,
                        "signs": each.signs,
                        "passphrase_env": each.passphrase_variable or None,
                    }
                    for each in found
                ]
            }
        )
        return
    table = rich.table.Table("name", "id", "kind", "signs", "passphrase in")
    for each in found:
        signs = "yes" if each.signs else "no"
        table.add_row(
            each.public.name, each.public.key_id[:16], each.public.algorithm.value, signs, each.passphrase_variable
        )
    output.CONSOLE.print(table)


@KEY.command("export")
def export(
    name: Annotated[str, typer.Argument(help="Name of a key.")] = _DEFAULT,
    *,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Print a public key, as PEM.

    Examples:

        softlaunch key export > release.pub
        softlaunch key export ci --json
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    (found,) = evidence.directory(homes.Home.locate(home)).trusted((name,))
    if as_json:
        output.document({"name": found.name, "id": found.key_id, "pem": found.pem.decode()})
    else:
        output.plain(found.pem.decode().rstrip("\n"))


@KEY.command("sign-model")
def sign_model(
    directory: Annotated[pathlib.Path, typer.Argument(exists=True, file_okay=False, help="Folder of the model.")],
    *,
    out: Annotated[pathlib.Path, typer.Option(help="Where the signature goes.")] = pathlib.Path("model.sig"),
    key: Annotated[str, typer.Option("--key", help="Name of an EC key.")] = _DEFAULT,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Sign a folder so that OpenSSF's `model_signing verify key` accepts it. Takes an EC key.

    Examples:

        softlaunch key sign-model model/ --out model.sig --key ci
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    count = evidence.sign_model(homes.Home.locate(home), directory, out, key=key)
    if as_json:
        output.document({"signature": str(out), "files": count})
    else:
        output.plain(f"{count} files signed: {out}")


@KEY.command("verify-model")
def verify_model(
    directory: Annotated[pathlib.Path, typer.Argument(exists=True, file_okay=False, help="Folder of the model.")],
    *,
    signature: Annotated[
        pathlib.Path, typer.Option(exists=True, dir_okay=False, help="The signature, a Sigstore bundle.")
    ] = pathlib.Path("model.sig"),
    key: Annotated[str, typer.Option("--key", help="A name of `key list` or a PEM file.")] = _DEFAULT,
    home: options.HomeOption = None,
    as_json: options.Json = False,
) -> None:
    """
    Check a folder against a signature that OpenSSF's `model_signing` or `key sign-model` made.

    Examples:

        softlaunch key verify-model model/ --signature model.sig --key vendor.pub
    """
    from softlaunch.wiring import evidence  # noqa: PLC0415 - as in `verify`

    count = evidence.verify_model(homes.Home.locate(home), directory, signature, key=key)
    if as_json:
        output.document({"verified": True, "files": count})
    else:
        output.plain(f"{count} files are as they were signed.")


def _told(home: homes.Home, name: str, key_id: str, algorithm: str, *, as_json: bool) -> None:
    public = home.keys / f"{name}.pub"
    if as_json:
        output.document({"name": name, "id": key_id, "algorithm": algorithm, "public": str(public)})
    else:
        output.plain(f"Key {name} ({algorithm}), id {key_id[:16]}; its public half is {public}.")
