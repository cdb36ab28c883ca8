"""Whether a PET volume of the scene is SUVbw, and the study that nodes make."""

from __future__ import annotations

import dicom_sets
import numpy as np
import pytest
import SimpleITK as sitk

pytest.importorskip("slicer", reason="the slicer extra is not installed")
pytestmark = pytest.mark.usefixtures("no_vtk_errors")

from HNTumorSegLib.errors import GeometryError, InputError, SuvError  # noqa: E402
from HNTumorSegLib.mrml import core_app  # noqa: E402
from HNTumorSegLib.mrml.pet_units import (  # noqa: E402
    confirm_suvbw,
    factor_from_headers,
    pet_units,
    set_factor,
)
from HNTumorSegLib.mrml.scene import show_as_ct, show_as_pet, volume_to_node  # noqa: E402
from HNTumorSegLib.mrml.study_nodes import pet_image, study_from_nodes  # noqa: E402


@pytest.fixture
def scene():
    scene = core_app.new_scene()
    yield scene
    scene.Clear(True)


def node(scene, high: float, name: str = "PET", low: float = 0.0, shift_mm: float = 0.0):
    values = np.linspace(low, high, 6 * 5 * 4, dtype=np.float32).reshape(6, 5, 4)
    image = sitk.GetImageFromArray(values)
    image.SetSpacing((4.0, 4.0, 3.0))
    image.SetOrigin((shift_mm, 0.0, 0.0))
    return volume_to_node(image, name, scene)


def test_units_nobody_stated_are_not_used(scene):
    units = pet_units(node(scene, 12.0))
    assert (units.factor, units.suv_max, units.origin) == (None, None, "")
    with pytest.raises(SuvError, match="SUVbw"):
        units.require()


def test_the_volume_says_that_it_is_suvbw(scene):
    pet = node(scene, 12.0)
    show_as_pet(pet, fused=False)
    assert pet_units(pet).require() == 1.0
    assert pet_units(pet).origin == "the volume"


def test_a_person_confirms_and_takes_it_back(scene):
    pet = node(scene, 12.0)
    confirm_suvbw(pet)
    assert pet_units(pet).require() == 1.0
    confirm_suvbw(pet, False)
    assert pet_units(pet).factor is None


@pytest.mark.parametrize("said_by_volume", [False, True])
def test_activity_is_refused_with_its_number(scene, said_by_volume):
    pet = node(scene, 23410.0)
    if said_by_volume:
        show_as_pet(pet, fused=False)
        with pytest.raises(SuvError, match="23410"):
            pet_units(pet).require()
    else:
        with pytest.raises(SuvError, match="23410"):
            confirm_suvbw(pet)
        assert pet_units(pet).factor is None


def test_a_factor_scales_once(scene):
    pet = node(scene, 20000.0)
    set_factor(pet, 70_000 / 140e6)  # 70 kg, 140 MBq left at scan time
    assert sitk.GetArrayFromImage(pet_image(pet)).max() == pytest.approx(10.0)
    assert pet_units(pet).suv_max == pytest.approx(10.0)
    assert pet.GetImageData().GetScalarRange()[1] == 20000.0


@pytest.mark.parametrize("factor", [0.0, -1.0, float("nan"), float("inf")])
def test_a_factor_that_is_none(scene, factor):
    with pytest.raises(SuvError, match="above 0"):
        set_factor(node(scene, 20000.0), factor)


def test_a_factor_that_does_not_make_suv(scene):
    pet = node(scene, 20000.0)
    with pytest.raises(SuvError, match="not in SUVbw"):
        set_factor(pet, 0.5)
    assert pet_units(pet).factor is None


class Database:
    """slicer.dicomDatabase for a folder."""

    def __init__(self, files: dict[str, str]):
        self.files = files

    def fileForInstance(self, uid: str) -> str:  # noqa: N802
        return self.files.get(uid, "")


def test_the_factor_from_the_dicom_header(scene, tmp_path):
    slices = dicom_sets.pet_series()
    dicom_sets.save(slices, tmp_path, [f"{k}.dcm" for k in range(len(slices))])
    pet = node(scene, 20000.0)
    pet.SetAttribute("DICOM.instanceUIDs", " ".join(str(ds.SOPInstanceUID) for ds in slices))
    files = {str(ds.SOPInstanceUID): str(tmp_path / f"{k}.dcm") for k, ds in enumerate(slices)}
    # 70 kg; 350 MBq at 9:00, half-life 6586.2 s, scan at 10:00.
    expected = 70_000 / (350e6 * 2 ** (-3600 / 6586.2))
    assert factor_from_headers(pet, Database(files)) == pytest.approx(expected, rel=1e-6)
    files.popitem()
    with pytest.raises(SuvError, match="no longer in Slicer's database"):
        factor_from_headers(pet, Database(files))


def test_a_volume_from_a_file_has_no_header(scene):
    with pytest.raises(SuvError, match="not loaded from DICOM"):
        factor_from_headers(node(scene, 20000.0), Database({}))


def patient(scene, name: str, uid: str, *nodes) -> None:
    hierarchy = core_app.require_slicer().vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    subject = hierarchy.CreateSubjectItem(hierarchy.GetSceneItemID(), name)
    hierarchy.SetItemUID(subject, "DICOM", uid)
    study = hierarchy.CreateStudyItem(subject, "PET/CT")
    for each in nodes:
        item = hierarchy.GetItemByDataNode(each) or hierarchy.CreateItem(study, each)
        hierarchy.SetItemParent(item, study)


@pytest.fixture
def pair(scene):
    pet, ct = node(scene, 12.0), node(scene, 1500.0, "CT", low=-1000.0)
    show_as_pet(pet, fused=True)
    show_as_ct(ct)
    return pet, ct


def test_study_of_two_nodes(scene, pair):
    patient(scene, "A", "A1", *pair)
    study = study_from_nodes(*pair)
    assert sitk.GetArrayViewFromImage(study.pet).max() == pytest.approx(12.0)
    assert sitk.GetArrayViewFromImage(study.ct).min() == pytest.approx(-1000.0)
    assert study.provenance.suv_factor == 1.0


def test_no_pet():
    with pytest.raises(InputError, match="No PET"):
        study_from_nodes(None)


def test_ct_of_another_patient(scene, pair):
    patient(scene, "A", "A1", pair[0])
    patient(scene, "B", "B7", pair[1])
    with pytest.raises(InputError, match="two different patients") as caught:
        study_from_nodes(*pair)
    assert "A1" not in str(caught.value)


def test_ct_somewhere_else(scene, pair):
    far = node(scene, 1500.0, "CT", low=-1000.0, shift_mm=900.0)
    with pytest.raises(GeometryError, match="same place"):
        study_from_nodes(pair[0], far)


@pytest.mark.parametrize("marked", [True, False])
def test_a_pet_as_ct(scene, pair, marked):
    other = node(scene, 9.0, "other PET")
    if marked:
        show_as_pet(other, fused=False)
    with pytest.raises(InputError, match="other PET"):
        study_from_nodes(pair[0], other)
    with pytest.raises(InputError, match="as PET and as CT"):
        study_from_nodes(pair[0], pair[0])


def test_nan_in_the_pet(scene):
    pet = node(scene, 12.0)
    show_as_pet(pet, fused=False)
    pet.GetImageData().SetScalarComponentFromDouble(1, 1, 1, 0, float("nan"))
    with pytest.raises(InputError, match="1 voxels that are NaN"):
        study_from_nodes(pet)
