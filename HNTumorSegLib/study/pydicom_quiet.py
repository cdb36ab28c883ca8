"""The one place where pydicom's remarks about odd values are switched off."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from pydicom import config


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Read DICOM without pydicom's warnings about values that break the standard's formal rules.

    Clinical files are full of over-long strings, padded UIDs and unknown VRs. None of that bears on what is read
    here (every value used is checked where it is used), the remarks would hide our own, they can quote a patient's
    data, and they would stop programs that turn warnings into errors.
    """
    logger = logging.getLogger("pydicom")
    level, mode = logger.level, config.settings.reading_validation_mode
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"pydicom(\.|$)")
        logger.setLevel(logging.CRITICAL)
        config.settings.reading_validation_mode = config.IGNORE
        try:
            yield
        finally:
            config.settings.reading_validation_mode = mode
            logger.setLevel(level)
