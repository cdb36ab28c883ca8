"""A second CT of a phantom patient, after iodine contrast: vessels, glands, mucosa and tumours are brighter."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.phantom.canvas import Canvas
from HNTumorSegLib.phantom.fields import smooth_noise
from HNTumorSegLib.phantom.patient import PhantomPatient, tumour_coverage

ENHANCEMENT_HU: dict[str, tuple[float, float]] = {
    "carotid": (110.0, 190.0),
    "jugular": (90.0, 170.0),
    "thyroid": (60.0, 100.0),
    "parotid": (15.0, 30.0),
    "submandibular": (25.0, 45.0),
    "mucosa": (20.0, 40.0),
    "palatine tonsil": (20.0, 40.0),
    "lingual tonsil": (20.0, 40.0),
    "adenoid": (20.0, 40.0),
    "nasal mucosa": (20.0, 40.0),
}
"""Rise of density by structure, HU, drawn uniformly: the usual order of a neck CT some 60 s after the injection
(vessels 150 to 200 HU, tumour and mucosa tens of HU); estimates, no measurement of a cohort."""

TUMOUR_HU = {PRIMARY: (25.0, 50.0), NODE: (15.0, 40.0)}
"""Rise of living tumour; necrotic cores take up no contrast."""


def contrast_ct(patient: PhantomPatient, seed: int) -> sitk.Image:
    """The patient's contrast-enhanced CT (HU, int16) on the grid of the plain one.

    It is the plain CT plus the rise of each structure plus as much noise as the scanner has, so its noise is that of
    the plain CT and as much again. The patient lies exactly as in the plain CT, and vessels that were bright there
    already (some phantoms' CT has contrast) gain as much again.

    Raises:
        InputError: the patient is not of the family ``first``, whose structures alone are kept.
    """
    if not getattr(patient, "_structures", None):
        raise InputError("A contrast-enhanced CT can be drawn for phantom patients of the family 'first' only.")
    rng = np.random.default_rng(np.random.SeedSequence([2023, 11, seed]))
    ct = patient.study.ct
    grid = Geometry.from_image(ct)
    canvas = Canvas(grid, patient._ct_pose)
    rise = np.zeros(canvas.shape, np.float32)
    for structure in patient._structures:
        ranges = ENHANCEMENT_HU.get(structure.name)
        box = canvas.box(structure.shape)
        if box is None or structure.hu is None:
            continue
        # Later structures lie on top: air, bone and fat push out the enhancement of what they cover.
        value = rng.uniform(*ranges) if ranges else 0.0
        share = canvas.coverage(structure.shape, box, structure.softness_mm)
        rise[box] += share * (value - rise[box])
    for tumour in patient.tumours:
        box = canvas.box(tumour.shape)
        if box is not None:
            share = tumour_coverage(canvas, tumour, patient._limits, box, whole=True)
            alive = tumour_coverage(canvas, tumour, patient._limits, box, whole=False)
            rise[box] += rng.uniform(*TUMOUR_HU[tumour.kind]) * alive - share * rise[box]
    grain = tuple(max(0.5, 1.2 / s) for s in grid.spacing_zyx_mm)
    noise = patient.scanner.ct_noise_hu * smooth_noise(rng, grid.shape_zyx, grain)
    values = sitk.GetArrayFromImage(ct) + rise + noise
    return image_from_array(np.clip(np.rint(values), -1024, 3071).astype(np.int16), grid)
