"""A Windows job object: the worker and all its children end together, and with the process that holds the job."""

from __future__ import annotations

import ctypes
import logging
import subprocess
from ctypes import wintypes

KILL_ON_JOB_CLOSE = 0x2000
EXTENDED_LIMIT_INFORMATION = 9
ENDED_BY_US = 1

log = logging.getLogger(__name__)


class _BasicLimits(ctypes.Structure):
    _fields_ = (
        ("PerProcessUserTimeLimit", wintypes.LARGE_INTEGER),
        ("PerJobUserTimeLimit", wintypes.LARGE_INTEGER),
        ("LimitFlags", wintypes.DWORD),
        ("MinimumWorkingSetSize", ctypes.c_size_t),
        ("MaximumWorkingSetSize", ctypes.c_size_t),
        ("ActiveProcessLimit", wintypes.DWORD),
        ("Affinity", ctypes.c_size_t),
        ("PriorityClass", wintypes.DWORD),
        ("SchedulingClass", wintypes.DWORD),
    )


class _ExtendedLimits(ctypes.Structure):
    _fields_ = (
        ("BasicLimitInformation", _BasicLimits),
        ("IoInfo", ctypes.c_ulonglong * 6),
        ("ProcessMemoryLimit", ctypes.c_size_t),
        ("JobMemoryLimit", ctypes.c_size_t),
        ("PeakProcessMemoryUsed", ctypes.c_size_t),
        ("PeakJobMemoryUsed", ctypes.c_size_t),
    )


class KillOnCloseJob:
    """Holds the job's handle; Windows closes it when this process ends, however it ends."""

    def __init__(self, handle: int):
        self._handle = handle

    @classmethod
    def around(cls, process: subprocess.Popen) -> KillOnCloseJob | None:
        """Put a process that was just started into a new job; None where Windows refuses."""
        kernel = _kernel32()
        handle = kernel.CreateJobObjectW(None, None)
        if not handle:
            return None
        limits = _ExtendedLimits()
        limits.BasicLimitInformation.LimitFlags = KILL_ON_JOB_CLOSE
        size = ctypes.sizeof(limits)
        if kernel.SetInformationJobObject(
            handle, EXTENDED_LIMIT_INFORMATION, ctypes.byref(limits), size
        ) and kernel.AssignProcessToJobObject(handle, int(process._handle)):
            return cls(handle)
        log.warning("no job object (Windows error %d); taskkill will do", ctypes.get_last_error())
        kernel.CloseHandle(handle)
        return None

    def terminate(self) -> None:
        """End all processes in the job."""
        if self._handle:
            kernel = _kernel32()
            kernel.TerminateJobObject(self._handle, ENDED_BY_US)
            kernel.CloseHandle(self._handle)
            self._handle = 0


def _kernel32() -> ctypes.CDLL:
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    kernel.CreateJobObjectW.restype = wintypes.HANDLE
    kernel.CreateJobObjectW.argtypes = (wintypes.LPVOID, wintypes.LPCWSTR)
    kernel.SetInformationJobObject.argtypes = (wintypes.HANDLE, ctypes.c_int, wintypes.LPVOID, wintypes.DWORD)
    kernel.AssignProcessToJobObject.argtypes = (wintypes.HANDLE, wintypes.HANDLE)
    kernel.TerminateJobObject.argtypes = (wintypes.HANDLE, wintypes.UINT)
    kernel.CloseHandle.argtypes = (wintypes.HANDLE,)
    return kernel
