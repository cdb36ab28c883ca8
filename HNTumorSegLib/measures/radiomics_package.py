"""pyradiomics itself: found or asked for, kept quiet, and never left with a parameter it does not know."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.errors import InputError, MissingPackageError

if TYPE_CHECKING:
    from radiomics.featureextractor import RadiomicsFeatureExtractor

_SILENT = logging.CRITICAL + 10


def require_radiomics() -> ModuleType:
    """The package ``radiomics``: pyradiomics-bhklab, or the one that comes with Slicer's extension SlicerRadiomics.

    Raises:
        MissingPackageError: it is not installed; the message says how to install it.
    """
    try:
        import radiomics
        import radiomics.featureextractor
        import radiomics.imageoperations
    except ImportError as error:
        raise MissingPackageError(
            f"Radiomics needs the package pyradiomics, which cannot be imported ({error}). Install it with "
            "'pip install hntumorseg[radiomics]'; in 3D Slicer install the extension SlicerRadiomics and start "
            "Slicer again."
        ) from error
    return radiomics


@contextmanager
def quiet_radiomics() -> Iterator[None]:
    """Nothing of pyradiomics' and pykwalify's logging is printed or passed on in this block.

    pyradiomics prints to stderr by a handler of its own and logs dozens of lines a lesion to the root logger as well.
    What matters of it (features that failed, lesions refused) is in the results. Levels are put back afterwards.
    """
    import numpy as np

    loggers = [logging.getLogger(name) for name in ("radiomics", "pykwalify", "pykwalify.core")]
    before = [(logger, logger.level, logger.propagate) for logger in loggers]
    for logger in loggers:
        logger.setLevel(_SILENT)
        logger.propagate = False
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level, propagate in before:
            logger.setLevel(level)
            logger.propagate = propagate


def make_extractor(parameters: dict[str, Any]) -> RadiomicsFeatureExtractor:
    """pyradiomics' extractor for a parameter dictionary, checked by pyradiomics' own schema.

    Raises:
        InputError: a parameter is unknown or has a value that pyradiomics does not take.
        MissingPackageError: pyradiomics is not installed.
    """
    radiomics = require_radiomics()
    from pykwalify.errors import PyKwalifyException

    with quiet_radiomics():
        try:
            return radiomics.featureextractor.RadiomicsFeatureExtractor(parameters)
        except (PyKwalifyException, ValueError) as error:
            raise InputError(f"pyradiomics does not take these radiomics settings: {_first_line(error)}.") from error


def _first_line(error: Exception) -> str:
    """pykwalify's message without its frame."""
    text = getattr(error, "msg", None) or str(error)
    return " ".join(text.split()).rstrip(". ")
