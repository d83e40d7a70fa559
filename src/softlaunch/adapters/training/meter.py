"""What a tree of processes takes, by psutil and nvidia-smi; see ports.process_meter."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import time

import psutil

from softlaunch.ports import process_meter

_SMI_SECONDS_MAX = 3.0
_MIB = 1 << 20
_SMI = ("--query-gpu=name,utilization.gpu,memory.used", "--format=csv,noheader,nounits")


class TreeMeter:
    """
    See ports.process_meter.ProcessMeter.

    A process that starts and ends between two samples is not seen; the whole time of CPU is known when the run ends.

    Args:
        pid: The program that was started.
        smi: Path of nvidia-smi, None where there is none.
    """

    def __init__(self, pid: int, smi: str | None) -> None:
        self._pid = pid
        self._smi = smi
        self._cpu_seconds: dict[tuple[int, float], float] = {}
        self._before = (time.monotonic(), 0.0)
        self._network = _network()

    def sample(self) -> process_meter.Sample:
        """See ports.process_meter.ProcessMeter.sample."""
        ram_bytes = count = 0
        for process in self._tree():
            with contextlib.suppress(psutil.Error), process.oneshot():
                times = process.cpu_times()
                self._cpu_seconds[process.pid, process.create_time()] = times.user + times.system
                ram_bytes += process.memory_info().rss
                count += 1
        now, total = time.monotonic(), sum(self._cpu_seconds.values())
        elapsed, used = now - self._before[0], total - self._before[1]
        self._before = (now, total)
        network, first = _network(), self._network
        known = network is not None and first is not None
        gpu = self._gpu()
        return process_meter.Sample(
            at=time.time(),
            cpu_seconds=total,
            cpu_percent=100 * used / elapsed if elapsed > 0 else 0.0,
            ram_bytes=ram_bytes,
            process_count=count,
            received_bytes=network[0] - first[0] if known and network and first else None,
            sent_bytes=network[1] - first[1] if known and network and first else None,
            gpu=gpu[0] if gpu else None,
            gpu_percent=gpu[1] if gpu else None,
            gpu_memory_bytes=gpu[2] if gpu else None,
        )

    def _tree(self) -> list[psutil.Process]:
        try:
            root = psutil.Process(self._pid)
            return [root, *root.children(recursive=True)]
        except psutil.Error:
            return []

    def _gpu(self) -> tuple[str, float, int] | None:
        """Names, the busiest one's percent, and memory of all; None where there is none that answers."""
        if self._smi is None:
            return None
        try:
            said = subprocess.run(
                [self._smi, *_SMI], capture_output=True, text=True, timeout=_SMI_SECONDS_MAX, check=True
            ).stdout
            rows = [[cell.strip() for cell in line.split(",")] for line in said.splitlines() if line.strip()]
            if not rows:
                return None
            memory = sum(int(float(row[2]) * _MIB) for row in rows)
            return ", ".join(row[0] for row in rows), max(float(row[1]) for row in rows), memory
        except (OSError, subprocess.SubprocessError, ValueError, IndexError):
            return None


def nvidia_smi() -> str | None:
    """Where the program is, None where it is not installed."""
    return shutil.which("nvidia-smi")


def _network() -> tuple[int, int] | None:
    try:
        found = psutil.net_io_counters(nowrap=True)
    except (OSError, RuntimeError):
        return None
    return (found.bytes_recv, found.bytes_sent) if found is not None else None
