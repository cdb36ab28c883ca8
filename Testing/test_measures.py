"""Volumes, SUV indices and the table of them."""

from __future__ import annotations

import csv

import numpy as np
import pytest
import SimpleITK as sitk

from HNTumorSegLib.errors import InputError, OutputError
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.codes import NODE, PRIMARY
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.suv import PEAK_RADIUS_MM, sphere_fractions
from HNTumorSegLib.measures.table import COLUMNS, measure

OBLIQUE = tuple(np.linalg.qr(np.array([[0.9, 0.2, -0.3], [-0.1, 0.95, 0.25], [0.35, -0.2, 0.9]]))[0].ravel())
HEADER = "id,name,kind,status,volume_ml,suv_max,suv_mean,suv_peak,tlg_g,x_mm,y_mm,z_mm"


def grid(shape_zyx, spacing=(2.0, 2.5, 3.0), origin=(-40.0, 25.0, 310.0), direction=OBLIQUE) -> Geometry:
    return Geometry(tuple(shape_zyx[::-1]), spacing, origin, tuple(float(x) for x in direction))


def positions(geometry: Geometry) -> np.ndarray:
    """LPS of each voxel, shape (z, y, x, 3)."""
    zyx = np.stack(np.meshgrid(*[np.arange(n) for n in geometry.shape_zyx], indexing="ij"), axis=-1)
    return geometry.to_lps(zyx[..., ::-1])


def sphere(geometry: Geometry, centre_mm, radius_mm: float) -> np.ndarray:
    return np.linalg.norm(positions(geometry) - centre_mm, axis=-1) <= radius_mm


def lesions(geometry: Geometry, *masks, kinds=None) -> LesionSet:
    labels = np.zeros(geometry.shape_zyx, np.uint16)
    kinds = kinds or [PRIMARY] * len(masks)
    for number, mask in enumerate(masks, start=1):
        labels[mask] = number
    return LesionSet(geometry, labels, [Lesion(n, k, f"{k} {n}") for n, k in enumerate(kinds, start=1)])


def brute_force_peak(suv: np.ndarray, mask: np.ndarray, geometry: Geometry, parts: int = 8) -> float | None:
    """Highest mean in the sphere, by testing the corners of a fine lattice in every voxel of the image."""
    offsets = (np.arange(parts) + 0.5) / parts - 0.5
    sub = np.stack(np.meshgrid(offsets, offsets, offsets, indexing="ij"), -1).reshape(-1, 3)[:, ::-1]
    radius = (750 / np.pi) ** (1 / 3)
    every = np.stack(np.meshgrid(*[np.arange(-9, n + 9) for n in suv.shape], indexing="ij"), -1).reshape(-1, 3)
    best = None
    for centre in np.argwhere(mask):
        near = every[(np.abs(every - centre) * geometry.spacing_zyx_mm <= radius + 4).all(axis=1)]
        samples = geometry.to_lps(near[:, None, ::-1] + sub)
        within = np.linalg.norm(samples - geometry.to_lps(centre[::-1]), axis=-1) <= radius
        weights = within.mean(axis=1)
        near, weights = near[weights > 0], weights[weights > 0]
        if (near < 0).any() or (near >= suv.shape).any():
            continue
        mean = float((suv[tuple(near.T)] * weights).sum() / weights.sum())
        best = mean if best is None else max(best, mean)
    return best


def test_a_uniform_sphere_has_its_analytic_volume_glycolysis_and_centre():
    geometry = grid((48, 56, 60), spacing=(1.0, 1.2, 1.1))
    centre = geometry.to_lps([30.0, 27.5, 24.0])
    mask = sphere(geometry, centre, 20.0)
    pet = image_from_array(np.where(mask, 7.5, 1.0).astype(np.float32), geometry)
    row = measure(lesions(geometry, mask), pet).rows[0]
    assert row.volume_ml == pytest.approx(4 / 3 * np.pi * 2.0**3, rel=0.01)
    assert row.tlg_g == pytest.approx(7.5 * row.volume_ml)
    # Every sphere of 1 ml fits inside somewhere, so all three indices are the plateau.
    assert (row.suv_max, row.suv_mean, row.suv_peak) == pytest.approx((7.5, 7.5, 7.5))
    np.testing.assert_allclose([row.x_mm, row.y_mm, row.z_mm], centre, atol=0.05)


def test_volume_and_means_equal_plain_numpy_sums():
    rng = np.random.default_rng(5)
    geometry = grid((20, 24, 22))
    suv = rng.gamma(2.0, 2.0, geometry.shape_zyx).astype(np.float32)
    masks = [np.zeros(suv.shape, bool) for _ in range(2)]
    masks[0][8:11, 9:14, 8:12] = True
    masks[1][12:14, 9:11, 9:15] = True
    masks[1][12, 9, 9] = False
    table = measure(lesions(geometry, *masks, kinds=[PRIMARY, NODE]), image_from_array(suv, geometry))
    for row, mask in zip(table.rows, masks, strict=True):
        assert row.volume_ml == pytest.approx(mask.sum() * 2.0 * 2.5 * 3.0 / 1000)
        assert row.suv_max == pytest.approx(suv[mask].max())
        assert row.suv_mean == pytest.approx(suv[mask].mean(dtype=float))
        np.testing.assert_allclose([row.x_mm, row.y_mm, row.z_mm], positions(geometry)[mask].mean(axis=0), atol=1e-9)
    either = masks[0] | masks[1]
    total = table.total("total")
    assert table.ttb_ml == pytest.approx(either.sum() * 0.015)
    assert total.suv_mean == pytest.approx(suv[either].mean(dtype=float))
    assert total.tlg_g == pytest.approx(suv[either].sum(dtype=float) * 0.015)
    assert total.suv_max == pytest.approx(suv[either].max())
    np.testing.assert_allclose(
        [total.x_mm, total.y_mm, total.z_mm], positions(geometry)[either].mean(axis=0), atol=1e-9
    )


@pytest.mark.parametrize(
    "spacing", [(4.0, 4.0, 3.0), (4.6875, 4.6875, 3.27), (2.0, 2.0, 5.0), (13.0, 13.0, 13.0)], ids=str
)
def test_suv_peak_equals_brute_force(spacing):
    rng = np.random.default_rng(11)
    geometry = grid((11, 12, 13), spacing=spacing)
    suv = rng.gamma(1.5, 3.0, geometry.shape_zyx).astype(np.float32)
    mask = np.zeros(suv.shape, bool)
    mask[4:7, 3:8, 5:9] = rng.random((3, 5, 4)) > 0.4
    mask[5, 4, 6] = True
    row = measure(lesions(geometry, mask), image_from_array(suv, geometry)).rows[0]
    assert row.suv_peak == pytest.approx(brute_force_peak(suv, mask, geometry), rel=0.01)


def test_suv_peak_is_put_only_where_the_sphere_stays_in_the_image():
    rng = np.random.default_rng(2)
    geometry = grid((11, 11, 11), spacing=(4.0, 4.0, 4.0))
    suv = rng.gamma(1.5, 3.0, geometry.shape_zyx).astype(np.float32)
    suv[0] += 100
    reaching = np.zeros(suv.shape, bool)
    reaching[0:5, 4:7, 4:7] = True
    row = measure(lesions(geometry, reaching), image_from_array(suv, geometry)).rows[0]
    expected = brute_force_peak(suv, reaching, geometry, parts=20)
    assert row.suv_peak == pytest.approx(expected, rel=0.01)
    outermost = np.zeros(suv.shape, bool)
    outermost[0, 4:7, 4:7] = True
    assert brute_force_peak(suv, outermost, geometry) is None
    table = measure(lesions(geometry, outermost), image_from_array(suv, geometry))
    assert table.rows[0].suv_peak is None
    assert table.total("total").suv_peak is None
    assert table.rows[0].suv_max == pytest.approx(suv[outermost].max())


def test_suv_peak_of_a_hot_ball_of_one_ml():
    """A ball as large as the sphere: centred on it the mean is the plateau, 1 mm off it is the two balls' overlap."""
    geometry = grid((40, 40, 40), spacing=(0.8, 0.8, 0.8))
    centre = geometry.to_lps([20.0, 20.0, 20.0])
    ball = sphere(geometry, centre, PEAK_RADIUS_MM)
    pet = image_from_array(np.where(ball, 10.0, 0.0).astype(np.float32), geometry)
    exactly = measure(lesions(geometry, ball), pet).rows[0]
    assert exactly.suv_peak == pytest.approx(10.0, abs=0.5)
    beside = np.zeros(geometry.shape_zyx, bool)
    beside[20, 20, 25] = True
    distance, radius = 4.0, PEAK_RADIUS_MM
    common = np.pi * (4 * radius + distance) * (2 * radius - distance) ** 2 / 12
    row = measure(lesions(geometry, beside), pet).rows[0]
    assert row.suv_peak == pytest.approx(10.0 * common / 1000, abs=0.15)


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (3.27, 4.6875, 4.6875), (0.5, 0.5, 0.5), (20.0, 20.0, 20.0)])
def test_the_peak_sphere_holds_one_ml(spacing):
    fractions = sphere_fractions(spacing)
    assert fractions.sum() * np.prod(spacing) / 1000 == pytest.approx(1.0, abs=0.003)
    np.testing.assert_array_equal(fractions, fractions[::-1, ::-1, ::-1])


def test_lesions_on_the_ct_grid_are_measured_on_the_interpolated_pet():
    """Linear interpolation reproduces a linear SUV field exactly, so the truth is the field itself."""
    pet_grid = grid((30, 30, 30), spacing=(4.0, 4.0, 3.0))
    low, high = pet_grid.bounds_mm()
    ct_grid = Geometry((60, 62, 40), (0.9, 1.1, 1.5), tuple((low + high) / 2 - 20), tuple(np.eye(3).ravel()))
    slope = np.array([0.02, -0.015, 0.03])

    def field(geometry: Geometry) -> np.ndarray:
        return 12 + (positions(geometry) - (low + high) / 2) @ slope

    mask = sphere(ct_grid, (low + high) / 2, 9.0)
    row = measure(lesions(ct_grid, mask), image_from_array(field(pet_grid).astype(np.float32), pet_grid)).rows[0]
    assert row.volume_ml == pytest.approx(mask.sum() * 0.9 * 1.1 * 1.5 / 1000)
    assert row.suv_mean == pytest.approx(field(ct_grid)[mask].mean(), rel=1e-5)
    assert row.suv_max == pytest.approx(field(ct_grid)[mask].max(), rel=1e-5)
    # The mean of a linear field over a sphere is its value at the centre.
    assert row.suv_peak == pytest.approx(field(ct_grid)[mask].max(), rel=1e-4)


def test_nan_in_a_lesion_and_a_lesion_outside_the_pet_are_named():
    geometry = grid((12, 12, 12))
    suv = np.ones(geometry.shape_zyx, np.float32)
    mask = np.zeros(suv.shape, bool)
    mask[5:7, 5:7, 5:7] = True
    suv[5, 5, 5] = np.nan
    with pytest.raises(InputError, match=r"'primary 1'.*no value at 1 of its 8 voxels"):
        measure(lesions(geometry, mask), image_from_array(suv, geometry))
    pet = image_from_array(np.ones((12, 12, 6), np.float32), geometry.crop((0, 0, 0), (6, 12, 12)))
    with pytest.raises(InputError, match=r"'primary 1'.*no value at 4 of its 8 voxels"):
        measure(lesions(geometry, mask), pet)


def test_nan_beside_a_lesion_only_keeps_the_sphere_away():
    rng = np.random.default_rng(3)
    geometry = grid((14, 14, 14), spacing=(4.0, 4.0, 4.0))
    suv = rng.gamma(1.5, 3.0, geometry.shape_zyx).astype(np.float32)
    mask = np.zeros(suv.shape, bool)
    mask[6, 6, 4:11] = True
    suv[6, 6, 5:7] = 50
    cut = brute_force_peak(suv[..., 1:], mask[..., 1:], geometry.crop((1, 0, 0), (13, 14, 14)))
    cut_off = suv.copy()
    cut_off[..., :6] = np.nan
    mask[..., :6] = False
    expected = brute_force_peak(suv[..., 6:], mask[..., 6:], geometry.crop((6, 0, 0), (8, 14, 14)), 20)
    assert expected < cut
    row = measure(lesions(geometry, mask), image_from_array(cut_off, geometry)).rows[0]
    assert row.suv_peak == pytest.approx(expected, rel=0.01)


def test_empty_and_one_voxel_lesions_follow_the_policy(tmp_path):
    geometry = grid((12, 12, 12))
    suv = np.full(geometry.shape_zyx, 2.0, np.float32)
    suv[6, 6, 6] = 9.0
    one, none = np.zeros(suv.shape, bool), np.zeros(suv.shape, bool)
    one[6, 6, 6] = True
    table = measure(lesions(geometry, one, none, kinds=[PRIMARY, NODE]), image_from_array(suv, geometry))
    assert table.rows[0].volume_ml == pytest.approx(0.015)
    assert table.rows[0].suv_max == table.rows[0].suv_mean == 9.0
    # One voxel of 0.015 ml lies wholly in the sphere of 1 ml.
    assert table.rows[0].suv_peak == pytest.approx(2.0 + 7.0 * 0.015, abs=0.002)
    for empty in (table.rows[1], table.total("node")):
        assert (empty.volume_ml, empty.tlg_g) == (0, 0)
        assert (empty.suv_max, empty.suv_mean, empty.suv_peak, empty.x_mm) == (None, None, None, None)
    assert table.total("total").suv_max == 9.0

    nothing = measure(LesionSet(geometry, np.zeros(suv.shape, np.uint16)), image_from_array(suv, geometry))
    assert nothing.rows == []
    assert nothing.ttb_ml == 0
    lines = nothing.to_csv(tmp_path / "lesions.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == HEADER
    assert lines[3] == "total,Total tumour burden,,,0.0000,,,,0.0000,,,"


def test_the_csv_has_the_agreed_columns_and_rows(tmp_path):
    rng = np.random.default_rng(8)
    geometry = grid((16, 16, 16))
    suv = rng.gamma(2.0, 2.0, geometry.shape_zyx).astype(np.float32)
    a, b = np.zeros(suv.shape, bool), np.zeros(suv.shape, bool)
    a[6:9, 6:9, 6:9], b[10:12, 6:8, 6:8] = True, True
    table = measure(lesions(geometry, a, b, kinds=[PRIMARY, NODE]), image_from_array(suv, geometry))
    text = table.to_csv(tmp_path / "lesions.csv").read_bytes().decode("utf-8")
    assert ",".join(COLUMNS) == HEADER == text.split("\n")[0]
    assert "\r" not in text
    rows = list(csv.DictReader(text.splitlines()))
    assert [r["id"] for r in rows] == ["1", "2", "primary", "node", "total"]
    assert [r["kind"] for r in rows] == ["primary", "node", "primary", "node", ""]
    assert [r["status"] for r in rows] == ["proposed", "proposed", "", "", ""]
    assert float(rows[4]["volume_ml"]) == pytest.approx((27 + 8) * 0.015)
    assert float(rows[1]["suv_mean"]) == pytest.approx(suv[b].mean(), abs=1e-4)


def test_a_table_that_cannot_be_written_is_an_output_error(tmp_path):
    geometry = grid((4, 4, 4))
    table = measure(LesionSet(geometry, np.zeros((4, 4, 4), np.uint16)), image_from_array(np.ones((4, 4, 4)), geometry))
    with pytest.raises(OutputError, match=r"lesions\.csv"):
        table.to_csv(tmp_path / "no such folder" / "lesions.csv")


def test_real_lesions_on_both_grids_agree(shared_data):
    """The tumour of a real patient drawn on PET and on CT: SUVmax of the CT mask stays below the PET's own."""
    folder = shared_data / "sarcoma_pet_ct" / "nifti" / "STS_001"
    found = {p.name: p for p in folder.rglob("*.nii.gz")}
    if not found:
        pytest.skip(f"no NIfTI files in {folder}")
    pet = sitk.ReadImage(str(next(p for n, p in found.items() if "PET_image" in n)), sitk.sitkFloat32)
    suv = sitk.GetArrayFromImage(pet)
    mask = sitk.GetArrayFromImage(sitk.ReadImage(str(next(p for n, p in found.items() if "PET_mask" in n)))) > 0
    row = measure(lesions(Geometry.from_image(pet), mask), pet).rows[0]
    assert row.suv_max == pytest.approx(suv[mask].max())
    assert row.suv_mean < row.suv_peak < row.suv_max
    assert row.suv_peak == pytest.approx(
        brute_force_peak(suv, mask & (suv > 0.8 * row.suv_max), Geometry.from_image(pet), parts=6), rel=0.01
    )
