"""Names, records, logs, the run directory and the lock: everything of the local adapter that is only files."""

from __future__ import annotations

import os
import pathlib
import tempfile

import hypothesis
import hypothesis.strategies as st
import pytest

from softlaunch import errors
from softlaunch.adapters.local import launch, lock, logs, records, rundir
from softlaunch.core import release
from softlaunch.ports import fleet

DIGEST = release.Digest("sha256:" + "a1" * 32)


def spec(*, service: str = "flights", number: int = 0, env: dict[str, str] | None = None) -> fleet.ReplicaSpec:
    name = f"{service}/production/{DIGEST.short}/{number}"
    return fleet.ReplicaSpec(
        name=name, service=service, environment="production", release=DIGEST, number=number, env=env or {}
    )


def record(name: str = "flights/production/a1a1a1a1a1a1/0") -> records.Record:
    return records.Record(name=name, token="t", stage=records.Stage.RUNNING, socket="/s", log="/l", pid=7, started=1.5)


NAMES = st.text(st.sampled_from("ab./%- ~é"), min_size=1)


@hypothesis.given(NAMES, NAMES)
def test_different_names_have_different_files_that_stay_in_their_folder(one: str, other: str) -> None:
    assert (records.file_name(one) == records.file_name(other)) == (one == other)
    assert "/" not in records.file_name(one)


def test_a_usual_name_stays_readable() -> None:
    assert records.file_name("flight-delay/production/a1a1a1a1a1a1/0") == "flight-delay.production.a1a1a1a1a1a1.0"


@pytest.mark.parametrize("service", ["a", "x" * 200])
def test_a_socket_s_name_starts_with_the_release_and_is_short_for_any_service(service: str) -> None:
    name = records.socket_name(spec(service=service, number=2**32))

    assert name.startswith(DIGEST.short + ".")
    assert len(name) <= records.SOCKET_NAME_BYTES_MAX


def test_socket_paths_fit_however_long_the_home() -> None:
    run_dir = rundir.path_for(pathlib.Path("/" + "very-long/" * 100))

    assert len(str(run_dir)) + 1 + records.SOCKET_NAME_BYTES_MAX < 100


def test_a_saved_record_is_loaded_as_it_was(tmp_path: pathlib.Path) -> None:
    saved = records.Records(tmp_path)
    saved.save(record())

    assert list(saved.load()) == [record()]


def test_a_removed_record_is_gone_and_may_be_removed_again(tmp_path: pathlib.Path) -> None:
    saved = records.Records(tmp_path)
    saved.save(record())
    saved.remove(record().name)
    saved.remove(record().name)

    assert list(saved.load()) == []


def test_a_record_can_be_read_by_its_owner_only(tmp_path: pathlib.Path) -> None:
    records.Records(tmp_path).save(record())

    assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"name": 1}', b"\xff\xfe"])
def test_a_record_that_cannot_be_read_is_named_by_its_path(tmp_path: pathlib.Path, content: bytes) -> None:
    (tmp_path / "torn.json").write_bytes(content)

    assert list(records.Records(tmp_path).load()) == [tmp_path / "torn.json"]


def test_a_log_that_grows_too_large_is_cut_and_its_end_kept(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.log"
    fd = logs.open_to_append(path)
    os.write(fd, b"a" * (logs.SIZE_BYTES_MAX + 1) + b"the end")
    logs.cap(path)
    os.write(fd, b"after")
    os.close(fd)

    assert path.read_bytes() == b"after"
    assert (tmp_path / "x.log.1").read_bytes().endswith(b"the end")
    assert (tmp_path / "x.log.1").stat().st_size == logs.KEPT_BYTES


def test_a_log_within_its_size_is_left_alone(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.log"
    path.write_bytes(b"a" * 100)
    logs.cap(path)

    assert list(tmp_path.iterdir()) == [path]


def test_the_tail_is_the_last_ten_lines_of_this_life(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("before\n")
    offset = logs.size(path)
    path.write_text("before\n" + "".join(f"{number}\n" for number in range(20)))

    assert logs.tail(path, offset=offset).splitlines() == [str(number) for number in range(10, 20)]


def test_the_tail_of_a_log_cut_since_is_what_is_there(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.log"
    path.write_text("short\n")

    assert logs.tail(path, offset=1000) == "short"


def test_the_tail_of_a_missing_log_is_empty(tmp_path: pathlib.Path) -> None:
    assert logs.tail(tmp_path / "none.log") == ""


def test_the_logs_written_to_longest_ago_are_removed_beyond_the_count(tmp_path: pathlib.Path) -> None:
    for number in range(logs.FILE_COUNT_MAX + 2):
        path = tmp_path / f"{number}.log"
        path.touch()
        os.utime(path, (number, number))
    logs.prune(tmp_path)

    left = {path.name for path in tmp_path.iterdir()}
    assert len(left) == logs.FILE_COUNT_MAX
    assert not {"0.log", "1.log"} & left


def test_an_environment_is_what_is_needed_then_asked_for_then_prepared(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("GITHUB_TOKEN", "secret")
    prepared = launch.Launch(
        python=pathlib.Path("p"), release_directory=pathlib.Path("r"), env={"PYTHONPATH": "/shim", "B": "launch"}
    )
    asked = {"A": "spec", "B": "spec", "PYTHONPATH": "/mine", "SOFTLAUNCH_INSTANCE": "forged"}

    found = launch.environment(prepared, spec(env=asked), record(), fleet_mark="/run")

    assert found["LC_ALL"] == "C.UTF-8"
    assert "GITHUB_TOKEN" not in found
    assert (found["A"], found["B"], found["PYTHONPATH"]) == ("spec", "launch", "/shim")
    assert found["SOFTLAUNCH_INSTANCE"] == "t"


@pytest.mark.parametrize(
    ("returncode", "words"),
    [(3, "exit code 3"), (0, "exit code 0"), (-9, "SIGKILL"), (-250, "signal 250")],
)
def test_an_exit_is_put_in_words(returncode: int, words: str) -> None:
    assert words in launch.describe_exit(returncode)


def test_a_run_directory_is_made_for_its_owner_only() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        path = pathlib.Path(parent) / "run"
        rundir.prepare(path)
        rundir.prepare(path)

        assert path.stat().st_mode & 0o777 == 0o700
        assert rundir.fault_of(path) is None


def test_a_run_directory_others_may_write_to_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        path = pathlib.Path(parent) / "run"
        path.mkdir()
        path.chmod(0o777)

        with pytest.raises(errors.ConflictError, match="may be written by others"):
            rundir.prepare(path)


def test_a_link_in_place_of_the_run_directory_is_refused() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as parent:
        path = pathlib.Path(parent) / "run"
        path.symlink_to(parent)

        with pytest.raises(errors.ConflictError, match="is not a directory"):
            rundir.prepare(path)


def test_a_run_directory_too_long_for_sockets_is_refused(tmp_path: pathlib.Path) -> None:
    with pytest.raises(errors.ConfigError, match="too long") as caught:
        rundir.prepare(tmp_path / ("x" * 100))

    assert caught.value.code is errors.Code.RUN_DIR_UNUSABLE


def test_the_same_home_has_the_same_run_directory_however_it_is_written(tmp_path: pathlib.Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)

    assert rundir.path_for(tmp_path) == rundir.path_for(tmp_path / "link")
    assert rundir.path_for(tmp_path) != rundir.path_for(tmp_path / "other")


def test_a_free_home_has_no_holder(tmp_path: pathlib.Path) -> None:
    assert lock.holder(tmp_path) is None
    lock.HomeLock(tmp_path).acquire()


def test_a_locked_home_is_refused_with_the_holder_s_pid_and_what_to_do(tmp_path: pathlib.Path) -> None:
    with lock.HomeLock(tmp_path):
        with pytest.raises(errors.ConflictError, match=rf"process {os.getpid()}\b") as caught:
            lock.HomeLock(tmp_path).acquire()

        assert caught.value.code is errors.Code.HOME_LOCKED
        assert "softlaunch down" in caught.value.remedy
        assert lock.holder(tmp_path) == os.getpid()


def test_a_released_lock_may_be_taken_again(tmp_path: pathlib.Path) -> None:
    mine = lock.HomeLock(tmp_path)
    for _ in range(2):
        with mine:
            pass
    with lock.HomeLock(tmp_path):
        mine.release()

        assert lock.holder(tmp_path) == os.getpid()


def test_a_home_is_made_for_its_owner_only(tmp_path: pathlib.Path) -> None:
    with lock.HomeLock(tmp_path / "new" / "home"):
        assert (tmp_path / "new" / "home").stat().st_mode & 0o777 == 0o700


def test_a_home_that_is_a_file_is_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "home").touch()

    with pytest.raises(errors.UnavailableError, match="cannot be opened"):
        lock.HomeLock(tmp_path / "home").acquire()
