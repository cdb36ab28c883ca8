"""Writing an image so that a failure is a sentence and a cut-off file is never taken for a good one."""

from __future__ import annotations

import gzip
import shutil
from pathlib import Path

import SimpleITK as sitk

from HNTumorSegLib.errors import OutputError

FULL_BELOW_BYTES = 1 << 16


def write_image(image: sitk.Image, path: str | Path) -> Path:
    """Write an image, compressed; the file name decides the format.

    Raises:
        OutputError: when the file cannot be written whole (no permission, full disk, unknown format).
    """
    path = Path(path)
    try:
        # Opening it ourselves gives the system's own reason (permission, missing folder, full disk).
        with path.open("wb") as file:
            file.write(b"\0" * 4096)
        sitk.WriteImage(image, str(path), useCompression=True)
        _require_whole(path)
    except (OSError, EOFError, RuntimeError) as error:
        reason = _reason(error, path)
        path.unlink(missing_ok=True)
        raise OutputError(
            f"'{path}' cannot be written: {reason}. Make room on the disk or choose another output folder."
        ) from error
    return path


def _reason(error: Exception, path: Path) -> str:
    """Why, in words; while the cut-off file is still there, a full disk is seen to be full."""
    if path.exists() and shutil.disk_usage(path.parent).free < FULL_BELOW_BYTES:
        return "the disk is full"
    if isinstance(error, EOFError):
        return "the file was cut short"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error).strip().splitlines()[-1].removeprefix("sitk::ERROR: ")


def _require_whole(path: Path) -> None:
    """Raise EOFError or OSError for a gzip file cut short: ITK's NIfTI writer does not notice a full disk."""
    if path.suffix != ".gz":
        return
    with gzip.open(path, "rb") as file:
        while file.read(1 << 20):
            pass
