"""The overview picture: what is where in it, nothing cut off, nothing on top of something else."""

from __future__ import annotations

import itertools

import lesion_cases
import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import OutputError
from HNTumorSegLib.exchange.overview import draw_overview, write_overview
from HNTumorSegLib.exchange.overview_panels import fuse, spread
from HNTumorSegLib.exchange.overview_views import (
    AXIAL,
    CORONAL,
    SAGITTAL,
    lesion_center_mm,
    pet_projections,
    plane_outlines,
    projection_outlines,
    sample_plane,
    window_around,
)
from HNTumorSegLib.geometry import image_from_array
from HNTumorSegLib.measures.table import measure

CASES = {
    "head and neck": {},
    "whole body": {"height_mm": 1200.0},
    "PET only": {"with_ct": False},
    "one lesion": {"n_nodes": 0},
    "many lesions": {"n_nodes": 16},
    "no lesion": {"n_nodes": -1},
    "no lesion, whole body, PET only": {"n_nodes": -1, "height_mm": 1200.0, "with_ct": False},
    "oblique": {"direction": "oblique"},
}


def texts(figure):
    """Every visible, non-empty text of the page and its box in pixels."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.text import Text

    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    found = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    return [(t.get_text().strip(), t.get_window_extent(canvas.get_renderer())) for t in found]


@pytest.mark.parametrize("case", CASES)
def test_nothing_is_cut_off_and_no_text_covers_another(case):
    study, lesion_set = lesion_cases.patient(**CASES[case])
    figure = draw_overview(study, lesion_set, measure(lesion_set, study.pet))
    boxes = texts(figure)
    page = figure.bbox
    for text, box in boxes:
        assert box.x0 >= 0, text
        assert box.y0 >= 0, text
        assert box.x1 <= page.x1, text
        assert box.y1 <= page.y1, text
    for (text_a, a), (text_b, b) in itertools.combinations(boxes, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert width <= 1 or height <= 2, f"'{text_a}' and '{text_b}' overlap by {width:.0f} x {height:.0f} pixels"


@pytest.mark.parametrize("case", ["head and neck", "PET only", "no lesion"])
def test_the_words_that_must_be_there(case):
    study, lesion_set = lesion_cases.patient(**CASES[case])
    measurements = measure(lesion_set, study.pet)
    words = [text for text, _ in texts(draw_overview(study, lesion_set, measurements))]
    everything = "\n".join(words)
    assert "Research use only" in everything
    assert "g/ml" in everything
    assert {"R", "L", "A", "P", "S", "I"} <= set(words)
    for secret in ("DOE", "Jane", "1.2.3"):
        assert secret not in everything
    if len(lesion_set):
        total = measurements.totals[-1]
        assert f"TTB {total.volume_ml:.1f} ml" in words
        assert f"{total.tlg_g:.1f}" in words
        for lesion in lesion_set.lesions:
            assert words.count(lesion.name) >= 2, "once at the picture, once in the table"
    else:
        assert "No lesion found" in words


def test_the_file(tmp_path):
    study, lesion_set = lesion_cases.patient()
    folder = tmp_path / "Ü"
    folder.mkdir()
    path = write_overview(study, lesion_set, None, folder / "overview.png")
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))
    assert image.shape[:2] == (1100, 1760)
    rgb = image[..., :3].astype(int)
    assert (rgb.min(axis=-1) > 250).mean() > 0.3, "a calm page"
    red = (np.abs(rgb - (230, 60, 50)).sum(axis=-1) < 30).sum()
    blue = (np.abs(rgb - (60, 150, 240)).sum(axis=-1) < 30).sum()
    assert red > 100
    assert blue > 100
    with pytest.raises(OutputError, match="cannot be written"):
        write_overview(study, lesion_set, None, tmp_path / "missing" / "overview.png")


def test_no_outline_colour_without_lesions(tmp_path):
    study, lesion_set = lesion_cases.patient(n_nodes=-1, with_ct=False)
    image = sitk.GetArrayFromImage(sitk.ReadImage(str(write_overview(study, lesion_set, None, tmp_path / "o.png"))))
    rgb = image[..., :3].astype(int)
    assert not (rgb.max(axis=-1) - rgb.min(axis=-1) > 60).any()


@pytest.mark.parametrize("direction", lesion_cases.DIRECTIONS)
@pytest.mark.parametrize("view", [AXIAL, CORONAL, SAGITTAL], ids=lambda view: view.name)
def test_a_plane_shows_what_is_there_whatever_the_orientation(direction, view):
    """The image holds a linear function of the LPS position, which linear interpolation reproduces exactly."""
    geometry = lesion_cases.grid(direction)
    weights, constant = np.array([0.7, -0.3, 0.2]), 5.0
    positions = geometry.to_lps(np.stack(np.indices(geometry.shape_zyx)[::-1], axis=-1))
    image = image_from_array((positions @ weights + constant).astype(np.float32), geometry)
    center = geometry.to_lps((np.array(geometry.size) - 1) / 2)
    window = np.array([center - 4.0, center + 4.0])
    picture = sample_plane(image, view, window, center[view.depth], -999.0)
    left, _, first, _ = picture.extent_mm
    for row, column in ((0, 0), (0, 7), (7, 0), (3, 5)):
        position = np.zeros(3)
        position[view.across] = left + column + 0.5
        position[view.up] = first + row + 0.5
        position[view.depth] = center[view.depth]
        assert picture.values[row, column] == pytest.approx(position @ weights + constant, abs=1e-3)


@pytest.mark.parametrize("direction", lesion_cases.DIRECTIONS)
def test_outlines_lie_on_the_lesion(direction):
    lesion_set = lesion_cases.lesions(lesion_cases.grid(direction))
    positions = np.array(sorted(lesion_cases.voxel_positions_ras(lesion_set, 1))) * (-1, -1, 1)
    for view in (CORONAL, SAGITTAL):
        outline = next(o for o in projection_outlines(lesion_set, view) if o.lesion_id == 1)
        middle = positions[:, [view.across, view.up]].mean(axis=0)
        assert np.linalg.norm(np.subtract(outline.center_mm, middle)) < 1.5
    center = lesion_center_mm(lesion_set, 1)
    assert np.linalg.norm(center - positions.mean(axis=0)) < 3
    window = window_around(center, 60.0, lesion_set.geometry.bounds_mm())
    for view in (AXIAL, CORONAL, SAGITTAL):
        assert 1 in {o.lesion_id for o in plane_outlines(lesion_set, view, window, center[view.depth])}


@pytest.mark.parametrize("direction", ["axial", "permuted", "oblique"])
def test_projection_is_the_maximum_at_the_right_place(direction):
    study, _ = lesion_cases.patient(n_nodes=-1, direction=direction)
    suv = lesion_cases.array(study.pet)
    hot = study.pet_geometry.to_ijk(np.array([62.0, 30.0, 10.0])).round().astype(int)
    suv[tuple(hot[::-1])] = 60.0
    study.pet = image_from_array(suv, study.pet_geometry)
    there = study.pet_geometry.to_lps(hot)
    pictures = pet_projections(study)
    for view in (CORONAL, SAGITTAL):
        picture = pictures[view.name]
        row, column = np.unravel_index(picture.values.argmax(), picture.values.shape)
        left, right, first, last = picture.extent_mm
        across = left + (column + 0.5) * (right - left) / picture.values.shape[1]
        up = first + (row + 0.5) * (last - first) / picture.values.shape[0]
        assert (across, up) == pytest.approx(there[[view.across, view.up]], abs=3)
        assert picture.values.max() > 20


def test_fusion_shows_the_ct_where_there_is_no_uptake_and_the_pet_where_there_is():
    ct = np.array([[-1000.0, 40.0, 1000.0, 40.0]])
    rgb = fuse(ct, np.array([[0.0, 0.0, 0.0, 10.0]]))
    assert rgb[0, 0] == pytest.approx([0, 0, 0])
    assert rgb[0, 1] == pytest.approx([0.5, 0.5, 0.5])
    assert rgb[0, 2] == pytest.approx([1, 1, 1])
    assert rgb[0, 3, 0] > 0.8
    assert rgb.min() >= 0
    assert rgb.max() <= 1


def test_spread_keeps_the_order_and_the_gap():
    random = np.random.default_rng(0)
    for _ in range(200):
        positions = sorted(random.uniform(0, 100, random.integers(1, 12)))
        moved = spread(positions, 7.0, 0.0, 100.0)
        assert min(moved) >= -1e-9
        assert max(moved) <= 100 + 1e-9
        assert all(b - a >= 7 - 1e-9 for a, b in itertools.pairwise(moved))
    assert spread([10.0, 50.0, 90.0], 7.0, 0.0, 100.0) == pytest.approx([10, 50, 90])
    # Two at one place move apart by half a gap each: the least squares answer.
    assert spread([50.0, 50.0], 8.0, 0.0, 100.0) == pytest.approx([46, 54])
    assert len(spread([1.0] * 40, 7.0, 0.0, 100.0)) == 40
