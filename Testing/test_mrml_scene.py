"""The bridge to Slicer's scene, judged by slicer-core."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import lesion_cases
import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import GeometryError, InputError
from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.measures.table import COLUMNS, measure

pytest.importorskip("slicer", reason="the slicer extra is not installed")
pytestmark = pytest.mark.usefixtures("no_vtk_errors")

from test_seg_nrrd import NODE_TERMINOLOGY, PRIMARY_TERMINOLOGY, positions_ras, tag  # noqa: E402

from HNTumorSegLib.mrml import core_app  # noqa: E402
from HNTumorSegLib.mrml.load import load_scene  # noqa: E402
from HNTumorSegLib.mrml.save import save_scene  # noqa: E402
from HNTumorSegLib.mrml.scene import (  # noqa: E402
    lesion_set_to_segmentation,
    measurements_to_table,
    node_to_image,
    segmentation_to_lesion_set,
    volume_to_node,
)


@pytest.fixture
def scene():
    scene = core_app.new_scene()
    yield scene
    scene.Clear(True)


@pytest.mark.parametrize("direction", lesion_cases.DIRECTIONS)
def test_volume_lies_where_the_image_lies(scene, direction):
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    image = lesion_cases.study(lesion_cases.grid(direction)).pet
    node = volume_to_node(image, "PET", scene)
    matrix = vtkMatrix4x4()
    node.GetIJKToRASMatrix(matrix)
    for ijk in ((0, 0, 0), (13, 0, 0), (0, 10, 0), (0, 0, 8), (5, 7, 3)):
        x, y, z = image.TransformIndexToPhysicalPoint(ijk)
        assert matrix.MultiplyPoint((*ijk, 1.0))[:3] == pytest.approx((-x, -y, z), abs=1e-9)
        assert node.GetImageData().GetScalarComponentAsDouble(*ijk, 0) == pytest.approx(image[ijk], abs=0)


@pytest.mark.parametrize("direction", lesion_cases.DIRECTIONS)
@pytest.mark.parametrize("which", ["pet", "ct"])
def test_image_comes_back_exactly(scene, direction, which):
    image = getattr(lesion_cases.study(lesion_cases.grid(direction)), which)
    back = node_to_image(volume_to_node(image, "image", scene))
    assert back.GetPixelID() == image.GetPixelID()
    np.testing.assert_array_equal(lesion_cases.array(back), lesion_cases.array(image))
    assert Geometry.from_image(back).distance_mm(Geometry.from_image(image)) < 1e-9


def test_linear_transform_moves_the_image_and_shear_is_refused(scene):
    import slicer
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    image = lesion_cases.study().pet
    node = volume_to_node(image, "PET", scene)
    transform = slicer.vtkMRMLLinearTransformNode()
    scene.AddNode(transform)
    matrix = vtkMatrix4x4()
    matrix.SetElement(0, 3, 10.0)  # 10 mm towards R+ of RAS, so -10 mm along L
    transform.SetMatrixTransformToParent(matrix)
    node.SetAndObserveTransformNodeID(transform.GetID())
    moved = node_to_image(node)
    assert np.subtract(moved.GetOrigin(), image.GetOrigin()) == pytest.approx((-10, 0, 0))
    matrix.SetElement(0, 1, 0.3)
    transform.SetMatrixTransformToParent(matrix)
    with pytest.raises(GeometryError, match="not perpendicular"):
        node_to_image(node)


def test_empty_volume_is_an_input_error(scene):
    with pytest.raises(InputError, match="no voxels"):
        node_to_image(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "nothing"))


@pytest.mark.parametrize("direction", lesion_cases.DIRECTIONS)
def test_lesions_become_segments_and_come_back(scene, direction):
    geometry = lesion_cases.grid(direction)
    lesion_set = lesion_cases.lesions(geometry)
    pet = volume_to_node(lesion_cases.study(geometry).pet, "PET", scene)
    node = lesion_set_to_segmentation(lesion_set, pet, "Lesions", algorithm_name="default 0.1")

    assert node.GetNodeReference(node.GetReferenceImageGeometryReferenceRole()) is pet
    segmentation = node.GetSegmentation()
    for lesion, terminology in zip(lesion_set.lesions, (PRIMARY_TERMINOLOGY, *[NODE_TERMINOLOGY] * 2), strict=True):
        segment_id = f"Lesion_{lesion.id}"
        segment = segmentation.GetSegment(segment_id)
        assert segment.GetName() == lesion.name
        assert segment.GetTerminology() == terminology
        assert tag(segment, "DICOM.SegmentAlgorithmName") == "default 0.1"
        assert positions_ras(node, segment_id) == lesion_cases.voxel_positions_ras(lesion_set, lesion.id)
    back = segmentation_to_lesion_set(node)
    assert back.lesions == lesion_set.lesions
    np.testing.assert_array_equal(back.labels, lesion_set.labels)
    assert back.geometry.distance_mm(geometry) < 1e-6


def test_lesions_on_another_grid_are_refused(scene):
    pet = volume_to_node(lesion_cases.study(lesion_cases.grid("oblique")).pet, "PET", scene)
    with pytest.raises(GeometryError, match="grids differ"):
        lesion_set_to_segmentation(lesion_cases.lesions(), pet, "Lesions")


def test_an_edited_segmentation_on_a_grid_asked_for(scene):
    """Half of the primary is erased as the Segment Editor does it; the result is wanted on a finer grid."""
    import slicer

    study = lesion_cases.study()
    lesion_set = lesion_cases.lesions()
    node = lesion_set_to_segmentation(lesion_set, volume_to_node(study.pet, "PET", scene), "Lesions")
    image = slicer.vtkOrientedImageData()
    assert node.GetBinaryLabelmapRepresentation("Lesion_1", image)
    for i in (4, 5):
        for j in range(3, 7):
            for k in range(2, 5):
                image.SetScalarComponentFromDouble(i, j, k, 0, 0)
    assert slicer.vtkSlicerSegmentationsModuleLogic.SetBinaryLabelmapToSegment(image, node, "Lesion_1", 0)
    expected = lesion_set.labels.copy()
    expected[2:5, 3:7, 4:6] = 0
    np.testing.assert_array_equal(segmentation_to_lesion_set(node).labels, expected)
    fine = segmentation_to_lesion_set(node, study.ct_geometry)
    np.testing.assert_array_equal(fine.labels, expected.repeat(2, 0).repeat(2, 1).repeat(2, 2))


def test_table_has_the_columns_of_the_csv(scene, tmp_path):
    study = lesion_cases.study()
    measurements = measure(lesion_cases.lesions(), study.pet)
    node = measurements_to_table(measurements, "Lesion table", scene)
    assert [node.GetColumnName(i) for i in range(node.GetNumberOfColumns())] == list(COLUMNS)
    assert node.GetColumnUnitLabel("volume_ml") == "ml"
    rows = [*measurements.rows, *measurements.totals]
    assert node.GetNumberOfRows() == len(rows)
    for number, row in enumerate(rows):
        assert node.GetCellText(number, 0) == str(row.id)
        assert float(node.GetCellText(number, 4)) == pytest.approx(row.volume_ml, rel=1e-4)


@pytest.mark.parametrize("direction", lesion_cases.DIRECTIONS)
@pytest.mark.parametrize("reference", ["pet", "ct"])
def test_scene_file_opens_with_everything(tmp_path, direction, reference):
    study = lesion_cases.study(lesion_cases.grid(direction))
    geometry = study.pet_geometry if reference == "pet" else study.ct_geometry
    lesion_set = lesion_cases.lesions(study.pet_geometry)
    if reference == "ct":
        lesion_set.geometry = geometry
        lesion_set.labels = lesion_set.labels.repeat(2, 0).repeat(2, 1).repeat(2, 2)
    folder = tmp_path / "Müller ü"
    folder.mkdir()
    path = save_scene(study, lesion_set, measure(lesion_set, study.pet), folder / "scene.mrb")
    scene = load_scene(path)
    try:
        _check_volume(scene.GetFirstNodeByName("PET SUVbw"), study.pet, "{SUVbw}g/ml")
        _check_volume(scene.GetFirstNodeByName("CT"), study.ct, "[hnsf'U]")
        _check_segmentation(scene.GetFirstNodeByClass("vtkMRMLSegmentationNode"), lesion_set)
        _check_views(scene)
        table = scene.GetFirstNodeByClass("vtkMRMLTableNode")
        assert [table.GetColumnName(i) for i in range(table.GetNumberOfColumns())] == list(COLUMNS)
        assert table.GetNumberOfRows() == len(lesion_set) + 3
    finally:
        scene.Clear(True)


def _check_volume(node, image, units):
    """The same values at the same places; Slicer's file reader turns left-handed grids round."""
    back = node_to_image(node)
    there = resample(back, Geometry.from_image(image), nearest=True, outside=-1e6)
    np.testing.assert_array_equal(lesion_cases.array(there), lesion_cases.array(image))
    assert node.GetVoxelValueUnits().GetCodeValue() == units


def _check_segmentation(node, lesion_set):
    from HNTumorSegLib.lesions.colors import lesion_colors

    colors = lesion_colors(lesion_set)
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == len(lesion_set)
    for lesion in lesion_set.lesions:
        segment = segmentation.GetSegment(f"Lesion_{lesion.id}")
        assert segment.GetName() == lesion.name
        assert segment.GetColor() == pytest.approx([c / 255 for c in colors[lesion.id]], abs=1e-5)
        assert segment.GetTerminology() == (PRIMARY_TERMINOLOGY if lesion.kind == "primary" else NODE_TERMINOLOGY)
        found = positions_ras(node, f"Lesion_{lesion.id}")
        expected = lesion_cases.voxel_positions_ras(lesion_set, lesion.id)
        assert len(found) == len(expected)
        distances = np.array(sorted(found)) - np.array(sorted(expected))
        assert np.abs(distances).max() < 0.01
    back = segmentation_to_lesion_set(node, lesion_set.geometry)
    assert back.lesions == lesion_set.lesions
    np.testing.assert_array_equal(back.labels, lesion_set.labels)


def _check_views(scene):
    pet, ct = scene.GetFirstNodeByName("PET SUVbw"), scene.GetFirstNodeByName("CT")
    for view in ("Red", "Yellow", "Green"):
        composite = scene.GetSingletonNode(view, "vtkMRMLSliceCompositeNode")
        assert composite.GetBackgroundVolumeID() == ct.GetID()
        assert composite.GetForegroundVolumeID() == pet.GetID()
        assert 0 < composite.GetForegroundOpacity() < 1
    display = pet.GetDisplayNode()
    assert display.GetColorNode().GetName() == "PET-DICOM"
    assert (display.GetWindowLevelMin(), display.GetWindowLevelMax()) == (0, 10)
    hierarchy = scene.GetFirstNodeByClass("vtkMRMLSubjectHierarchyNode")
    segmentation = scene.GetFirstNodeByClass("vtkMRMLSegmentationNode")
    parents = {hierarchy.GetItemParent(hierarchy.GetItemByDataNode(node)) for node in (pet, ct, segmentation)}
    assert [hierarchy.GetItemName(item) for item in parents] == ["PET/CT"]


def test_scene_of_a_pet_alone_without_lesions(tmp_path):
    study = lesion_cases.study(with_ct=False)
    lesion_set = lesion_cases.lesions()
    lesion_set.labels[:] = 0
    lesion_set.lesions.clear()
    scene = load_scene(save_scene(study, lesion_set, measure(lesion_set, study.pet), tmp_path / "scene.mrb"))
    assert scene.GetFirstNodeByClass("vtkMRMLSegmentationNode") is None
    assert scene.GetFirstNodeByClass("vtkMRMLTableNode").GetNumberOfRows() == 3
    assert scene.GetFirstNodeByName("CT") is None
    assert scene.GetSingletonNode("Red", "vtkMRMLSliceCompositeNode").GetForegroundVolumeID() is None
    scene.Clear(True)


def test_scene_names_no_patient_and_leaves_the_users_scene_alone(tmp_path):
    import zipfile

    before = core_app.current_scene().GetNumberOfNodes()
    study = lesion_cases.study()
    path = save_scene(study, lesion_cases.lesions(), None, tmp_path / "scene.mrb")
    assert core_app.current_scene().GetNumberOfNodes() == before
    with zipfile.ZipFile(path) as bundle:
        for name in bundle.namelist():
            data = bundle.read(name)
            assert b"DOE" not in data
            assert b"1.2.3.4" not in data


def test_no_scene_file(tmp_path):
    with pytest.raises(InputError, match="There is no scene file"):
        load_scene(tmp_path / "missing.mrb")


def run_python(code, **options):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        **options,
    )


def test_process_ends_cleanly(tmp_path):
    """Everything is used, nothing is cleaned up by hand: the process must not crash while it ends."""
    code = f"""
        import sys
        sys.path.insert(0, {str(lesion_cases.__file__).rsplit("/", 1)[0]!r})
        import lesion_cases
        from HNTumorSegLib.measures.table import measure
        from HNTumorSegLib.mrml import core_app
        from HNTumorSegLib.mrml.load import load_scene
        from HNTumorSegLib.mrml.save import save_scene
        from HNTumorSegLib.mrml.scene import lesion_set_to_segmentation, measurements_to_table, volume_to_node
        study, lesion_set = lesion_cases.study(), lesion_cases.lesions()
        table = measure(lesion_set, study.pet)
        app = core_app.application()
        core_app.module_logic("Terminologies")
        pet = volume_to_node(study.pet, "PET")
        node = lesion_set_to_segmentation(lesion_set, pet, "Lesions")
        measurements_to_table(table, "table")
        scene = load_scene(save_scene(study, lesion_set, table, {str(tmp_path / "scene.mrb")!r}))
        print(scene.GetNumberOfNodes() > 0, core_app.inside_slicer())
    """
    done = run_python(code)
    assert (done.returncode, done.stdout.split(), done.stderr) == (0, ["True", "False"], "")


def test_missing_package_says_what_to_install():
    code = """
        import sys
        sys.modules["slicer"] = None  # what Python does for a package that is not there
        from HNTumorSegLib.errors import MissingPackageError
        from HNTumorSegLib.mrml import core_app
        try:
            core_app.new_scene()
        except MissingPackageError as error:
            print(error)
    """
    done = run_python(code)
    assert done.returncode == 0, done.stderr
    assert "pip install" in done.stdout


def test_inside_slicer_nothing_is_started():
    """With an application there, its scene is handed out and nothing is set."""
    code = """
        import slicer
        from HNTumorSegLib.mrml import core_app
        class Application: pass
        slicer.app, slicer.mrmlScene = Application(), slicer.vtkMRMLScene()
        app, scene = slicer.app, slicer.mrmlScene
        assert core_app.inside_slicer()
        assert core_app.application() is app
        assert core_app.current_scene() is scene
        assert scene.GetNumberOfNodes() == 0
        core_app.new_scene()
        assert slicer.mrmlScene is scene and scene.GetNumberOfNodes() == 0
    """
    done = run_python(code)
    assert (done.returncode, done.stderr) == (0, "")


def test_sitk_and_slicer_agree_on_a_saved_volume(tmp_path):
    """A second reader: SimpleITK reads the PET that Slicer put into the bundle."""
    import zipfile

    study = lesion_cases.study(lesion_cases.grid("oblique"))
    with zipfile.ZipFile(save_scene(study, lesion_cases.lesions(study.pet_geometry), None, tmp_path / "s.mrb")) as z:
        name = next(n for n in z.namelist() if n.endswith("PET SUVbw.nrrd"))
        (tmp_path / "pet.nrrd").write_bytes(z.read(name))
    image = sitk.ReadImage(str(tmp_path / "pet.nrrd"))
    np.testing.assert_array_equal(lesion_cases.array(image), lesion_cases.array(study.pet))
    assert Geometry.from_image(image).distance_mm(study.pet_geometry) < 1e-6
