"""Weights of others, read without running anything that may be in their files."""

from __future__ import annotations

import warnings
from pathlib import Path
from pickle import UnpicklingError
from typing import Any

import numpy as np

from HNTumorSegLib.errors import ModelError

MAXIMUM_BYTES = 8 * 2**30


def load_checkpoint_safely(path: Path) -> Any:
    """What ``torch.save`` wrote: tensors, plain values and numpy scalars; anything else in it is refused.

    torch's own restricted unpickler (``weights_only=True``) does the reading. nnU-Net keeps its training's history as
    numpy scalars beside the weights; the few names these need are allowed, none of which runs code of the file.

    Raises :class:`ModelError` when the file is missing, no such file, damaged, or asks for anything else.
    """
    import torch

    if not path.is_file():
        raise ModelError(f"The weights '{path}' are missing.")
    if path.stat().st_size > MAXIMUM_BYTES:
        raise ModelError(f"The weights '{path}' are larger than {MAXIMUM_BYTES // 2**30} GiB and were not read.")
    kinds = ("float16", "float32", "float64", "int32", "int64", "bool")
    names: list[Any] = [np.dtype, np.ndarray, *(type(np.dtype(kind)) for kind in kinds)]
    core = np._core.multiarray
    for old in ("numpy.core.multiarray", "numpy._core.multiarray"):  # the module's name before and since numpy 2
        names += [(core.scalar, f"{old}.scalar"), (core._reconstruct, f"{old}._reconstruct")]
    try:
        with torch.serialization.safe_globals(names), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # torch's advice on how else to save
            return torch.load(path, map_location="cpu", weights_only=True)
    except (UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError, AttributeError, TypeError) as error:
        reason = str(error).strip().splitlines()
        told = next((line for line in reason if "Unsupported" in line or "GLOBAL" in line), reason[0] if reason else "")
        raise ModelError(
            f"The weights '{path}' were not read: they are damaged, or hold more than numbers ({told[:200]}). Nothing "
            "in the file was run."
        ) from error


def require_tensors(state: Any, path: Path) -> dict[str, Any]:
    """``state`` as a dictionary of tensors by name; raises :class:`ModelError` when it is none."""
    import torch

    if not isinstance(state, dict) or not state:
        raise ModelError(f"'{path}' holds no weights by name.")
    for name, value in state.items():
        if not isinstance(name, str) or not isinstance(value, torch.Tensor):
            raise ModelError(f"'{path}' holds something else than weights under '{name}'.")
    return state
