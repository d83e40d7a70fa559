"""Where a release came from and where it went, gathered from everything a home keeps."""

from __future__ import annotations

import dataclasses
import hashlib
import os
import pathlib
import stat
from collections.abc import Iterator, Sequence

from softlaunch import errors
from softlaunch.adapters.oci import registry as oci_registry
from softlaunch.config import home as homes
from softlaunch.controller import shelf, training
from softlaunch.controller.pipeline import run_record
from softlaunch.core import (
    dsse_types,
    identities,
    intoto,
    lineage_graph,
    lineage_nodes,
    lineage_said,
    provenance,
    release,
)
from softlaunch.wiring import evidence

_NOBODY = identities.Trust()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Known:
    """A release of the home, unpacked."""

    digest: release.Digest
    content: release.ReleaseContent
    directory: pathlib.Path
    records: tuple[release.Lineage, ...]
    """Oldest first."""
    said: tuple[lineage_said.Said, ...]
    """Every statement that is attached to it."""
    problems: tuple[str, ...]
    """What is wrong with the statements taken together."""

    @property
    def commit(self) -> str:
        """The commit it was built of last; empty when nobody says."""
        return self.records[-1].commit if self.records else ""


def find(home: homes.Home, reference: str, *, people: identities.Trust = _NOBODY) -> Known:
    """
    The release that a digest, commit, tag or branch names; needs no network and no control plane.

    Args:
        home: Whose registry; every key of it is trusted.
        reference: The release.
        people: Identities whose Sigstore bundles are trusted.

    Raises:
        ConfigError: there is none, or the trusted root of `people` cannot be read.
        UnavailableError: stored bytes do not match their digest.
    """
    releases = oci_registry.OciRegistry(home.registry)
    digest = releases.resolve(reference)
    if digest is None:
        raise errors.ConfigError(
            f"There is no release {reference!r:.120}.",
            remedy="Give a digest, commit, tag or branch that was built or pulled: `softlaunch registry list`.",
            code=errors.Code.NO_RELEASE,
        )
    directory, content = shelf.Shelf(releases, home.releases).take(digest)
    said, problems = _said(home, releases, digest, people)
    return Known(
        digest=digest,
        content=content,
        directory=directory,
        records=tuple(releases.lineage(digest)),
        said=tuple(said),
        problems=tuple(problems),
    )


def draw(
    home: homes.Home, known: Known, *, now: lineage_nodes.Now | None, directory: pathlib.Path
) -> lineage_graph.Graph:
    """
    The graph of a release.

    Args:
        home: Whose registry, training runs, pipelines and images.
        known: The release.
        now: What the control plane says; None: nobody answers there.
        directory: Where a repository may be that holds the commit, for data that nothing else tells of.

    Raises:
        UnavailableError: stored bytes do not match their digest.
    """
    content = known.content
    proved = sum(each.proof is lineage_graph.Proof.VERIFIED for each in known.said)
    count = f"{proved} of {len(known.said)} statements verify" if known.said else "nothing about it is signed"
    root = lineage_graph.Node(
        id=known.digest.value,
        kind=lineage_graph.Kind.RELEASE,
        label=f"release {known.digest.short} of {content.service}",
        detail=f"{content.runtime.value}, {count}",
        proof=lineage_graph.Proof.CONTENT,
        facts={"service": content.service, "runtime": content.runtime.value, "drill": content.drill},
    )
    drawing = lineage_graph.Drawing(root)
    files = [
        each for each in listed(known.directory) if each.path.startswith("model/") or each.path == content.lock_file
    ]
    lineage_nodes.add_files(drawing, content, files)
    lineage_said.add_code(drawing, known.records, known.said)
    if now is not None:
        lineage_nodes.add_now(drawing, now)
    lineage_said.add_said(drawing, known.said, known.records)
    add_data(drawing, known, directory)
    _add_training(drawing, home, known, files)
    runs = run_record.Runs(home.pipelines).every(content.service)
    lineage_nodes.add_pipelines(drawing, [each.document() for each in runs if each.release == known.digest.value])
    lineage_nodes.add_images(drawing, images(home, known.digest))
    for problem in known.problems:
        drawing.note(problem)
    if any(each.problem.endswith("is not trusted") for each in known.said):
        drawing.note("Import the public key of who built it with `softlaunch key import`, if you trust it.")
    if not known.records:
        drawing.note("Nobody says which commit it was built of.")
    return drawing.graph()


def listed(directory: pathlib.Path) -> Iterator[lineage_nodes.File]:
    """Every file of an unpacked release, by path."""
    for path in sorted(directory.rglob("*"), key=lambda each: each.relative_to(directory).as_posix()):
        name = path.relative_to(directory).as_posix()
        if path.is_symlink():
            raw = os.fsencode(path.readlink())
            yield lineage_nodes.File(path=name, sha256=hashlib.sha256(raw).hexdigest(), bytes=len(raw), mode="link")
        elif path.is_file() and "__pycache__" not in path.parts:
            with path.open("rb") as file:
                digest = hashlib.file_digest(file, "sha256").hexdigest()
            found = path.stat()
            mode = "program" if found.st_mode & stat.S_IXUSR else "file"
            yield lineage_nodes.File(path=name, sha256=digest, bytes=found.st_size, mode=mode)


def add_data(drawing: lineage_graph.Drawing, known: Known, directory: pathlib.Path) -> None:
    """
    Model, reference and holdout: what was signed, else what the repository in `directory` has at the commit.

    A note says so where neither tells.
    """
    said = [each for each in known.said if each.statement is not None and each.statement.kind is intoto.Kind.DATA]
    lineage_said.add_said(drawing, said, ())
    signed = any(each.proof is lineage_graph.Proof.VERIFIED for each in said)
    found = _committed_inputs(known, directory) if not signed else ()
    if found is None:
        drawing.note(
            "Its data is not known: nobody who is trusted here signed what went in, and no repository here holds its "
            "commit (--dir)."
        )
        return
    inputs = ((each.name, each.uri, each.version, each.sha256) for each in found)
    lineage_nodes.add_inputs(drawing, inputs, commit=known.commit)


def _committed_inputs(known: Known, directory: pathlib.Path) -> Sequence[provenance.Material] | None:
    """None: there is no such repository, or its commit is of another service."""
    if not known.commit:
        return None
    from softlaunch.wiring import builds  # noqa: PLC0415 - a second of imports, for releases that nobody signed

    try:
        found = builds.sources(directory, known.commit)
        if found.spec.service != known.content.service:
            return None
        return tuple(evidence.inputs(found.repository, found.commit, found.spec))
    except errors.SoftlaunchError:
        return None


def _add_training(
    drawing: lineage_graph.Drawing, home: homes.Home, known: Known, files: Sequence[lineage_nodes.File]
) -> None:
    """Runs of this home that made the model, as it was pinned or as it is served, or that the build was tied to."""
    if not home.training.is_dir():
        return
    pinned = [
        str(node.facts["sha256"])
        for node in drawing.graph().nodes
        if node.kind is lineage_graph.Kind.DATA
        and node.facts["role"] == "model"
        and node.proof is not lineage_graph.Proof.REFUSED
    ]
    digests = [*pinned, *(each.sha256 for each in files if each.path.startswith("model/"))]
    kept = training.Records(home.training)
    found = {
        each.run: each for each in kept.every() if any(use.release == known.digest.value for use in kept.uses(each.run))
    }
    for sha256 in digests:
        run = kept.training_run_of(sha256)
        if run is not None:
            found.setdefault(run.run, run)
    lineage_nodes.add_training(drawing, found.values(), digests)


def images(home: homes.Home, digest: release.Digest) -> list[dict[str, str]]:
    """Images of the release that were built here."""
    if not home.images.is_dir():
        return []
    from softlaunch.wiring import imaging  # noqa: PLC0415 - half a second of imports, for homes with images

    return [each for each in imaging.images(home) if each["release"] == digest.value]


def _said(
    home: homes.Home, releases: oci_registry.OciRegistry, digest: release.Digest, people: identities.Trust
) -> tuple[list[lineage_said.Said], list[str]]:
    """Every statement with whether it verifies, and what is wrong with all of them together."""
    everything = releases.referrers(digest)
    attached = [each for each in everything if each.artifact_type == intoto.ARTIFACT_TYPE]
    bundles = [
        lineage_said.Said(
            referrer=each.digest.value,
            proof=lineage_graph.Proof.REFUSED,
            statement=None,
            problem="a Sigstore bundle; say whom to trust with --certificate-identity",
        )
        for each in everything
        if each.artifact_type == identities.ARTIFACT_TYPE and not people.identities
    ]
    if not (attached or people.identities):
        return bundles, []
    trusted = evidence.LazyKeys(home).trusted() if home.keys.is_dir() else ()
    names = {key.key_id: key.name for key in trusted}
    judgement = evidence.of(home).verify(digest, keys=trusted, people=people)
    payloads = {each.digest: each.payload for each in attached}
    found = []
    for finding in judgement.findings:
        good = finding.statement is not None and not finding.problem and not finding.foreign
        problem = finding.problem or ("signed by nobody who is trusted here" if finding.foreign else "")
        signers = [names.get(key_id) or key_id[:12] for key_id in finding.key_ids]
        signers += [finding.signer.subject] if finding.signer is not None else []
        found.append(
            lineage_said.Said(
                referrer=finding.referrer.value,
                proof=lineage_graph.Proof.VERIFIED if good else lineage_graph.Proof.REFUSED,
                statement=finding.statement or _read(payloads.get(finding.referrer, b""), digest),
                signed_by=tuple(signers) if good else (),
                problem=problem,
            )
        )
    single = [f"Statement {each.referrer.short}" for each in judgement.findings if each.problem]
    return [*lineage_said.merged(found), *bundles], [
        each for each in judgement.problems if not each.startswith(tuple(single))
    ]


def _read(payload: bytes, digest: release.Digest) -> intoto.Statement | None:
    """What a refused statement says, when it can be read and is about this release."""
    try:
        statement = intoto.load(dsse_types.load(payload).payload)
    except dsse_types.MalformedError:
        return None
    return statement if statement.subject == digest else None
