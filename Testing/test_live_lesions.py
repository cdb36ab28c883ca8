"""A segmentation node and its lesion set in step, whoever changes which."""

from __future__ import annotations

import lesion_cases
import numpy as np
import pytest

pytest.importorskip("slicer", reason="the slicer extra is not installed")
pytestmark = pytest.mark.usefixtures("no_vtk_errors")

from HNTumorSegLib.errors import LesionError  # noqa: E402
from HNTumorSegLib.exchange.segment_facts import SLICER_STATUS_TAG, terminology_entry  # noqa: E402
from HNTumorSegLib.mrml import core_app  # noqa: E402
from HNTumorSegLib.mrml.live_lesions import LiveLesions  # noqa: E402
from HNTumorSegLib.mrml.scene import (  # noqa: E402
    lesion_set_to_segmentation,
    segmentation_to_lesion_set,
    volume_to_node,
)
from HNTumorSegLib.mrml.segmentations import segment_tag  # noqa: E402


@pytest.fixture
def scene():
    core_app.application()  # its segmentations logic knows how to convert and copy segments
    scene = core_app.new_scene()
    yield scene
    scene.Clear(True)


@pytest.fixture(params=lesion_cases.DIRECTIONS)
def live(scene, request):
    geometry = lesion_cases.grid(request.param)
    pet = volume_to_node(lesion_cases.study(geometry).pet, "PET", scene)
    return LiveLesions(lesion_set_to_segmentation(lesion_cases.lesions(geometry), pet, "Lesions"), "reader")


def read(live) -> dict[str, tuple[str, str, int]]:
    """What the node alone says: name -> kind, status, voxels."""
    back = segmentation_to_lesion_set(live.node)
    return {x.name: (x.kind, x.status, int(back.mask(x.id).sum())) for x in back.lesions}


def voxels_of_layer(live, lesion_id: int) -> np.ndarray:
    """A writable view (zyx) of the node's own voxels, and which of them are the lesion's."""
    from HNTumorSegLib.mrml.volumes import array_from_vtk_image

    return array_from_vtk_image(live.node.GetBinaryLabelmapInternalRepresentation(f"Lesion_{lesion_id}"))


def test_correction_shows_in_the_node(live):
    live.apply(lambda lesions: lesions.relabel(7, "primary", actor="reader"))
    assert read(live) == {"Primary 1": ("primary", "proposed", 60), "Primary 2": ("primary", "edited", 8),
                          "Node 1": ("node", "added", 8)}  # fmt: skip
    segment = live.node.GetSegmentation().GetSegment("Lesion_7")
    assert segment.GetTerminology() == terminology_entry("primary")
    live.apply(lambda lesions: lesions.undo())
    assert read(live)["Node 1"][0] == "node"
    assert live.node.GetSegmentation().GetNumberOfLayers() == 1


def test_what_raises_changes_nothing(live):
    before = read(live)
    with pytest.raises(LesionError, match="no lesion with id 99"):
        live.apply(lambda lesions: lesions.remove(99))
    assert read(live) == before


def test_nothing_painted_is_nothing_taken_over(live):
    assert live.take_over() == []
    assert not live.lesions.can_undo


def test_voxels_erased_in_the_node(live):
    voxels = voxels_of_layer(live, 1)
    k, j, i = np.argwhere(voxels == 1)[0]
    voxels[k, j, i] = 0
    assert live.take_over() == [1]
    edit = live.lesions[1].history[-1]
    assert (edit.actor, edit.tool) == ("reader", "erase")
    assert edit.volume_before_ml - edit.volume_after_ml == pytest.approx(0.024)
    live.apply(lambda lesions: lesions.undo())
    assert (voxels_of_layer(live, 1) == 1).sum() == 60


def test_painting_over_another_is_one_step(live):
    voxels = voxels_of_layer(live, 1)
    k, j, i = np.argwhere(voxels == 7)[0]
    voxels[k, j, i] = 1
    assert live.take_over() == [1, 7]
    assert live.lesions[7].history[-1].note.startswith("painted over by Primary 1")
    live.apply(lambda lesions: lesions.undo())
    assert read(live)["Primary 1"][2] == 60
    assert not live.lesions.can_undo


def test_segment_removed_in_the_node(live):
    live.node.GetSegmentation().RemoveSegment("Lesion_3")
    assert live.take_over() == [3]
    assert [x.id for x in live.lesions.removed] == [3]
    live.apply(lambda lesions: lesions.undo())
    assert len(read(live)) == 3


def test_recoded_and_completed_in_the_node(live):
    segmentation = live.node.GetSegmentation()
    segmentation.GetSegment("Lesion_3").SetTerminology(terminology_entry("primary"))
    segmentation.GetSegment("Lesion_1").SetTag(SLICER_STATUS_TAG, "completed")
    assert live.take_over() == [1, 3]
    assert live.lesions[3].kind == "primary"
    assert live.lesions[1].status == "confirmed"
    assert segment_tag(segmentation.GetSegment("Lesion_1"), "HNTumorSeg.Status") == "confirmed"


def test_read_again_it_is_the_same(live):
    live.apply(lambda lesions: lesions.remove(3, actor="reader"))
    live.apply(lambda lesions: lesions.confirm(1, actor="reader"))
    again = LiveLesions(live.node, "another")
    assert (again.lesions.labels == live.lesions.labels).all()
    assert again.lesions.lesions == live.lesions.lesions
    assert again.lesions.removed == live.lesions.removed


def test_segments_of_another_program_get_our_ids(scene):
    """And keep voxels, and become lesions that can be corrected."""
    import slicer

    geometry = lesion_cases.grid("oblique")
    pet = volume_to_node(lesion_cases.study(geometry).pet, "PET", scene)
    node = lesion_set_to_segmentation(lesion_cases.lesions(geometry), pet, "Lesions")
    held = node.GetSegmentation()
    for name in list(held.GetSegmentIDs()):
        segment = slicer.vtkSegment()
        segment.DeepCopy(held.GetSegment(name))
        for tag in ("HNTumorSeg.Id", "HNTumorSeg.Kind", "HNTumorSeg.Status", "HNTumorSeg.History"):
            segment.RemoveTag(tag)
        held.RemoveSegment(name)
        held.AddSegment(segment, f"GTV {name}")
    live = LiveLesions(node, "reader")
    assert sorted(held.GetSegmentIDs()) == ["Lesion_1", "Lesion_2", "Lesion_3"]
    live.apply(lambda lesions: lesions.remove(2))
    assert sorted(voxels for _, _, voxels in read(live).values()) == [8, 60]


def test_three_d_view_follows(live):
    live.node.CreateClosedSurfaceRepresentation()
    live.apply(lambda lesions: lesions.remove(1))
    assert live.node.GetSegmentation().ContainsRepresentation("Closed surface")
    assert live.node.GetClosedSurfaceInternalRepresentation("Lesion_7").GetNumberOfPoints() > 0


def test_lesions_of_a_volume_under_a_transform_lie_where_it_is_shown(scene):
    """The transform counts once: the lesion's world bounds are those of its voxels in the moved volume."""
    import slicer
    from vtkmodules.vtkCommonMath import vtkMatrix4x4

    from HNTumorSegLib.lesions.lesion_set import LesionSet
    from HNTumorSegLib.mrml.scene import node_geometry

    pet = volume_to_node(lesion_cases.study().pet, "PET", scene)
    transform = scene.AddNode(slicer.vtkMRMLLinearTransformNode())
    matrix = vtkMatrix4x4()
    matrix.SetElement(0, 3, 100.0)
    transform.SetMatrixTransformToParent(matrix)
    pet.SetAndObserveTransformNodeID(transform.GetID())
    at_rest = lesion_cases.lesions()
    moved = LesionSet(node_geometry(pet), at_rest.labels, at_rest.lesions)
    node = lesion_set_to_segmentation(moved, pet, "Lesions")
    bounds = [0.0] * 6
    node.GetRASBounds(bounds)
    positions = np.array([p for x in at_rest.lesions for p in lesion_cases.voxel_positions_ras(at_rest, x.id)])
    expected = positions[:, 0].min() - 1 + 100, positions[:, 0].max() + 1 + 100  # half a voxel of 2 mm on each side
    assert bounds[:2] == pytest.approx(expected)
