"""The exceptions a user can meet. Each message is one sentence group: what, where, what to do.

The command line prints ``str(error)`` on one line and exits with code 2; the GUI shows it in the panel.
"""

from __future__ import annotations


class HNTumorSegError(Exception):
    """Base of every error that is the user's to read; anything else that escapes is a defect of ours."""


class InputError(HNTumorSegError):
    """The images handed in cannot be used."""


class DicomError(InputError):
    """A DICOM folder or file is unreadable, incomplete, mixed up or of the wrong modality."""


class SuvError(InputError):
    """SUVbw cannot be computed or is not to be believed."""


class GeometryError(InputError):
    """Two images do not lie where they should."""


class ModelError(HNTumorSegError):
    """A model folder, its card or its weights cannot be used."""


class LesionError(HNTumorSegError):
    """A correction of a lesion cannot be carried out as asked."""


class OutputError(HNTumorSegError):
    """Results cannot be written."""


class MissingPackageError(HNTumorSegError):
    """A package that only some features need is not installed."""


class Cancelled(HNTumorSegError):
    """The user stopped the run; nothing was changed."""


class OutOfMemoryError(HNTumorSegError):
    """The computer's memory does not suffice; nothing was changed."""


class WorkerError(HNTumorSegError):
    """The separate process that delineates crashed or failed by a defect of ours; nothing was changed."""


class SurvivalError(HNTumorSegError):
    """A survival table, or what is asked of it, cannot be used; the message names the column and the patients."""
