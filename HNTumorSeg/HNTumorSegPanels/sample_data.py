"""A synthetic patient for the Sample Data module, made on this computer: nothing is downloaded."""

from __future__ import annotations

from typing import Any

SEED = 1_000_001


def register(icon_path: str) -> None:
    """List the sample in Slicer's Sample Data module."""
    import SampleData
    from slicer.i18n import tr as _

    SampleData.SampleDataLogic.registerCustomSampleDataSource(
        category="HNTumorSeg",
        sampleName="HNTumorSegPhantom",
        uris=None,
        fileNames=None,
        nodeNames=[_("Phantom PET SUVbw"), _("Phantom CT")],
        thumbnailFileName=icon_path,
        loadFiles=False,
        customDownloader=lambda source=None: load_phantom(),
    )


def load_phantom(seed: int = SEED) -> tuple[Any, Any]:
    """Make the synthetic patient of that seed and put PET (SUVbw) and CT into the scene; takes some seconds."""
    from slicer.i18n import tr as _

    from HNTumorSegLib.phantom.patient import make_patient

    study = make_patient(seed, economy=True).study
    return put_study(study, _("Phantom PET SUVbw"), _("Phantom CT"))


def put_study(study: Any, pet_name: str, ct_name: str) -> tuple[Any, Any]:
    """A study's images as volume nodes, side by side in one study of the subject hierarchy."""
    import slicer

    from HNTumorSegLib.mrml.scene import show_as_ct, show_as_pet, volume_to_node
    from HNTumorSegLib.mrml.segmentations import put_into

    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(slicer.mrmlScene)
    patient = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), pet_name.split()[0])
    item = hierarchy.CreateStudyItem(patient, "PET/CT")
    pet, ct = volume_to_node(study.pet, pet_name), volume_to_node(study.ct, ct_name)
    show_as_pet(pet, fused=True)
    show_as_ct(ct)
    put_into(hierarchy, item, pet)
    put_into(hierarchy, item, ct)
    slicer.util.setSliceViewerLayers(background=ct, foreground=pet, foregroundOpacity=0.5, fit=True)
    return pet, ct
