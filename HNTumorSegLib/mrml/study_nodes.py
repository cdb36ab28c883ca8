"""Volume nodes of a scene as a study."""

from __future__ import annotations

from typing import Any

import SimpleITK as sitk

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.mrml import core_app
from HNTumorSegLib.mrml.pet_units import BY_HEADER, BY_VOLUME, pet_units
from HNTumorSegLib.mrml.volumes import node_to_image
from HNTumorSegLib.study import checks
from HNTumorSegLib.study.files import as_hounsfield
from HNTumorSegLib.study.study import Provenance, SeriesInfo, Study

HIGHEST_AIR_HU = -200.0
"""A CT shows air; an image whose lowest value is above this is none."""


def pet_image(pet: Any) -> sitk.Image:
    """A PET node as SUVbw image (g/ml, 32-bit float, LPS); raises :class:`SuvError` when its units are not known."""
    factor = pet_units(pet).require()
    image = sitk.Cast(node_to_image(pet), sitk.sitkFloat32)
    return image if factor == 1.0 else image * factor


def study_from_nodes(pet: Any, ct: Any = None, *, with_sha256: bool = False) -> Study:
    """The study that two volume nodes make, checked as if it had been read from disk.

    Args:
        pet: volume node, in SUVbw or with a factor to it (see :mod:`pet_units`).
        ct: volume node in HU, or None.
        with_sha256: also work out the images' check sums, for a report; that takes a second for a large CT.

    Raises:
        InputError: no PET, the same node twice, a PET in the place of the CT, two patients, voxels without a number.
        SuvError: the PET's values are not SUVbw and nobody said how they become it.
        GeometryError: PET and CT lie apart.
    """
    if pet is None:
        raise InputError("No PET is chosen. Load a PET and choose it first.")
    _require_two_images(pet, ct)
    units = pet_units(pet)
    suv = pet_image(pet)
    checks.require_finite(suv, "PET")
    source = "dicom" if units.origin in (BY_HEADER, BY_VOLUME) and pet.GetAttribute("DICOM.instanceUIDs") else "file"
    method = f"volume's values x {units.factor:g}, says {units.origin}"
    pet_sha256 = checks.pixel_sha256(suv) if with_sha256 else ""
    study = Study(
        pet=suv,
        pet_info=SeriesInfo("", "PT", pet_sha256, patient_id=patient_of(pet), description=pet.GetName()),
        provenance=Provenance(source, "SUVbw", method, units.factor),
        warnings=checks.suv_warnings(suv),
    )
    if ct is not None:
        hounsfield = node_to_image(ct)
        checks.require_finite(hounsfield, "CT")
        if float(sitk.GetArrayViewFromImage(hounsfield).min()) > HIGHEST_AIR_HU:
            low, high = ct.GetImageData().GetScalarRange()
            raise InputError(
                f"'{ct.GetName()}' is no CT: its values run from {low:.5g} to {high:.5g}, and a CT in Hounsfield units "
                "shows air at -1000. Choose the CT of this PET, or none."
            )
        study.ct = as_hounsfield(hounsfield)
        ct_sha256 = checks.pixel_sha256(study.ct) if with_sha256 else ""
        study.ct_info = SeriesInfo("", "CT", ct_sha256, patient_id=patient_of(ct), description=ct.GetName())
        study.warnings += checks.hu_warnings(study.ct)
        study.warnings += checks.pair_warnings(study.pet_geometry, study.ct_geometry, study.pet_info, study.ct_info)
    return study


def _require_two_images(pet: Any, ct: Any) -> None:
    if ct is None:
        return
    if ct.GetID() == pet.GetID():
        raise InputError(f"'{pet.GetName()}' is chosen as PET and as CT. Choose the CT of this PET, or none.")
    if modality_of(ct) == "PT":
        raise InputError(f"'{ct.GetName()}' is a PET and was chosen as CT. Choose the CT of this PET, or none.")


def modality_of(node: Any) -> str:
    """``PT``, ``CT``, ...: what the volume or its place in the subject hierarchy says; empty when neither does."""
    said = node.GetAttribute("DICOM.Modality")
    if said:
        return said
    hierarchy = core_app.require_slicer().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    return (hierarchy.GetItemAttribute(item, "DICOM.Modality") or "") if item else ""


def patient_of(node: Any) -> str:
    """What tells a node's patient from others in the scene (never shown): the DICOM ID, else the hierarchy's item."""
    hierarchy = core_app.require_slicer().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(node.GetScene())
    item = hierarchy.GetItemByDataNode(node)
    patient = hierarchy.GetItemAncestorAtLevel(item, "Patient") if item else 0
    if not patient:
        return ""
    return hierarchy.GetItemUID(patient, "DICOM") or f"item {patient}"
