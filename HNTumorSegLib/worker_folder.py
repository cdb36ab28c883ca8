"""The temporary folder through which images go to the worker and back: patient data, so none of it may stay."""

from __future__ import annotations

import logging
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import BinaryIO

PREFIX = "hntumorseg-worker-"
LOCK_FILE = "in_use"
NEW_S = 60.0
"""A folder this young may be about to be locked by the process that just made it."""

log = logging.getLogger(__name__)


class WorkerFolder:
    """A folder that is removed when it is closed, or else when the next one is made.

    A lock on a file in it lasts as long as this process: where it can be taken, the process that made the folder
    crashed, and what it left is removed.

    Args:
        parent: where the folder is made; None: the system's temporary folder.
    """

    def __init__(self, parent: Path | None = None):
        self._remove_abandoned(Path(parent or tempfile.gettempdir()))
        self.path = Path(tempfile.mkdtemp(prefix=PREFIX, dir=parent))
        self._lock = open(self.path / LOCK_FILE, "wb")  # noqa: SIM115 - held until close
        _try_lock(self._lock)

    def close(self) -> None:
        """Remove the folder and all that is in it."""
        self._lock.close()
        remove(self.path)

    @staticmethod
    def _remove_abandoned(parent: Path) -> None:
        for lock_file in parent.glob(f"{PREFIX}*/{LOCK_FILE}"):
            try:
                if time.time() - lock_file.stat().st_mtime < NEW_S:
                    continue
                with open(lock_file, "r+b") as lock:
                    abandoned = _try_lock(lock)
            except OSError:  # another user's, or removed at this moment
                continue
            if abandoned:
                log.info("removing %s, left by a process that crashed", lock_file.parent)
                remove(lock_file.parent)


def remove(folder: Path) -> None:
    """Remove a folder; what cannot be removed now (a file open on Windows) is left for a later time."""
    shutil.rmtree(folder, ignore_errors=True)


def _try_lock(file: BinaryIO) -> bool:
    """Lock the file until it is closed; False when another process holds it."""
    try:
        if sys.platform == "win32":
            import msvcrt

            msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        else:
            import fcntl

            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True
