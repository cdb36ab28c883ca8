"""A folder or a zip file as a folder to read from, with the zip file's dangers kept out."""

from __future__ import annotations

import stat
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from HNTumorSegLib.errors import ModelError

MAXIMUM_UNPACKED_BYTES = 16 * 2**30
MAXIMUM_FILES = 10_000
MAXIMUM_RATIO = 200
"""Weights hardly compress; a file that grows more than this was made to fill the disk."""

SMALL_BYTES = 2**20
CHUNK = 2**20


@contextmanager
def opened_archive(source: Path, near: Path) -> Iterator[Path]:
    """The folder ``source``, or the contents of the zip file ``source`` in a temporary folder in ``near``.

    Raises :class:`ModelError` for anything else, and for a zip file with paths that lead out of it, links, encrypted
    entries, the same name twice, or far more contents than its size; nothing of it is then left.
    """
    if source.is_dir():
        yield source
        return
    if not source.is_file():
        raise ModelError(f"'{source}' does not exist. Give the folder or the zip file of a model.")
    if not zipfile.is_zipfile(source):
        raise ModelError(f"'{source}' is neither a folder nor a zip file.")
    near.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".unpacked-", dir=near) as folder:
        try:
            with zipfile.ZipFile(source) as archive:
                _extract(archive, Path(folder), source)
        except (zipfile.BadZipFile, EOFError, NotImplementedError, RuntimeError, OSError) as error:
            raise ModelError(f"The zip file '{source}' cannot be unpacked: {error}. Copy it again.") from error
        yield Path(folder)


def _extract(archive: zipfile.ZipFile, folder: Path, source: Path) -> None:
    entries = archive.infolist()
    _check_entries(entries, source)
    written = 0
    for entry in entries:
        target = folder.joinpath(*PurePosixPath(entry.filename).parts)
        if entry.is_dir():
            target.mkdir(parents=True, exist_ok=True)
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        with archive.open(entry) as stream, target.open("wb") as out:
            left = entry.file_size
            while chunk := stream.read(CHUNK):
                left -= len(chunk)
                written += len(chunk)
                if left < 0 or written > MAXIMUM_UNPACKED_BYTES:  # the directory of a zip file may lie
                    raise ModelError(f"'{entry.filename}' in '{source}' is larger than it says; it was not unpacked.")
                out.write(chunk)


def _check_entries(entries: list[zipfile.ZipInfo], source: Path) -> None:
    if len(entries) > MAXIMUM_FILES:
        raise ModelError(f"'{source}' holds {len(entries)} files; a model has a few. It was not unpacked.")
    seen: set[str] = set()
    for entry in entries:
        name = entry.filename
        parts = PurePosixPath(name).parts
        if not parts or name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or "\0" in name:
            raise ModelError(f"'{source}' holds a path that leads out of it ('{name}'); it was not unpacked.")
        if stat.S_ISLNK(entry.external_attr >> 16):
            raise ModelError(f"'{source}' holds a link ('{name}'); it was not unpacked.")
        if entry.flag_bits & 1:
            raise ModelError(f"'{source}' is encrypted ('{name}'). Unpack it by hand and import the folder.")
        if name.casefold() in seen:
            raise ModelError(f"'{source}' holds '{name}' twice; it was not unpacked.")
        seen.add(name.casefold())
        if entry.file_size > SMALL_BYTES and entry.file_size > MAXIMUM_RATIO * max(1, entry.compress_size):
            raise ModelError(f"'{name}' in '{source}' would grow to {entry.file_size} bytes; it was not unpacked.")
    total = sum(entry.file_size for entry in entries)
    if total > MAXIMUM_UNPACKED_BYTES:
        raise ModelError(f"'{source}' would grow to {total / 2**30:.0f} GiB; it was not unpacked.")
