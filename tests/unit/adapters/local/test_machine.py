"""Judgements of `softlaunch doctor`, each at its border."""

from __future__ import annotations

import pathlib

import pytest

from softlaunch.adapters.local import machine

HOME = pathlib.Path("/home/ada/.softlaunch")
BINARY = pathlib.Path("/venv/envoy")


@pytest.mark.parametrize(
    ("check", "state"),
    [
        (machine.python((3, 10, 14)), "problem"),
        (machine.python((3, 11, 0)), "ok"),
        (machine.platform("Linux", "x86_64"), "ok"),
        (machine.platform("Linux", "aarch64"), "ok"),
        (machine.platform("Darwin", "arm64"), "warning"),
        (machine.platform("Darwin", "x86_64"), "problem"),
        (machine.platform("Windows", "AMD64"), "problem"),
        (machine.glibc("2.31"), "ok"),
        (machine.glibc("2.28"), "problem"),
        (machine.glibc(None), "problem"),
        (machine.envoy("1.40.0", binary=BINARY, reported="1.40.0"), "ok"),
        (machine.envoy(None, binary=BINARY, reported="1.41.1"), "ok"),
        (machine.envoy("1.40.0", binary=BINARY, reported=None), "problem"),
        (machine.envoy("1.40.0", binary=None, reported=None), "problem"),
        (machine.envoy(None, binary=BINARY, reported="1.9.0"), "problem"),
        (machine.port(8080, "production", taken_by=None, ours=False), "ok"),
        (machine.port(8080, "production", taken_by="envoy (process 7)", ours=True), "ok"),
        (machine.port(8080, "production", taken_by="nginx (process 7)", ours=False), "problem"),
        (machine.disk("disk", HOME, free_bytes=511 * machine.MIB), "problem"),
        (machine.disk("disk", HOME, free_bytes=2 * machine.GIB), "warning"),
        (machine.disk("disk", HOME, free_bytes=5 * machine.GIB), "ok"),
        (machine.socket_space(HOME, free_bytes=15 * machine.MIB), "problem"),
        (machine.socket_space(HOME, free_bytes=16 * machine.MIB), "ok"),
        (machine.memory(available_bytes=511 * machine.MIB), "problem"),
        (machine.memory(available_bytes=machine.GIB), "warning"),
        (machine.memory(available_bytes=2 * machine.GIB), "ok"),
        (machine.open_files(soft=256, hard=512), "problem"),
        (machine.open_files(soft=256, hard=65_536), "problem"),
        (machine.open_files(soft=1024, hard=65_536), "warning"),
        (machine.open_files(soft=4096, hard=65_536), "ok"),
        (machine.inotify(instances=128, watches=65_536), "ok"),
        (machine.inotify(instances=8, watches=65_536), "problem"),
        (machine.inotify(instances=128, watches=10), "problem"),
        (machine.clock(year=1970, drift_seconds=0.0), "problem"),
        (machine.clock(year=2026, drift_seconds=0.0), "ok"),
        (machine.clock(year=2026, drift_seconds=-0.2), "warning"),
        (machine.file_system(HOME, "nfs4"), "warning"),
        (machine.file_system(HOME, "ext4"), "ok"),
        (machine.file_system(HOME, ""), "ok"),
        (machine.run_directory(HOME, fault=None), "ok"),
        (machine.run_directory(HOME, fault="belongs to user 0"), "problem"),
        (machine.socket_path(byte_count=99, byte_count_max=99), "ok"),
        (machine.socket_path(byte_count=100, byte_count_max=99), "problem"),
        (machine.home(HOME, owner=1000, user=1000, writable=True), "ok"),
        (machine.home(HOME, owner=None, user=1000, writable=True), "ok"),
        (machine.home(HOME, owner=0, user=1000, writable=True), "problem"),
        (machine.home(HOME, owner=1000, user=1000, writable=False), "problem"),
        (machine.uv("/venv/bin/uv"), "ok"),
        (machine.uv(None), "problem"),
    ],
)
def test_a_value_is_judged_at_its_border(check: machine.Check, state: str) -> None:
    assert check.state == state
    assert check.detail
    assert bool(check.remedy) == (state != "ok")  # what is not well has a remedy, what is well needs none


def test_a_wheel_without_envoy_inside_is_named() -> None:
    check = machine.envoy("1.31.2", binary=None, reported=None)

    assert check.state == "problem"
    assert "1.31.2" in check.detail
    assert "Docker" in check.detail


def test_whoever_takes_a_port_is_named() -> None:
    assert "nginx (process 7)" in machine.port(8080, "production", taken_by="nginx (process 7)", ours=False).detail
