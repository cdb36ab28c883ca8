"""What a PET/CT study is once it has been read: SUV, HU, and where both came from."""

from __future__ import annotations

from dataclasses import dataclass, field

import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry


@dataclass(frozen=True)
class Provenance:
    """How the PET's SUVbw came about, so that every number can be traced.

    Attributes:
        source: ``dicom``, ``file`` or ``phantom``.
        units: units found in the input (``BQML``, ``CNTS``, ``GML``, ``SUVbw``).
        method: one sentence: what was multiplied by what.
        suv_factor: number the stored values (after rescale) were multiplied by to get SUVbw; 1 where they were SUV.
        tags: DICOM attributes and options the factor rests on, keyword to value as text; no patient identifiers.
    """

    source: str
    units: str
    method: str
    suv_factor: float = 1.0
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class SeriesInfo:
    """Identity of one input image.

    ``path`` and the identifiers may point to a person: reports and logs leave them out unless asked.
    ``pixel_sha256`` identifies the voxel values without naming anyone.
    """

    path: str
    modality: str
    pixel_sha256: str
    n_files: int = 1
    series_uid: str = ""
    study_uid: str = ""
    frame_of_reference_uid: str = ""
    patient_id: str = ""
    description: str = ""
    manufacturer: str = ""
    scanner: str = ""


@dataclass
class Study:
    """A PET/CT study ready for delineation.

    Attributes:
        pet: SUVbw in g/ml, 32-bit float, on the PET's own grid.
        ct: Hounsfield units, on the CT's own grid; None for PET only.
        pet_info, ct_info: where the images came from.
        provenance: how SUV was got.
        warnings: sentences for the user; nothing here stops the run.
    """

    pet: sitk.Image
    pet_info: SeriesInfo
    provenance: Provenance
    ct: sitk.Image | None = None
    ct_info: SeriesInfo | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def pet_geometry(self) -> Geometry:
        """Grid of the PET."""
        return Geometry.from_image(self.pet)

    @property
    def ct_geometry(self) -> Geometry | None:
        """Grid of the CT, or None."""
        return None if self.ct is None else Geometry.from_image(self.ct)
