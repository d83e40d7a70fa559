"""
From a commit to a release: checkout, environment, model, tests, compilation, gates, profile, registry.

Everything happens in a temporary directory; the registry changes last, in one step. Killed at any moment, a build
leaves nothing but caches. The same inputs were either built before, and then only the lineage of the new commit is
added, or give the same release again: nothing here reads a clock, a path or a name that is not part of the commit.
"""

from __future__ import annotations

import dataclasses
import datetime
import errno
import pathlib
import tempfile
from collections.abc import Mapping

from softlaunch import errors
from softlaunch.controller.pipeline import (
    answering,
    assemble,
    compilation,
    files,
    materials,
    obtain,
    own_code,
    passed_tests,
    profiling,
    quality,
    records,
    scanning,
    service_tests,
    signature,
    workshop,
)
from softlaunch.core import lookup_values, pins, release, spec
from softlaunch.ports import python_env, source

NO_TESTS = "no tests"


def build(
    service: spec.ServiceSpec,
    commit: source.Commit,
    shop: workshop.Workshop,
    *,
    progress: workshop.Progress = workshop.silent,
) -> workshop.BuildResult:
    """
    The release of a commit, stored in the registry with its lineage.

    Args:
        service: The commit's own softlaunch.yaml, parsed.
        progress: Told of each step's start and end.

    Raises:
        ConfigError: something of the service is not right; nothing was stored.
        UnavailableError: disk, network, git or a package registry failed; nothing was stored.
    """
    try:
        with tempfile.TemporaryDirectory(prefix="softlaunch-build-", ignore_cleanup_errors=True) as scratch:
            return _Build(service, commit, shop, progress, pathlib.Path(scratch)).run()
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        raise errors.UnavailableError(
            f"{'The disk is full' if full else 'A file could not be used'}: {error}.",
            remedy="Make room and build again."
            if full
            else "Check the disk and who may write there, then build again.",
            code=errors.Code.DISK_FULL,
        ) from error


@dataclasses.dataclass(frozen=True)
class _Build:
    service: spec.ServiceSpec
    commit: source.Commit
    shop: workshop.Workshop
    progress: workshop.Progress
    scratch: pathlib.Path

    def run(self) -> workshop.BuildResult:
        checkout = self.scratch / "checkout"
        with workshop.step(self.progress, "checkout") as step:
            self.shop.source.checkout(self.commit, checkout)
            lock_name = files.lock_name(checkout)
            lock = (checkout / lock_name).read_bytes() if lock_name is not None else None
            # Of softlaunch.yaml only what a build reads decides, and that is in the key by itself.
            key = records.key(files.digest(checkout, without={files.SERVICE_FILE}), self.service)
            step.detail = f"commit {self.commit.id[:12]}"
            tested = records.tests_key(files.digest(checkout, without={files.SERVICE_FILE}), self.service)
        record = records.load(self.shop.cache, key)
        reused = record is not None and self.shop.registry.resolve(str(record.digest)) == record.digest
        if record is None or not reused:
            record = self._built(checkout, lock, tested)
            records.save(self.shop.cache, key, record)
        elif self.service.tests is not None and self.service.tests.command is not None:
            passed_tests.load(self.shop.cache, tested, self.shop.reports)
        with workshop.step(self.progress, "release") as step:
            lineage = self._attached(record)
            step.detail = f"{record.digest.short}, built before" if reused else record.digest.short
        return workshop.BuildResult(
            digest=record.digest,
            lineage=lineage,
            gates=record.gates,
            notes=record.notes,
            reused=reused,
            model=record.model,
        )

    def _built(self, checkout: pathlib.Path, lock: bytes | None, tested: str) -> records.Record:
        shop, tests = self.shop, self.service.tests
        notes: list[str] = []
        with workshop.step(self.progress, "environment") as step:
            interpreter = shop.environments.building(lock)
            step.detail = "the lock file's packages" if interpreter.own else "softlaunch's own Python"
            if not interpreter.own:
                notes.append("There is no requirements.lock: softlaunch's own Python and packages stand in.")
        work = self.scratch / "work"
        files.copy(checkout, work, files.walk(checkout))
        if self.service.model.source in own_code.SOURCES:
            return self._of_own_code(checkout, lock, work, interpreter, notes, tested=tested)
        with workshop.step(self.progress, "model") as step:
            supplied = materials.supply(self.service, shop, checkout=checkout, work=work)
            model_file, step.detail = obtain.obtain(
                self.service, shop, checkout=checkout, work=work, interpreter=interpreter, lock=lock
            )
            model_file = self._out_of_reach(model_file)
            origin = obtain.origin(model_file)
            notes += scanning.checked(
                model_file, checkout, without=self.service.model.path, allowed=self.service.model.allow_globals
            )
        with workshop.step(self.progress, "tests") as step:
            passed = service_tests.run(tests, shop, work=work, interpreter=interpreter, name=tested, step=step)
            step.detail, step.skipped = passed or NO_TESTS, passed is None
        original, content, described, found = self._described(
            checkout, lock, model_file, interpreter, supplied=supplied
        )
        draft, content = self._compiled(original, content, found, interpreter, notes)
        with workshop.step(self.progress, "quality") as step:
            judged = quality.judge(tests, draft, described=described, found=found, shop=shop, scratch=self.scratch)
            step.detail = ", ".join(f"{each.name} {each.value:g} {each.threshold}" for each in judged.gates)
            step.skipped = not judged.gates and judged.latency_ms_p99 is None
        latency = f"one row in {judged.latency_ms_p99:.3g} ms at p99" if judged.latency_ms_p99 is not None else None
        with workshop.step(self.progress, "profile") as step:
            profiled = profiling.add(original.directory, draft, found.reference, shop=shop, scratch=self.scratch)
            step.skipped = profiled.profile_file is None
            step.detail = (
                f"{len(draft.signature.inputs)} features" if profiled.profile_file is not None else "no reference"
            )
            if profiled.failed_count:
                notes.append(
                    f"The model fails on {profiled.failed_count} of {profiled.tried_count} reference rows tried."
                )
        content = dataclasses.replace(
            content,
            gates=(*content.gates, *judged.gates),
            profile_file=profiled.profile_file,
            smoke_file=profiled.smoke_file,
            lookups=self.service.lookups,
        )
        if draft is not original:
            assemble.replace_model(original.directory, draft.directory)
        assemble.describe(original.directory, content)
        digest = shop.registry.push(original.directory)
        notes += [*described.notes, *quality.missing_data(tests, found)]
        notes += [content.compile_note] if content.compile_note else []
        notes += [f"Latency: {latency}."] if latency is not None else []
        told = [passed or NO_TESTS, *([latency] if latency is not None else [])]
        return records.Record(
            digest=digest, gates=content.gates, notes=tuple(notes), tests=", ".join(told), model=origin
        )

    def _of_own_code(
        self,
        checkout: pathlib.Path,
        lock: bytes | None,
        work: pathlib.Path,
        interpreter: python_env.Interpreter,
        notes: list[str],
        *,
        tested: str,
    ) -> records.Record:
        directory = self.scratch / "release"
        notes += scanning.checked(None, checkout, without=None, allowed=self.service.model.allow_globals)
        with workshop.step(self.progress, "model") as step:
            python = interpreter.python
            own_code.write(self.service, self.shop, checkout=checkout, directory=directory, python=python, lock=lock)
            step.detail = own_code.named(self.service)
        with workshop.step(self.progress, "tests") as step:
            passed = service_tests.run(
                self.service.tests, self.shop, work=work, interpreter=interpreter, name=tested, step=step
            )
            step.detail, step.skipped = passed or NO_TESTS, passed is None
        for name in own_code.STEPS_LEFT_OUT:
            with workshop.step(self.progress, name) as step:
                step.detail, step.skipped = own_code.WHY, True
        digest = self.shop.registry.push(directory)
        return records.Record(digest=digest, gates=(), notes=tuple(notes), tests=passed or NO_TESTS)

    def _described(
        self,
        checkout: pathlib.Path,
        lock: bytes | None,
        model_file: pathlib.Path | None,
        interpreter: python_env.Interpreter,
        *,
        supplied: Mapping[pins.Role, pathlib.Path],
    ) -> tuple[answering.Draft, release.ReleaseContent, signature.Described, signature.Tables]:
        """The release that serves the model as it was obtained, ready to answer."""
        with workshop.step(self.progress, "signature") as step:
            found = self._tables(checkout, supplied)
            directory = self.scratch / "release"
            assemble.lay_out(self.service, checkout, directory, lock=lock)
            described = signature.describe(
                self.service,
                self.shop,
                found,
                model_file=model_file,
                python=interpreter.python,
                code=directory / assemble.CODE,
                scratch=self.scratch,
            )
            step.detail = ", ".join(column.name for column in described.signature.outputs)
            self._check_lookups(described.signature)
        content = release.ReleaseContent(
            service=self.service.service,
            runtime=described.runtime,
            model_file=assemble.place_model(directory, model_file) if model_file is not None else None,
            python_target=self.service.model.python_target,
            signature=described.signature,
            lock_file=assemble.LOCK if lock is not None else None,
            profile_file=None,
            smoke_file=None,
        )
        assemble.describe(directory, content)
        python = self.shop.serving_python if described.runtime is release.Runtime.ONNX else interpreter.python
        draft = answering.Draft(directory=directory, python=python, signature=described.signature)
        return draft, content, described, found

    def _check_lookups(self, described: release.Signature) -> None:
        """What is looked up has to be what the model takes, in every environment."""
        captures = [environment.capture for environment in self.service.environments]
        keys = {key for capture in captures if capture is not None for key in capture.keys}
        lookup_values.check(self.service.lookups, described, keys)

    def _compiled(
        self,
        original: answering.Draft,
        content: release.ReleaseContent,
        found: signature.Tables,
        interpreter: python_env.Interpreter,
        notes: list[str],
    ) -> tuple[answering.Draft, release.ReleaseContent]:
        with workshop.step(self.progress, "compile") as step:
            library = compilation.LIBRARIES.get(content.runtime)
            if library is None or not self.service.model.compile:
                step.skipped = True
                step.detail = "switched off" if library is not None else "nothing that compiles"
                note = f"Served by {library} itself: `compile` is off." if library is not None else ""
                return original, dataclasses.replace(content, compile_note=note)
            verdict = compilation.compiled(
                original,
                content,
                found=found,
                shop=self.shop,
                interpreter=interpreter,
                scratch=self.scratch,
            )
            step.detail, step.cached = verdict.note, verdict.known
        notes += verdict.measured
        if verdict.draft is None:
            return original, dataclasses.replace(content, compile_note=verdict.note)
        gates = (verdict.gate,) if verdict.gate is not None else ()
        return verdict.draft, dataclasses.replace(
            content,
            runtime=release.Runtime.ONNX,
            model_file=assemble.ONNX_FILE,
            compile_note=verdict.note,
            gates=gates,
        )

    def _tables(self, checkout: pathlib.Path, supplied: Mapping[pins.Role, pathlib.Path]) -> signature.Tables:
        named = pins.names(self.service)
        paths = [
            supplied.get(role) or (files.inside(checkout, named[role]) if role in named else None)
            for role in (pins.Role.REFERENCE, pins.Role.HOLDOUT)
        ]
        for path in paths:
            if path is not None and path.is_file() and files.is_lfs_pointer(path):
                raise errors.ConfigError(
                    f"The table {path.name} is a Git LFS pointer, not the data itself.",
                    remedy="Commit the file itself, or push it with `git lfs push`.",
                    code=errors.Code.TABLE_UNREADABLE,
                )
        reference, holdout = [self.shop.tables.read(path) if path is not None else None for path in paths]
        sha256 = files.sha256(paths[0]) if paths[0] is not None else ""
        return signature.Tables(reference=reference, holdout=holdout, reference_sha256=sha256)

    def _out_of_reach(self, model_file: pathlib.Path | None) -> pathlib.Path | None:
        """A copy that the tests, which run in the same directory as training, cannot change."""
        if model_file is None:
            return None
        kept = self.scratch / ("obtained" if model_file.is_dir() else f"obtained{model_file.suffix}")
        files.copy_model(model_file, kept)
        return kept

    def _attached(self, record: records.Record) -> release.Lineage:
        """The commit's lineage; attached once, however often the commit is built."""
        now = datetime.datetime.fromtimestamp(self.shop.clock.now(), tz=datetime.UTC)
        lineage = release.Lineage(
            commit=self.commit.id,
            branch=self.commit.branch,
            tags=self.commit.tags,
            author=self.commit.author,
            committed_at=self.commit.committed_at,
            built_at=now.strftime("%Y-%m-%dT%H:%M:%SZ"),
            tests=record.tests,
        )
        for each in self.shop.registry.lineage(record.digest):
            if dataclasses.replace(each, built_at=lineage.built_at, tests=lineage.tests) == lineage:
                return each
        self.shop.registry.attach(record.digest, lineage)
        return lineage
