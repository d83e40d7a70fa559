"""Evidence of releases, with the keys of a home."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import platform
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import softlaunch
from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.config import home as homes
from softlaunch.controller import evidence, shelf
from softlaunch.controller.pipeline import files, workshop
from softlaunch.core import evidence_policy, identities, intoto, lockfile, pins, provenance, release, spec
from softlaunch.ports import signing, source

REPORT_BYTES_MAX = 4 << 20
"""Of one file that a statement carries; a guess."""
_FAILURE = re.compile(r"<(failure|error)[\s/>]")
"""In a JUnit report: of a test that did not pass."""


class LazyKeys:
    """
    The keys of a home; see ports.signing.Keys.

    `cryptography` costs a tenth of a second to import: only what signs or verifies pays.
    """

    def __init__(self, home: homes.Home) -> None:
        self._home = home

    def signer(self) -> signing.Signer | None:
        """See ports.signing.Keys.signer."""
        return directory(self._home).signer() if self._home.keys.is_dir() else None

    def trusted(self, names: Sequence[str] = ()) -> Sequence[signing.PublicKey]:
        """See ports.signing.Keys.trusted."""
        found: Sequence[signing.PublicKey] = directory(self._home).trusted(names)
        return found


class LazyVerifier:
    """See ports.signing.Verifier and LazyKeys."""

    def verifies(self, key: signing.PublicKey, message: bytes, signature: bytes) -> bool:
        """See ports.signing.Verifier.verifies."""
        from softlaunch.adapters.signing import primitives  # noqa: PLC0415 - see LazyKeys

        return primitives.Verifier().verifies(key, message, signature)


class LazyBundles:
    """See ports.signing.Bundles; Sigstore's library costs half a second to import."""

    def read(self, raw: bytes, *, trusted_root: str) -> identities.Bundle:
        """See ports.signing.Bundles.read."""
        from softlaunch.adapters.signing import sigstore_bundles  # noqa: PLC0415 - see LazyKeys

        return sigstore_bundles.Bundles().read(raw, trusted_root=trusted_root)


def signer_of(home: homes.Home, keyless: identities.Keyless | None) -> signing.Signer | signing.KeylessSigner | None:
    """
    Who signs here: the key of the home, or whoever the identity token names; None when there is none.

    Raises:
        ConfigError: the key cannot be read or unlocked, or the token not be used.
        UnavailableError: Sigstore gives no certificate.
    """
    if keyless is None:
        return LazyKeys(home).signer()
    from softlaunch.adapters.signing import keyless as keyless_signing  # noqa: PLC0415 - see LazyBundles

    found = keyless_signing.token(os.environ)
    return _certified(found, keyless) if found is not None else None


def name_of(signer: signing.Signer | signing.KeylessSigner) -> str:
    """Who that is, for people."""
    return f"the key {signer.public.name}" if isinstance(signer, signing.Signer) else signer.identity.subject


def keyless_signer(keyless: identities.Keyless, *, browser: bool) -> signing.KeylessSigner:
    """
    Whoever the identity token names; without one, whoever logs in, where `browser` lets a person do so.

    Raises:
        ConfigError: there is neither, or the token cannot be used.
        UnavailableError: Sigstore gives no certificate.
    """
    from softlaunch.adapters.signing import keyless as keyless_signing  # noqa: PLC0415 - see LazyBundles

    found = keyless_signing.token(os.environ)
    if found is None and browser:
        found = keyless_signing.token_by_browser(keyless.signing_config)
    if found is None:
        raise keyless_signing.no_token()
    return _certified(found, keyless)


def _certified(token: Any, keyless: identities.Keyless) -> signing.KeylessSigner:
    from softlaunch.adapters.signing import keyless as keyless_signing  # noqa: PLC0415 - see LazyBundles

    return keyless_signing.Signer(token, trusted_root=keyless.trusted_root, signing_config=keyless.signing_config)


def directory(home: homes.Home) -> Any:
    """The keys of the home, an adapters.signing.keys.KeyDirectory."""
    from softlaunch.adapters.signing import keys  # noqa: PLC0415 - see LazyKeys

    return keys.KeyDirectory(home.keys, os.environ)


def of(home: homes.Home) -> evidence.Evidence:
    """Evidence of the home's registry, by the home's keys."""
    return evidence.Evidence(
        releases=oci_registry.OciRegistry(home.registry),
        keys=LazyKeys(home),
        verifier=LazyVerifier(),
        bundles=LazyBundles(),
    )


def of_build(
    home: homes.Home,
    repository: source.Source,
    commit: source.Commit,
    service: spec.ServiceSpec,
    *,
    result: workshop.BuildResult,
    progress: workshop.Progress,
) -> None:
    """
    Signs what the build knows of its release, when the home has a key or the service's builds are signed without.

    Raises:
        ConfigError: the key cannot be read or unlocked, or the token not be used; the release is there, unsigned.
        UnavailableError: Sigstore's services refuse; likewise.
    """
    if service.keyless is None and not home.keys.is_dir():
        return
    with workshop.step(progress, "sign") as step:
        signer = signer_of(home, service.keyless)
        if signer is None:
            step.detail, step.skipped = "no key" if service.keyless is None else "no identity token", True
            return
        releases = oci_registry.OciRegistry(home.registry)
        build = provenance.Build(
            content=shelf.Shelf(releases, home.releases).take(result.digest)[1],
            digest=result.digest,
            lineage=result.lineage,
            locks=tuple(_committed(repository, commit, (*files.LOCK_FILES, lockfile.NAME))),
            inputs=tuple(inputs(repository, commit, service)),
            blobs=tuple(releases.check(result.digest)),
            tested=service.tests is not None and service.tests.command is not None,
            versions={"softlaunch": softlaunch.__version__, "python": platform.python_version()},
        )
        added = of(home).attach(provenance.statements(build), signer)
        step.detail = f"{len(added)} statements by {name_of(signer)}"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Verification:
    """What `softlaunch verify` found."""

    digest: release.Digest
    blob_count: int
    judgement: evidence_policy.Judgement
    key_names: Mapping[str, str]
    """Of trusted keys, by key id."""
    others: tuple[str, ...]
    """Artifact types of referrers that carry no statement."""

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "release": self.digest.value,
            "verified": self.judgement.passed,
            "problems": list(self.judgement.problems),
            "blobs": self.blob_count,
            "statements": [self._finding(found) for found in self.judgement.findings],
            "unsigned_referrers": list(self.others),
        }

    def _finding(self, found: evidence_policy.Finding) -> dict[str, Any]:
        statement = found.statement
        return {
            "referrer": found.referrer.value,
            "kind": statement.kind.value if statement is not None else None,
            "predicate_type": intoto.PREDICATE_TYPES[statement.kind] if statement is not None else None,
            "keys": [{"id": key_id, "name": self.key_names.get(key_id, "")} for key_id in found.key_ids],
            "identity": dataclasses.asdict(found.signer) if found.signer is not None else None,
            "verified": not found.problem and not found.foreign,
            "problem": found.problem or ("signed by nobody who is trusted here" if found.foreign else ""),
            "predicate": dict(statement.predicate) if statement is not None else None,
        }


def verify(
    home: homes.Home,
    reference: str,
    *,
    key_names: Sequence[str],
    threshold: int,
    people: identities.Trust,
    bundles: Sequence[pathlib.Path] = (),
) -> Verification:
    """
    Reads every blob of a release and everything attached to it; needs no network and no control plane.

    Args:
        home: Whose registry and keys.
        reference: The release.
        key_names: Keys that are trusted; none, and no identity: every key of the home.
        threshold: So many of them have to have signed.
        people: Identities that are trusted.
        bundles: Files of Sigstore bundles that are judged as if they were attached.

    Raises:
        ConfigError: there is no such release, key or bundle, or nobody is trusted.
        UnavailableError: stored bytes do not match their digest.
    """
    releases = oci_registry.OciRegistry(home.registry)
    digest = _resolved(releases, reference)
    trusted = LazyKeys(home).trusted(key_names) if key_names or not people.identities else ()
    if not trusted and not people.identities:
        raise errors.ConfigError(
            "No key is trusted: nothing can verify.",
            remedy="Name a public key with --key or an identity with --certificate-identity, or make a key with "
            "`softlaunch key new` and build again.",
            code=errors.Code.NO_KEY,
        )
    given = [_bundle(path) for path in bundles]
    blobs = releases.check(digest)
    read = {intoto.ARTIFACT_TYPE, *((identities.ARTIFACT_TYPE,) if people.identities else ())}
    return Verification(
        digest=digest,
        blob_count=len(blobs),
        judgement=of(home).verify(digest, keys=trusted, threshold=threshold, people=people, given=given),
        key_names={key.key_id: key.name for key in trusted},
        others=tuple(each.artifact_type for each in releases.referrers(digest) if each.artifact_type not in read),
    )


def _bundle(path: pathlib.Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise errors.ConfigError(
            f"{path} cannot be read: {error.strerror}.",
            remedy="Name a file with a Sigstore bundle.",
            code=errors.Code.BAD_OPTION,
        ) from error


def attest(
    home: homes.Home,
    reference: str,
    documents: Mapping[intoto.Kind, Mapping[str, pathlib.Path]],
    *,
    signer: Callable[[], signing.Signer | signing.KeylessSigner],
) -> tuple[release.Digest, ...]:
    """
    Signs files as evidence of a release: reports of tests, of a load test, of a training run.

    Args:
        home: Whose registry and keys.
        reference: The release.
        documents: Files by what they are evidence of, and by name.
        signer: Gives who signs; asked when everything else is ready, as certificates are for minutes and public.

    Raises:
        ConfigError: no such release or file, nobody who signs, or a file is no text or too large.
        UnavailableError: a service that signs refuses.
    """
    releases = oci_registry.OciRegistry(home.registry)
    digest = _resolved(releases, reference)
    content = shelf.Shelf(releases, home.releases).take(digest)[1]
    statements = [
        intoto.Statement(kind=kind, service=content.service, subject=digest, predicate=_reports(kind, found))
        for kind, found in documents.items()
    ]
    return of(home).attach(statements, signer())


def key_signer(home: homes.Home, name: str | None) -> signing.Signer:
    """
    The key of that name; without one, the key that signs builds.

    Raises:
        ConfigError: there is none, or it cannot be read or unlocked.
    """
    kept = directory(home)
    signer: signing.Signer | None = kept.signer_named(name) if name is not None else kept.signer()
    if signer is None:
        raise errors.ConfigError(
            "There is no key to sign with.",
            remedy="Make one with `softlaunch key new`, or sign with --keyless.",
            code=errors.Code.NO_KEY,
        )
    return signer


def _reports(kind: intoto.Kind, found: Mapping[str, pathlib.Path]) -> dict[str, Any]:
    reports: list[dict[str, Any]] = []
    for name, path in found.items():
        try:
            raw = path.read_bytes()
            text = raw.decode()
        except (OSError, UnicodeDecodeError) as error:
            raise _unreadable(path, "cannot be read as text") from error
        if len(raw) > REPORT_BYTES_MAX:
            raise _unreadable(path, f"has {len(raw)} bytes, more than {REPORT_BYTES_MAX}")
        reports.append({"name": name, "digest": {"sha256": hashlib.sha256(raw).hexdigest()}, "content": text})
    if kind is intoto.Kind.TESTS:
        failed = [_FAILURE.search(each["content"]) for each in reports if each["name"] == "junit"]
        configuration = [{"name": each["name"], "digest": each["digest"]} for each in reports]
        return {
            "result": "FAILED" if any(failed) else "PASSED",
            "configuration": configuration,
            "annotations": {"reports": reports},
        }
    return {"files": reports}


def _unreadable(path: pathlib.Path, what: str) -> errors.ConfigError:
    return errors.ConfigError(
        f"{path} {what}.", remedy="Name a report that is a text file.", code=errors.Code.BAD_OPTION
    )


def _resolved(releases: oci_registry.OciRegistry, reference: str) -> release.Digest:
    digest = releases.resolve(reference)
    if digest is None:
        raise errors.ConfigError(
            f"There is no release {reference!r}.",
            remedy="Give a digest, commit, tag or branch that was built or pulled.",
            code=errors.Code.NO_RELEASE,
        )
    return digest


def _committed(repository: source.Source, commit: source.Commit, names: Sequence[str]) -> Iterator[provenance.Material]:
    for name in names:
        raw = repository.read(commit, name)
        if raw is not None:
            yield provenance.Material(name=name, sha256=hashlib.sha256(raw).hexdigest())


def inputs(
    repository: source.Source, commit: source.Commit, service: spec.ServiceSpec
) -> Iterator[provenance.Material]:
    """Model, reference and holdout: what softlaunch.lock says of them, else the committed files."""
    lock = repository.read(commit, lockfile.NAME)
    for role, name in pins.names(service).items():
        pin = lockfile.find(lock, role, name)
        if pin is not None:
            yield provenance.Material(name=role.value, sha256=pin.sha256, uri=pin.uri, version=pin.version)
            continue
        raw = None if pins.is_url(name) else repository.read(commit, name)
        if raw is not None:  # a directory is covered by the commit
            yield provenance.Material(name=role.value, sha256=hashlib.sha256(raw).hexdigest(), uri=f"git:{name}")


def sign_model(home: homes.Home, folder: pathlib.Path, signature: pathlib.Path, *, key: str) -> int:
    """See adapters.signing.model_folders.sign."""
    from softlaunch.adapters.signing import model_folders  # noqa: PLC0415 - see LazyKeys

    return model_folders.sign(folder, directory(home).signer_named(key), signature)


def verify_model(home: homes.Home, folder: pathlib.Path, signature: pathlib.Path, *, key: str) -> int:
    """See adapters.signing.model_folders.verify."""
    from softlaunch.adapters.signing import model_folders  # noqa: PLC0415 - see LazyKeys

    return model_folders.verify(folder, signature, directory(home).trusted((key,))[0])
