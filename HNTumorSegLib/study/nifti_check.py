"""What ITK's NIfTI reader passes over in silence: data cut short (filled up with zeros) and NaN (made zero)."""

from __future__ import annotations

import gzip
import struct
import zlib
from pathlib import Path
from typing import IO

import numpy as np

from HNTumorSegLib.errors import InputError

_FLOATS = {16: "f4", 64: "f8"}
"""NIfTI's datatype codes of real floating-point numbers."""

_CHUNK_BYTES = 2**23


def require_whole_nifti(path: Path, what: str) -> None:
    """Check that a single-file NIfTI (``.nii``, ``.nii.gz``) holds all its voxels, and no NaN or infinity.

    Layout: https://nifti.nimh.nih.gov/nifti-1 and nifti-2 (fields dim, datatype, bitpix, vox_offset).

    Args:
        path: the file.
        what: "PET" or "CT", for messages.

    Raises:
        InputError: the file is no NIfTI file, is damaged or cut short, or has voxels that are not finite.
    """
    try:
        with gzip.open(path) if path.name.lower().endswith(".gz") else open(path, "rb") as file:
            n_bytes, float_type = _skip_header(file)
            missing, not_finite = _scan(file, n_bytes, float_type)
    except (EOFError, zlib.error, gzip.BadGzipFile, struct.error, ValueError) as error:
        raise InputError(
            f"The {what} '{path}' is damaged, cut short or not what its name says ({error}). Copy or export it again."
        ) from error
    if missing:
        raise InputError(
            f"The {what} '{path}' is cut short: {missing} of {n_bytes} bytes of voxels are missing. Copy or export it "
            "again."
        )
    if not_finite:
        raise InputError(
            f"The {what} '{path}' has {not_finite} voxels that are NaN or infinite. Replace them (with 0 in a PET, "
            "-1024 in a CT) or export the image again."
        )


def _skip_header(file: IO[bytes]) -> tuple[int, np.dtype | None]:
    """Read up to the voxels: how many bytes they should be, and their type where it can be NaN."""
    header = file.read(348)
    for order in "<>":
        size = struct.unpack_from(f"{order}i", header)[0]
        if size == 348:
            dim = struct.unpack_from(f"{order}8h", header, 40)
            datatype, bits = struct.unpack_from(f"{order}2h", header, 70)
            offset = int(struct.unpack_from(f"{order}f", header, 108)[0])
            break
        if size == 540:
            datatype, bits = struct.unpack_from(f"{order}2h", header, 12)
            dim = struct.unpack_from(f"{order}8q", header, 16)
            offset = struct.unpack_from(f"{order}q", header, 168)[0]
            break
    else:
        raise ValueError("it does not begin with a NIfTI header")
    if not 1 <= dim[0] <= 7 or offset < size:
        raise ValueError("its NIfTI header makes no sense")
    file.read(offset - len(header))
    n_bytes = int(np.prod([max(1, n) for n in dim[1 : dim[0] + 1]], dtype=np.int64)) * bits // 8
    return n_bytes, np.dtype(order + _FLOATS[datatype]) if datatype in _FLOATS else None


def _scan(file: IO[bytes], n_bytes: int, float_type: np.dtype | None) -> tuple[int, int]:
    """How many bytes are missing, and how many numbers are not finite."""
    left, not_finite = n_bytes, 0
    while left:
        chunk = file.read(min(left, _CHUNK_BYTES))
        if not chunk:
            return left, not_finite
        left -= len(chunk)
        if float_type is not None:
            whole = len(chunk) // float_type.itemsize * float_type.itemsize
            not_finite += int(np.count_nonzero(~np.isfinite(np.frombuffer(chunk[:whole], float_type))))
    file.read(1)  # gzip compares its checksum when it meets the end
    return 0, not_finite
