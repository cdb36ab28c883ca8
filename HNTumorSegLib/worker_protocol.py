"""What the worker process and its client say to each other: one JSON object a line, images beside it as files.

The client writes requests (:data:`REQUESTS`) to the worker's stdin, the worker writes events (:data:`EVENTS`) to its
stdout. Each line has the key ``message`` with the name of its dataclass here; the other keys are its fields. The
worker's first line is ``hello`` with :data:`PROTOCOL_VERSION`.

Images go through ``.npy`` files in a folder of the client's, with their grid in the JSON line: exact to the last bit,
not compressed, and independent of locale and of what a file format can say.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, image_from_array

PROTOCOL_VERSION = 2

USER = "user"
"""Something the user can put right."""
OUT_OF_MEMORY = "out_of_memory"
CRASH = "crash"
"""The process ended by itself (said by the client)."""
DEFECT = "defect"
"""A defect of ours."""
CANCELLED = "cancelled"
"""The user stopped it (said by the client)."""


class ProtocolError(ValueError):
    """A line that is not part of the protocol."""


@dataclass(frozen=True)
class StoredImage:
    """A SimpleITK image in a ``.npy`` file.

    Attributes:
        file: path; the array is zyx and may hold a part of the image only.
        geometry: the grid of the whole image.
        start_ijk: where the part begins; everything outside of it is 0.
    """

    file: str
    geometry: Geometry
    start_ijk: tuple[int, int, int] = (0, 0, 0)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> StoredImage:
        """Back from JSON."""
        grid = {key: tuple(values) for key, values in data["geometry"].items()}
        return cls(data["file"], Geometry(**grid), tuple(data["start_ijk"]))


# --- requests ---


@dataclass(frozen=True)
class Delineate:
    """Delineate a study; answered by ``progress`` lines, then one ``result`` or ``error``.

    ``folder`` is where the result's files go. PET in SUVbw (g/ml), CT in HU or None; ``model``, ``device`` and
    ``flip_left_right`` as for :class:`HNTumorSegLib.inference.delineator.Delineator`; ``reference``: ``pet`` or ``ct``.
    """

    id: int
    folder: str
    pet: StoredImage
    ct: StoredImage | None
    model: str
    device: str
    reference: str
    flip_left_right: bool


@dataclass(frozen=True)
class Ping:
    """Answered by ``pong`` at once, also during a run."""

    id: int


# --- events ---


@dataclass(frozen=True)
class Hello:
    """The first line."""

    protocol: int
    version: str
    pid: int


@dataclass(frozen=True)
class Ready:
    """Packages are loaded; ``torch`` is its version, empty when it is not installed."""

    torch: str
    load_s: float


@dataclass(frozen=True)
class Pong:
    """Alive; ``busy`` with a request or not."""

    id: int
    busy: bool


@dataclass(frozen=True)
class Progress:
    """A :class:`HNTumorSegLib.progress.ProgressEvent` of request ``id``."""

    id: int
    stage: str
    fraction: float
    text: str


@dataclass(frozen=True)
class Result:
    """The delineation; its images are files in the request's folder.

    ``card`` is the model card as :meth:`HNTumorSegLib.models.card.ModelCard.from_dict` takes it (with name and
    version); ``model_kept``: the weights were in memory already; ``spread`` is None where there was a single answer.
    """

    id: int
    labels: StoredImage
    primary_probability: StoredImage
    node_probability: StoredImage
    uncertainty: StoredImage
    spread: StoredImage | None
    card: dict[str, Any]
    device: str
    timings_s: dict[str, float]
    warnings: list[str]
    model_kept: bool


@dataclass(frozen=True)
class Error:
    """Why there is no result, in words for the user.

    ``kind`` is :data:`USER`, :data:`OUT_OF_MEMORY` or :data:`DEFECT`; ``type`` the exception's name; ``id`` None when
    the line it answers could not be understood.
    """

    id: int | None
    kind: str
    type: str
    text: str


REQUESTS = {"delineate": Delineate, "ping": Ping}
EVENTS = {"hello": Hello, "ready": Ready, "pong": Pong, "progress": Progress, "result": Result, "error": Error}
IMAGES_OF_RESULT = ("labels", "primary_probability", "node_probability", "uncertainty", "spread")
_NAMES = {kind: name for name, kind in (REQUESTS | EVENTS).items()}
_IMAGE_FIELDS = {"pet", "ct", *IMAGES_OF_RESULT}

Request = Delineate | Ping
Event = Hello | Ready | Pong | Progress | Result | Error


def to_line(message: Request | Event) -> bytes:
    """The message as one line of ASCII."""
    return json.dumps({"message": _NAMES[type(message)], **asdict(message)}).encode("ascii") + b"\n"


def from_line(line: bytes, kinds: Mapping[str, type]) -> Any:
    """The request or event in a line; ``kinds`` is :data:`REQUESTS` or :data:`EVENTS`.

    Raises :class:`ProtocolError` that quotes the line's beginning when it is neither.
    """
    try:
        fields = json.loads(line)
        kind = kinds[fields.pop("message")]
        for key in _IMAGE_FIELDS & set(fields):
            fields[key] = None if fields[key] is None else StoredImage.from_json(fields[key])
        return kind(**fields)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        quoted = line[:60].decode("ascii", "replace").strip()
        raise ProtocolError(f"'{quoted}' is not a line of protocol {PROTOCOL_VERSION} ({error})") from error


# --- images ---


def store_image(image: sitk.Image, path: Path, box: tuple[slice, slice, slice] | None = None) -> StoredImage:
    """Write an image, or the ``box`` (zyx) of it outside of which it is 0."""
    array = sitk.GetArrayViewFromImage(image)
    box = box or (slice(0, None),) * 3
    np.save(path, array[box], allow_pickle=False)
    return StoredImage(str(path), Geometry.from_image(image), tuple(int(s.start) for s in reversed(box)))


def load_stored(stored: StoredImage) -> sitk.Image:
    """The whole image, of the type it had; raises OSError or ValueError when the file is missing or does not fit."""
    part = np.load(stored.file, mmap_mode="r", allow_pickle=False)
    size, start = part.shape[::-1], stored.start_ijk
    if size == stored.geometry.size:
        return image_from_array(part, stored.geometry)
    within = zip(start, size, stored.geometry.size, strict=True)
    if not all(first >= 0 and first + n <= whole for first, n, whole in within):
        raise ValueError(f"an array of {size} voxels at {start} is not within {stored.geometry.size}")
    whole = np.zeros(stored.geometry.shape_zyx, part.dtype)
    box = tuple(slice(s, s + n) for s, n in zip(reversed(start), reversed(size), strict=True))
    whole[box] = part
    return image_from_array(whole, stored.geometry)


def box_of_values(images: list[sitk.Image]) -> tuple[slice, slice, slice]:
    """The smallest box (zyx) outside of which all images, on one grid, are 0; one voxel when they are 0 everywhere.

    Tumours fill a small part of a CT's grid: only that is handed over.
    """
    box = []
    views = [sitk.GetArrayViewFromImage(image) for image in images]
    per_slice = np.array([[bool(view[k].any()) for k in range(view.shape[0])] for view in views]).any(axis=0)
    box.append(_span(per_slice))
    for axis in (1, 2):
        other = (0, 3 - axis)
        box.append(_span(np.any([view[box[0]].any(axis=other) for view in views], axis=0)))
    return tuple(box)


def _span(hit: np.ndarray) -> slice:
    index = np.flatnonzero(hit)
    return slice(int(index[0]), int(index[-1]) + 1) if index.size else slice(0, 1)
