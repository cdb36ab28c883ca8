"""Anatomy of real patients for the phantom: organ label sets, made small and fitted to the phantom's frame.

A label set is a folder of one patient's organs at risk as NRRD masks (brain, parotids, mandible, ...). Nothing of it is
part of this package: the folder is named by the user, and what is worked out from it is kept in the user's cache.
"""

from __future__ import annotations

import hashlib
import logging
import os
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from scipy import ndimage
from scipy.interpolate import RBFInterpolator

from HNTumorSegLib.errors import InputError

CODES = {
    "Lung-Lt": 1,
    "Lung-Rt": 2,
    "Spinal-Canal": 3,
    "Spinal-Cord": 4,
    "Brain": 5,
    "Brainstem": 6,
    "Orbit-Lt": 7,
    "Orbit-Rt": 8,
    "Optic-Nerve-Lt": 9,
    "Optic-Nerve-Rt": 10,
    "Lacrimal-Lt": 11,
    "Lacrimal-Rt": 12,
    "Parotid-Lt": 13,
    "Parotid-Rt": 14,
    "Submandibular-Lt": 15,
    "Submandibular-Rt": 16,
    "Mandible": 17,
}
NEEDED = ("Brain", "Brainstem", "Orbit-Lt", "Orbit-Rt", "Mandible", "Parotid-Lt", "Parotid-Rt", "Spinal-Canal")
LABEL_MM, DISTANCE_MM = 2.0, 4.0
CLOSING_MM = 22.0
FARTHEST_MM = 60
CUT_AREA_MM2 = 2500.0
"""A brain whose highest slice is larger than this goes on above the scan."""
CACHE_VERSION = 5
SMOOTHING = 4.0
"""Of the splines through landmarks, which therefore miss them by a millimetre or two."""

# Where the landmarks lie in the phantom's frame (LPS mm, z = 0 at the hyoid bone), an average adult.
CANAL_LEVELS_MM = (5.0, -22.0, -60.0, -100.0, -150.0, -200.0)
FRAME_LANDMARKS = {
    "brain": (0, 6, 84),
    "brain top": (0, 6, 150),
    "brain left": (65, 6, 84),
    "brain right": (-65, 6, 84),
    "brain front": (0, -74, 84),
    "brain back": (0, 84, 84),
    "brainstem": (0, 22, 46),
    "Orbit-Lt": (31, -70, 58),
    "Orbit-Rt": (-31, -70, 58),
    "Parotid-Lt": (54, 4, 10),
    "Parotid-Rt": (-54, 4, 10),
    "Submandibular-Lt": (31, -20, -22),
    "Submandibular-Rt": (-31, -20, -22),
    "chin": (0, -74, -22),
    "jaw left": (48, -6, 20),
    "jaw right": (-48, -6, 20),
    "Lung-Lt": (42, 15, -150),
    "Lung-Rt": (-42, 15, -150),
}


def canal_y(z_mm: float | np.ndarray) -> float | np.ndarray:
    """Front-to-back position of the spinal canal's centre in the phantom's frame."""
    return np.interp(z_mm, (-900, -200, -130, -70, -20, 30), (74, 76, 58, 47, 44, 48))


@dataclass
class Atlas:
    """One source anatomy.

    Attributes:
        name: source patient; ``procedural`` ones are drawn.
        labels: codes of :data:`CODES`, zyx uint8, ``LABEL_MM`` voxels.
        brain_distance, head_distance: mm from the surface of the brain and of the (closed) solid parts of the head,
            negative inside, zyx int8, ``DISTANCE_MM`` voxels.
        origin_mm: position of the first voxel of all three, LPS; (0, 0, 0) lies between the submandibular glands.
        landmarks, frame: the same points (n, 3) here and in the phantom's frame.
        cut_mm: height above which there is nothing because the scan cut the head; infinite where it did not.
    """

    name: str
    labels: np.ndarray
    brain_distance: np.ndarray
    head_distance: np.ndarray
    origin_mm: np.ndarray
    landmarks: np.ndarray
    frame: np.ndarray
    cut_mm: float = np.inf

    def __post_init__(self) -> None:
        self._to_frame = RBFInterpolator(self.landmarks, self.frame, kernel="linear", degree=1, smoothing=SMOOTHING)
        self.cut_mm = float(self.cut_mm)
        self._lowest_mm = float(self.landmarks[:, 2].min())

    def to_frame(self, points: np.ndarray) -> np.ndarray:
        """Positions (n, 3) of this anatomy in the phantom's frame; below the lowest landmark the course goes on."""
        points = np.asarray(points, float)
        held = points.copy()
        held[:, 2] = np.maximum(points[:, 2], self._lowest_mm)
        # Far from all landmarks a spline runs away; sideways it is held at the shoulders, and the trunk goes straight.
        held[:, :2] = np.clip(held[:, :2], (-130, -130), (130, 150))
        out = self._to_frame(held)
        out += points - held
        return out


def group_of(name: str) -> str:
    """The patient a label set belongs to: ``0522c0727a`` and ``0522c0727b`` are two scans of one."""
    return name[:-1] if name[-1:].isalpha() and name[-2:-1].isdigit() else name


def split_sources(names: list[str], held_out: bool) -> list[str]:
    """The label sets of the one or the other family: every fourth patient (by name) is held out."""
    groups = sorted({group_of(n) for n in names})
    chosen = {g for i, g in enumerate(groups) if (i % 4 == 3) == held_out}
    return [n for n in sorted(names) if group_of(n) in chosen]


@lru_cache(maxsize=8)
def find_sources(folder: Path) -> dict[str, Path]:
    """Label sets below ``folder``: name to the folder of its masks; of several annotators' the first by name.

    Raises:
        InputError: no label set there.
    """
    found: dict[str, Path] = {}
    for brain in sorted(Path(folder).rglob("Brain.nrrd")):
        masks = brain.parent
        name = masks.parent.name if masks.name == "segmentations" else masks.name
        if all((masks / f"{organ}.nrrd").exists() for organ in NEEDED):
            found.setdefault(name, masks)
    if not found:
        raise InputError(
            f"No organ label set below '{folder}': expected folders with Brain.nrrd, Mandible.nrrd, Parotid-Lt.nrrd "
            "and the like. Name the folder that holds them, or leave anatomy_folder out for drawn anatomy."
        )
    return found


def cache_folder() -> Path:
    """Where worked-out anatomies are kept: ``HNTUMORSEG_ANATOMY_CACHE``, or the user's cache folder."""
    named = os.environ.get("HNTUMORSEG_ANATOMY_CACHE")
    root = os.environ.get("XDG_CACHE_HOME")
    return Path(named) if named else (Path(root) if root else Path.home() / ".cache") / "hntumorseg" / "anatomy"


@lru_cache(maxsize=32)
def load_atlas(name: str, masks: Path) -> Atlas:
    """The anatomy of one label set, from the cache when it is there.

    Raises:
        InputError: an organ that is needed has no voxel.
    """
    key = hashlib.sha256(f"{CACHE_VERSION} {Path(masks).resolve()}".encode()).hexdigest()[:12]
    path = cache_folder() / f"{name}_{key}.npz"
    if path.exists():
        with np.load(path) as data:
            return Atlas(name, **{k: data[k] for k in data.files})
    atlas = build_atlas(name, *_read_labels(Path(masks)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}.tmp")
        fields = ("labels", "brain_distance", "head_distance", "origin_mm", "landmarks", "frame", "cut_mm")
        with temporary.open("wb") as stream:
            np.savez_compressed(stream, **{k: getattr(atlas, k) for k in fields})
        temporary.replace(path)
    except OSError as error:
        logging.getLogger(__name__).warning("The anatomy of %s could not be kept in '%s': %s.", name, path, error)
    return atlas


def _read_labels(masks: Path) -> tuple[np.ndarray, np.ndarray]:
    """Codes on 2 mm voxels about the head and neck, and the LPS position of the first voxel."""
    brain = sitk.ReadImage(str(masks / "Brain.nrrd"))
    stats = sitk.LabelShapeStatisticsImageFilter()
    stats.Execute(sitk.Cast(brain > 0, sitk.sitkUInt8))
    if not stats.HasLabel(1):
        raise InputError(f"'{masks / 'Brain.nrrd'}' has no voxel.")
    center = np.array(stats.GetCentroid(1))
    low = center - np.array((150, 150, 420))
    high = center + np.array((150, 150, 120))
    low[2] = max(low[2], brain.GetOrigin()[2])
    grid = sitk.Image([int(n) for n in np.ceil((high - low) / LABEL_MM)], sitk.sitkUInt8)
    grid.SetSpacing((LABEL_MM,) * 3)
    grid.SetOrigin(low.tolist())
    labels = np.zeros(grid.GetSize()[::-1], np.uint8)
    for organ, code in CODES.items():
        path = masks / f"{organ}.nrrd"
        if path.exists():
            mask = sitk.Resample(sitk.ReadImage(str(path)) > 0, grid, sitk.Transform(), sitk.sitkNearestNeighbor)
            labels[sitk.GetArrayViewFromImage(mask) > 0] = code
    return labels, low


def build_atlas(name: str, labels: np.ndarray, origin_mm: np.ndarray) -> Atlas:
    """Landmarks and distances of a label volume (zyx, ``LABEL_MM`` voxels)."""
    points = _landmarks(labels)
    if len(points) < 12:
        raise InputError(f"The label set '{name}' lacks organs: only {len(points)} landmarks found.")
    middle = (points["Parotid-Lt"] + points["Parotid-Rt"]) / 2 + (0, -24, -32)
    if "Submandibular-Lt" in points and "Submandibular-Rt" in points:
        middle = (points["Submandibular-Lt"] + points["Submandibular-Rt"]) / 2 + (0, 0, 22)
    points.update(_canal(labels, points))
    brain_distance, head_distance = build_distances(labels)
    landmarks = np.array([points[k] for k in points]) - middle
    frame = np.array([FRAME_LANDMARKS[k] if isinstance(k, str) else (0, canal_y(k), k) for k in points], float)
    return Atlas(
        name=name,
        labels=labels,
        brain_distance=brain_distance,
        head_distance=head_distance,
        origin_mm=-middle,
        landmarks=landmarks,
        frame=frame,
        cut_mm=_cut_height(labels) - middle[2],
    )


def build_distances(labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Distance from the brain and from the closed solid parts of the head, see :class:`Atlas`."""
    step = int(DISTANCE_MM / LABEL_MM)
    coarse = labels[::step, ::step, ::step]
    brain = (coarse == CODES["Brain"]) | (coarse == CODES["Brainstem"])
    solid = brain | ((coarse >= CODES["Orbit-Lt"]) & (coarse <= CODES["Mandible"]))
    return _signed_distance(brain, 0.0), _signed_distance(solid, CLOSING_MM)


def _landmarks(labels: np.ndarray) -> dict:
    """Landmarks that the labels give, mm from the first voxel (x, y, z)."""
    out = {}
    where = {organ: np.argwhere(labels == code)[:, ::-1] * LABEL_MM for organ, code in CODES.items()}
    if len(where["Brain"]) and np.isinf(_cut_height(labels)):
        out.update(_brain_landmarks(where["Brain"]))
    if len(where["Brainstem"]):
        out["brainstem"] = where["Brainstem"].mean(axis=0)
    for organ in ("Orbit", "Parotid", "Submandibular"):
        for side in ("-Lt", "-Rt"):
            if len(where[organ + side]):
                out[organ + side] = where[organ + side].mean(axis=0)
    jaw = where["Mandible"]
    if len(jaw):
        out.update(_jaw_landmarks(jaw))
    for side in ("Lung-Lt", "Lung-Rt"):
        if len(where[side]):
            lung = where[side]
            out[side] = lung[lung[:, 2] >= lung[:, 2].max() - 6].mean(axis=0)
    return out


def _brain_landmarks(brain: np.ndarray) -> dict:
    """Middle and outermost points of a whole brain; ``brain``: positions (n, 3)."""
    center = brain.mean(axis=0)
    low, high = np.percentile(brain, 0.1, axis=0), np.percentile(brain, 99.9, axis=0)
    out = {"brain": center, "brain top": np.array([center[0], center[1], high[2]])}
    for name, x in (("brain left", high[0]), ("brain right", low[0])):
        out[name] = np.array([x, center[1], center[2]])
    for name, y in (("brain front", low[1]), ("brain back", high[1])):
        out[name] = np.array([center[0], y, center[2]])
    return out


def _jaw_landmarks(jaw: np.ndarray) -> dict:
    """Chin and the upper ends of both sides; ``jaw``: positions (n, 3)."""
    front = jaw[jaw[:, 1] <= np.percentile(jaw[:, 1], 3)]
    out = {"chin": np.array([jaw[:, 0].mean(), front[:, 1].mean(), front[:, 2].mean()])}
    middle = jaw[:, 0].mean()
    for side, part in (("left", jaw[jaw[:, 0] > middle]), ("right", jaw[jaw[:, 0] < middle])):
        ramus = part[part[:, 2] >= np.percentile(part[:, 2], 80)]
        out["jaw " + side] = ramus.mean(axis=0)
    return out


def _cut_height(labels: np.ndarray) -> float:
    """Height (mm from the first voxel) at which the scan cut the brain; infinite where the brain is whole."""
    area = np.count_nonzero(labels == CODES["Brain"], axis=(1, 2)) * LABEL_MM**2
    top = np.flatnonzero(area)[-1]
    return float(top * LABEL_MM) if area[top] > CUT_AREA_MM2 else np.inf


def _canal(labels: np.ndarray, points: dict) -> dict:
    """Centre of the spinal canal at the levels of :data:`CANAL_LEVELS_MM` (key: the level in the frame)."""
    anchors = {46.0: points["brainstem"][2], 10.0: (points["Parotid-Lt"][2] + points["Parotid-Rt"][2]) / 2}
    if "Submandibular-Lt" in points and "Submandibular-Rt" in points:
        anchors[-22.0] = (points["Submandibular-Lt"][2] + points["Submandibular-Rt"][2]) / 2
    apex = [points[k][2] for k in ("Lung-Lt", "Lung-Rt") if k in points]
    if apex:
        anchors[-150.0] = float(np.mean(apex))
    lowest = min(anchors)
    anchors[lowest - 200.0] = anchors[lowest] - 200.0
    levels = np.array(sorted(anchors))
    heights = np.array([anchors[v] for v in levels])
    out = {}
    inside = (labels == CODES["Spinal-Canal"]) | (labels == CODES["Spinal-Cord"])
    for level in CANAL_LEVELS_MM:
        z = float(np.interp(level, levels, heights))
        k = round(z / LABEL_MM)
        if 0 <= k < len(labels) and inside[k].any():
            y, x = ndimage.center_of_mass(inside[k])
            out[level] = np.array([x * LABEL_MM, y * LABEL_MM, z])
    return out


def _signed_distance(mask: np.ndarray, closing_mm: float) -> np.ndarray:
    """Distance to the surface of ``mask`` closed by ``closing_mm``; int8, negative inside."""
    pad = int(np.ceil(closing_mm / DISTANCE_MM)) + 1
    mask = np.pad(mask, pad)
    if closing_mm:
        grown = ndimage.distance_transform_edt(~mask, DISTANCE_MM) <= closing_mm
        mask = ndimage.distance_transform_edt(grown, DISTANCE_MM) > closing_mm
    distance = ndimage.distance_transform_edt(~mask, DISTANCE_MM) - ndimage.distance_transform_edt(mask, DISTANCE_MM)
    inner = (slice(pad, -pad),) * 3
    return np.clip(np.rint(distance[inner]), -FARTHEST_MM, FARTHEST_MM).astype(np.int8)
