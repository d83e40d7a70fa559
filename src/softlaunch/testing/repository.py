"""
A git server and the copy of its repository, in memory; see ports.repository.

Commits have files and parents; branches point at them. To play a server that is down, set `reachable`; one that
refuses pushes to some branches, `protected`.
"""

from __future__ import annotations

import hashlib
import pathlib
from collections.abc import Mapping, Sequence

from softlaunch import errors
from softlaunch.ports import repository


class MemoryRepository:
    """A ports.repository.Repository and Reverts. The service's folder is the top."""

    def __init__(self, directory: pathlib.Path) -> None:
        self._directory = directory
        self._files: dict[str, Mapping[str, bytes]] = {}
        self._parents: dict[str, tuple[str, ...]] = {}
        self._server: dict[str, str] = {}
        self._copied: set[str] = set()
        self.signed: set[str] = set()
        self.reachable = True
        self.protected: frozenset[str] = frozenset()
        self.look_count = 0

    # ------------------------------------------------------------------------------------------ what people do

    def commit(
        self, files: Mapping[str, bytes], *, branch: str = "main", also: Sequence[str] = (), new: bool = True
    ) -> str:
        """
        A commit with exactly these files, pushed.

        Args:
            files: All of them.
            branch: Where; it begins with it when there is none.
            also: Further parents: it is a merge.
            new: After the branch's tip; False: in its place (a force-push).
        """
        tip = self._server.get(branch) if new else None
        made = self._make(files, (*((tip,) if tip else ()), *also))
        self._server[branch] = made
        return made

    def point(self, branch: str, commit: str) -> None:
        """The branch has that commit now."""
        self._server[branch] = commit

    def tip(self, branch: str) -> str:
        return self._server[branch]

    def files(self, commit: str) -> Mapping[str, bytes]:
        return self._files[commit]

    # ------------------------------------------------------------------------------------------------ the ports

    def look(self) -> repository.Heads:
        """See ports.repository.Repository.look."""
        self._reach()
        self.look_count += 1
        default = "main" if "main" in self._server else ""
        return repository.Heads(default=default, branches=dict(self._server))

    def fetch(self) -> None:
        """See ports.repository.Repository.fetch."""
        self._reach()
        for tip in self._server.values():
            self._copied |= self._ancestors(tip)

    def read(self, commit: str, path: str) -> bytes | None:
        """See ports.repository.Repository.read."""
        return self._files[commit].get(path) if commit in self._copied else None

    def tree(self, commit: str) -> str:
        """See ports.repository.Repository.tree."""
        if commit not in self._copied:
            return ""
        files = self._files[commit]
        return _hash(*(part for name in sorted(files) for part in (name.encode(), files[name])))

    def descends(self, commit: str, ancestor: str) -> bool:
        """See ports.repository.Repository.descends."""
        return commit in self._copied and ancestor in self._ancestors(commit)

    def unsigned(self, commit: str) -> str:
        """See ports.repository.Repository.unsigned."""
        return "" if commit in self.signed else f"{commit[:12]} has no good signature: it carries none"

    def checkout(self, place: str, *, branch: str, commit: str) -> pathlib.Path:
        """See ports.repository.Repository.checkout."""
        if commit not in self._copied:
            raise errors.UnavailableError(
                f"{branch} has no commit {commit[:12]}.", remedy="Fetch.", code=errors.Code.GIT_FAILED
            )
        folder = self._directory / place
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.iterdir():
            path.unlink()
        for name, raw in self._files[commit].items():
            (folder / name).write_bytes(raw)
        return folder

    def keep(self, branch: str, commit: str) -> None:
        """See ports.repository.Repository.keep. Nothing is ever lost here."""

    def write(self, *, tip: str, bad: str, good: Sequence[str], reason: str, at: float) -> str:
        """See ports.repository.Reverts.write. Files are the lines it merges."""
        way = self._way(tip)
        bad = bad if bad in way else tip
        before = way[way.index(bad) + 1 :]
        if not before:
            raise _conflict(f"{bad[:12]} is the first commit.")
        old = self._files[next((each for each in before if each in set(good)), before[0])]
        wrong, new = self._files[bad], self._files[tip]
        merged = {}
        for name in {*old, *wrong, *new}:
            if wrong.get(name) == old.get(name):
                chosen = new.get(name)
            elif new.get(name) in (wrong.get(name), old.get(name)):
                chosen = old.get(name)
            else:
                raise _conflict(f"What came after {bad[:12]} changed {name}.")
            if chosen is not None:
                merged[name] = chosen
        made = self._make(merged, (tip,), salt=f"{reason} {at}")
        self._copied.add(made)
        return made

    def push(self, commit: str, *, branch: str, into: str = "") -> str:
        """See ports.repository.Reverts.push."""
        self._reach()
        known = self._server.get(branch)
        moved = known is not None and known not in self._ancestors(commit)
        if branch in self.protected or moved:
            raise errors.ConflictError(
                f"The git server refuses a push to {branch}.", remedy="Ask for it.", code=errors.Code.GIT_REFUSED
            )
        self._server[branch] = commit
        return f"merge it into {into}" if into else ""

    def _make(self, files: Mapping[str, bytes], parents: tuple[str, ...], salt: str = "") -> str:
        content = [part for name in sorted(files) for part in (name.encode(), files[name])]
        count = "" if salt else str(len(self._files))
        made = _hash(*content, *(parent.encode() for parent in parents), salt.encode(), count.encode())
        self._files[made], self._parents[made] = dict(files), parents
        return made

    def _ancestors(self, commit: str) -> set[str]:
        found, ahead = set(), [commit]
        while ahead:
            each = ahead.pop()
            if each not in found:
                found.add(each)
                ahead.extend(self._parents[each])
        return found

    def _way(self, commit: str) -> list[str]:
        way = [commit]
        while self._parents[way[-1]]:
            way.append(self._parents[way[-1]][0])
        return way

    def _reach(self) -> None:
        if not self.reachable:
            raise errors.UnavailableError(
                "The git server cannot be reached.", remedy="Wait.", code=errors.Code.GIT_FAILED
            )


def _conflict(message: str) -> errors.ConfigError:
    return errors.ConfigError(message, remedy="Commit what mends it.", code=errors.Code.REVERT_CONFLICT)


def _hash(*parts: bytes) -> str:
    total = hashlib.sha1(usedforsecurity=False)
    for part in parts:
        total.update(len(part).to_bytes(8, "big") + part)
    return total.hexdigest()
