"""
What a repository says about each environment: one question to its server, the rest from the copy kept here.

The default branch's softlaunch.yaml names the environments and their branches. Each branch then speaks for its own: an
environment follows a branch when the softlaunch.yaml at that branch's tip says so too. Whatever a payload, a tag or
another branch says changes nothing.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping

from softlaunch import errors
from softlaunch.controller import arms, follow_state
from softlaunch.core import spec
from softlaunch.ports import repository

FILE_NAME = "softlaunch.yaml"
ReadService = Callable[[bytes], spec.ServiceSpec]
"""Parses softlaunch.yaml; raises ConfigError."""
_DEFAULTS = ("main", "master")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Seen:
    """What a look found."""

    heads: Mapping[str, str]
    targets: tuple[follow_state.Target, ...]
    trouble: str = ""
    """Why nothing can be followed; empty: nothing is wrong."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    """What a look depends on besides the server; asked from a copy, so that it may be done in another thread."""

    follow: follow_state.Follow
    branches: Mapping[str, follow_state.Branch]
    allowed: frozenset[str]
    before: Seen | None
    """What the last look found, when nothing but the server can have changed since."""


def look(question: Question, place: repository.Repository, read: ReadService) -> Seen:
    """
    Asks the server, brings the copy up to date when that is needed, and reads it.

    Raises:
        UnavailableError: the server cannot be reached.
    """
    heads = place.look()
    if question.before is not None and question.before.heads == heads.branches:
        return question.before
    place.fetch()
    default = heads.default or next((name for name in _DEFAULTS if name in heads.branches), "")
    if default not in heads.branches:
        return Seen(heads=heads.branches, targets=(), trouble="The repository has no default branch with a commit.")
    reader = _Reader(question.follow, heads.branches, place, read)
    try:
        named = reader.service(default)
    except errors.ConfigError as error:
        return Seen(heads=heads.branches, targets=(), trouble=error.message)
    wanted = {found.name: found.branch for found in named.environments if found.branch is not None}
    for branch in sorted(set(wanted.values())):
        wanted |= {name: branch for name in reader.claimed(branch) if name not in wanted}
    targets = [_target(name, branch, question, reader, place) for name, branch in wanted.items()]
    order = {name: len(target.chain) for name, target in zip(wanted, targets, strict=True)}
    targets.sort(key=lambda found: (order[found.environment], found.environment))
    return Seen(heads=heads.branches, targets=tuple(targets))


class _Reader:
    """softlaunch.yaml at the tips of branches."""

    def __init__(
        self,
        follow: follow_state.Follow,
        heads: Mapping[str, str],
        place: repository.Repository,
        read: ReadService,
    ) -> None:
        self.heads = heads
        self._follow = follow
        self._place = place
        self._read = read

    def service(self, branch: str) -> spec.ServiceSpec:
        """
        Raises:
            ConfigError: it is not there, has mistakes, or describes another service.
        """
        raw = self._place.read(self.heads[branch], FILE_NAME)
        where = f"{self._follow.folder}/{FILE_NAME}" if self._follow.folder else FILE_NAME
        if raw is None:
            raise _unusable(f"There is no {where} on {branch}.")
        found = self._read(raw)
        if found.service != self._follow.service:
            raise _unusable(f"{where} on {branch} describes {found.service!r}, not {self._follow.service!r}.")
        return found

    def claimed(self, branch: str) -> Iterable[str]:
        """Environments that the branch says are its own."""
        if branch not in self.heads:
            return ()
        try:
            return [found.name for found in self.service(branch).environments if found.branch == branch]
        except errors.ConfigError:
            return ()  # said where its environments are looked at


def _target(
    name: str, branch: str, question: Question, reader: _Reader, place: repository.Repository
) -> follow_state.Target:
    commit = reader.heads.get(branch, "")
    if not commit:
        trouble = f"The repository has no branch {branch!r}."
        return follow_state.Target(environment=name, branch=branch, commit="", trouble=trouble, chain=(name,))
    chain: tuple[str, ...] = (name,)
    trouble = settings = ""
    try:
        service = reader.service(branch)
        found = service.environment(name)
        if found is None or found.branch != branch:
            other = f"follows {found.branch!r}" if found is not None else "does not exist"
            trouble = f"By the {FILE_NAME} on {branch}, {name} {other}."
        else:
            chain, settings = _chain(service, found), arms.rendered(found)
    except errors.ConfigError as error:
        trouble = f"{branch}: {error.message}"
    return follow_state.Target(
        environment=name,
        branch=branch,
        commit=commit,
        tree=place.tree(commit),
        trouble=_distrust(branch, commit, question, place) or trouble,
        chain=chain,
        settings=settings,
    )


def _distrust(branch: str, commit: str, question: Question, place: repository.Repository) -> str:
    """Why the tip must not be followed; empty: it may."""
    if commit in question.allowed:
        return ""
    known = question.branches.get(branch, follow_state.Branch()).accepted
    remedy = f"`softlaunch sync {question.follow.service} --accept {commit}` follows it all the same."
    if known and known != commit and not place.descends(commit, known):
        return f"{branch} was rewritten: {commit[:12]} does not come after {known[:12]}. {remedy}"
    if question.follow.require_signed_commits:
        unsigned = place.unsigned(commit)
        if unsigned:
            return f"{unsigned}. {remedy}"
    return ""


def _chain(service: spec.ServiceSpec, target: spec.EnvironmentSpec) -> tuple[str, ...]:
    names = [target.name]
    before = target.after
    while before is not None and before not in names:
        names.insert(0, before)
        found = service.environment(before)
        before = found.after if found is not None else None
    return tuple(names)


def _unusable(message: str) -> errors.ConfigError:
    return errors.ConfigError(
        message, remedy="Commit it there, or name the service's folder.", code=errors.Code.SERVICE_FILE
    )
