"""An output folder that is either complete or as it was before."""

from __future__ import annotations

import contextlib
import errno
import logging
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from HNTumorSegLib.errors import OutputError

logger = logging.getLogger(__name__)

FULL = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG}
STAGING_PREFIX = ".hntumorseg-"


@contextmanager
def staged_output(folder: str | Path) -> Iterator[Path]:
    """A temporary directory whose files appear in ``folder`` together, when the ``with`` block ends without error.

    Enter it before the long work begins: it creates ``folder`` and a file in it, so a missing permission shows at
    once. The temporary directory lies inside ``folder``, hence on the same file system, and moving is a rename.
    Files of the same name are replaced, others left alone. On any exception, Ctrl-C included, the temporary
    directory, and ``folder`` where it did not exist before, are removed and replaced files are put back.

    Raises:
        OutputError: no permission, a full disk, or a file where a folder should be; the message says where.
    """
    folder = Path(folder).absolute()
    created = _create(folder)
    stage = new = None
    try:
        stage = _open_stage(folder)
        new, old = stage / "new", stage / "old"
        new.mkdir()
        yield new
        _move_all(new, folder, old)
    except OSError as error:
        _discard(stage, created)
        if _is_ours(error, folder):
            raise _output_error(folder, error) from error
        raise
    except OutputError as error:
        _discard(stage, created)
        # The user knows the folder, not the temporary one in it.
        raise OutputError(str(error).replace(str(new), str(folder))) from error
    except BaseException:
        _discard(stage, created)
        raise
    _remove(stage)


def _create(folder: Path) -> list[Path]:
    """Create a folder and its parents; the ones that were missing, innermost first."""
    missing = []
    try:
        for path in (folder, *folder.parents):
            if path.exists():  # refused where a parent lets us see nothing
                break
            missing.append(path)
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        _discard(None, missing)
        raise _output_error(folder, error) from error
    return missing


def _open_stage(folder: Path) -> Path:
    stage = Path(tempfile.mkdtemp(prefix=STAGING_PREFIX, dir=folder))
    try:
        # A directory entry may still fit where no byte does.
        probe = stage / "probe"
        probe.write_bytes(b"\0" * 4096)
        probe.unlink()
    except OSError:
        _remove(stage)
        raise
    return stage


def _move_all(new: Path, folder: Path, old: Path) -> None:
    """Move every file below ``new`` to its place in ``folder``; what was there goes to ``old``, and back on failure."""
    moved: list[tuple[Path, Path | None]] = []
    made: list[Path] = []
    try:
        for source in sorted(path for path in new.rglob("*") if path.is_file()):
            target = folder / source.relative_to(new)
            made += _make_parents(target.parent)
            backup = None
            if target.is_file() or target.is_symlink():
                backup = old / source.relative_to(new)
                backup.parent.mkdir(parents=True, exist_ok=True)
                os.replace(target, backup)
            moved.append((target, backup))
            os.replace(source, target)
    except BaseException:
        for target, backup in reversed(moved):
            with contextlib.suppress(OSError):
                if backup is not None:
                    os.replace(backup, target)
                elif target.is_file():
                    target.unlink()
        for path in reversed(made):
            with contextlib.suppress(OSError):
                path.rmdir()
        raise


def _make_parents(folder: Path) -> list[Path]:
    """Create a folder; those that were missing, outermost first."""
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return missing[::-1]


def _discard(stage: Path | None, created: list[Path]) -> None:
    """Remove the temporary directory and the folders we made, as far as they are empty."""
    if stage is not None:
        _remove(stage)
    for path in created:
        with contextlib.suppress(OSError):
            path.rmdir()


def _remove(stage: Path) -> None:
    shutil.rmtree(stage, ignore_errors=True)
    if stage.exists():
        logger.warning("The temporary folder '%s' could not be removed; delete it by hand.", stage)


def _is_ours(error: OSError, folder: Path) -> bool:
    """Whether an error comes from writing here, not from something else in the block (an input file, a socket)."""
    if error.errno in FULL:
        return True
    names = [Path(os.fsdecode(n)) for n in (error.filename, error.filename2) if isinstance(n, (str, bytes, Path))]
    return any(name == folder or folder in name.parents for name in names)


def _output_error(folder: Path, error: OSError) -> OutputError:
    """The sentence for a failure of the file system."""
    if error.errno in FULL:
        reason = "does not allow a file that large" if error.errno == errno.EFBIG else "is full"
        return OutputError(
            f"The disk of the output folder '{folder}' {reason}; nothing was written. Make room or choose another "
            "folder with --out."
        )
    if error.errno in {errno.EACCES, errno.EPERM, errno.EROFS}:
        return OutputError(
            f"No permission to write into the output folder '{folder}'; nothing was written. Choose another folder "
            "with --out or ask for write permission."
        )
    if error.errno in {errno.ENOTDIR, errno.EEXIST, errno.EISDIR}:
        return OutputError(
            f"The output folder '{folder}' cannot be used: {error.strerror} ('{error.filename2 or error.filename}'). "
            "Choose another folder with --out or move what is in the way."
        )
    return OutputError(
        f"The output folder '{folder}' cannot be written: {error.strerror or error}. Choose another folder with --out."
    )
