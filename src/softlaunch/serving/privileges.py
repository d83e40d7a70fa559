"""
Takes from root what lets it write where the modes of files forbid it.

Unpacked releases are read-only (0444, 0555). That binds everybody but root, whose CAP_DAC_OVERRIDE passes over modes.
The model server does without it, and so does whatever it starts: a model that writes into its own release gets a
PermissionError. This is a guard against accidents. The owner of a file may change its mode back, root or not; a model
that must be distrusted needs a user or a container of its own.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import pathlib
import stat
import sys
from collections.abc import Iterable

_DAC_OVERRIDE = 1
_CAPBSET_DROP = 24
"""Of prctl(2): programs started later do not get it back."""
_VERSION_3 = 0x20080522
"""Of capget(2) and capset(2), since Linux 2.6.26: two words of 32 capabilities each."""


class _Header(ctypes.Structure):
    _fields_ = (("version", ctypes.c_uint32), ("pid", ctypes.c_int))


class _Words(ctypes.Structure):
    _fields_ = (("effective", ctypes.c_uint32), ("permitted", ctypes.c_uint32), ("inheritable", ctypes.c_uint32))


def drop(written: Iterable[pathlib.Path]) -> bool:
    """
    Whether this thread and those it starts are bound by the modes of files now.

    Args:
        written: Directories this process has to write to. Where root owns one of them not, it keeps what it has.
    """
    if os.geteuid() != 0:
        return True
    if sys.platform != "linux" or not all(_may_write(each) for each in written):
        return False
    with contextlib.suppress(OSError, AttributeError):  # a C library without these, or a sandbox that forbids them
        library = ctypes.CDLL(None, use_errno=True)
        header, words = _Header(_VERSION_3, 0), (_Words * 2)()
        if library.capget(ctypes.byref(header), words) == 0:
            library.prctl(_CAPBSET_DROP, _DAC_OVERRIDE, 0, 0, 0)
            kept = ~(1 << _DAC_OVERRIDE) & 0xFFFFFFFF
            words[0].effective &= kept
            words[0].permitted &= kept
            words[0].inheritable &= kept
            return bool(library.capset(ctypes.byref(header), words) == 0)
    return False


def _may_write(directory: pathlib.Path) -> bool:
    """Root may write there by the modes alone."""
    for each in (directory, *directory.parents):
        with contextlib.suppress(FileNotFoundError):
            found = each.stat()
            return (found.st_uid == 0 and bool(found.st_mode & stat.S_IWUSR)) or bool(found.st_mode & stat.S_IWOTH)
    return False
