"""How well one click delineates: clusters of spheres, real tumours, and brains, which must be refused."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.common import print_table

ROOT = Path(__file__).resolve().parents[2]
FIRST_SEED = 90_000
"""Not looked at while the way a click works was chosen."""


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("one_click", help="agreement of one click with the truth")
    command.add_argument(
        "--clusters", type=int, default=75, help="clusters of three touching nodes; twice as many pairs"
    )
    command.add_argument("--seed", type=int, default=FIRST_SEED)
    command.add_argument("--data", type=Path, default=ROOT.parent / "shared" / "data", help="folder with the real data")
    command.set_defaults(table=one_click)


def one_click(arguments: argparse.Namespace) -> None:
    # The spheres with known borders are the tests'.
    sys.path.insert(0, str(ROOT / "Testing"))
    found: dict[str, list[tuple[float, float, float]]] = {}
    _clusters(arguments, found)
    if arguments.data.is_dir():
        _real_tumours(arguments, found)
    rows = []
    for name, clicks in found.items():
        dice, ratio, cpu_s = (sorted(column) for column in zip(*clicks, strict=True))
        n = len(clicks)
        over, refused = sum(r > 2 for r in ratio), sum(r == 0 for r in ratio)
        quality = [f"{dice[n // 2]:.3f}", f"{dice[n // 10]:.2f}", f"{ratio[-1]:.2f}"]
        rows.append([name, str(n), *quality, str(over), str(refused), f"{1000 * cpu_s[-1]:.0f}"])
    header = ["clicked", "clicks", "median Dice", "worst tenth", "largest / truth", "over twice", "refused", "CPU ms"]
    print_table("one click (spheres: against their volume; tumours: against their part above 41 %)", header, rows)
    if arguments.data.is_dir():
        _brain(arguments)


def _click(pet: Any, point: tuple[float, float, float], truth: Any, truth_ml: float) -> tuple[float, float, float]:
    """Dice, volume as a share of the truth, CPU seconds; a refusal is 0 of both."""
    import numpy as np

    from HNTumorSegLib.errors import LesionError
    from HNTumorSegLib.geometry import Geometry
    from HNTumorSegLib.lesions.lesion_set import LesionSet

    geometry = Geometry.from_image(pet)
    lesion_set = LesionSet(geometry, np.zeros(geometry.shape_zyx, np.uint16))
    began = time.process_time()
    try:
        mask = lesion_set.mask(lesion_set.add_by_click(pet, point).id)
    except LesionError:
        mask = np.zeros_like(truth)
    cpu_s = time.process_time() - began
    dice = 2 * np.count_nonzero(mask & truth) / (np.count_nonzero(mask) + np.count_nonzero(truth))
    return dice, np.count_nonzero(mask) * geometry.voxel_volume_ml / truth_ml, cpu_s


def _clusters(arguments: argparse.Namespace, found: dict[str, list[tuple[float, float, float]]]) -> None:
    import numpy as np
    import uptake_cases as cases

    from HNTumorSegLib.geometry import Geometry

    for make, n in ((cases.touching_nodes, arguments.clusters), (cases.node_beside_hot_tissue, 2 * arguments.clusters)):
        for number in range(n):
            rng = np.random.default_rng((arguments.seed + number, make is cases.touching_nodes))
            spheres = make(rng)
            pet = cases.acquire(rng, spheres, background=rng.uniform(0.8, 1.5), **cases.scanner(rng))
            hottest = max(sphere.suv for sphere in spheres)
            for sphere in spheres if make is cases.touching_nodes else spheres[:1]:
                name = "node of SUV 4 to 5 beside hotter tissue"
                if make is cases.touching_nodes:
                    name = f"touching nodes, a factor 4 apart: the {'hot' if sphere.suv == hottest else 'cool'} one"
                truth = sphere.mask(Geometry.from_image(pet))
                truth_ml = 4 / 3 * np.pi * sphere.radius**3 / 1000
                found.setdefault(name, []).append(_click(pet, cases.click_in(rng, sphere), truth, truth_ml))


def _real_tumours(arguments: argparse.Namespace, found: dict[str, list[tuple[float, float, float]]]) -> None:
    import numpy as np
    import SimpleITK as sitk

    from HNTumorSegLib.geometry import Geometry

    for number, patient in enumerate(sorted((arguments.data / "sarcoma_pet_ct" / "nifti").glob("STS_*"))):
        pet = sitk.ReadImage(str(patient / "PET_image.nii.gz"), sitk.sitkFloat32)
        mask = sitk.GetArrayFromImage(sitk.ReadImage(str(patient / "PET_mask.nii.gz"))) > 0
        geometry, suv = Geometry.from_image(pet), sitk.GetArrayFromImage(pet)
        truth = mask & (suv >= 0.41 * suv[mask].max())
        hotter = np.argwhere(mask & (suv >= np.median(suv[mask])))
        chosen = np.random.default_rng((arguments.seed, number)).choice(len(hotter), 10, replace=False)
        truth_ml = np.count_nonzero(truth) * geometry.voxel_volume_ml
        for zyx in hotter[chosen]:
            point = tuple(geometry.to_lps(zyx[::-1]))
            found.setdefault("real tumours", []).append(_click(pet, point, truth, truth_ml))


def _brain(arguments: argparse.Namespace) -> None:
    """Clicks on the brain of a real whole-body PET, which cuts it off: how many are refused."""
    from test_barriers import brain_voxels

    from HNTumorSegLib.errors import LesionError
    from HNTumorSegLib.geometry import Geometry
    from HNTumorSegLib.lesions.one_click import delineate_click
    from HNTumorSegLib.study.reader import read_study

    pet = read_study(arguments.data / "raw_pet_dicom" / "STS_001_FDG_PET" / "image").pet
    geometry, refused, n = Geometry.from_image(pet), 0, 100
    for zyx in brain_voxels(pet, 4.0, n, pet.GetSize()[2] - round(250 / pet.GetSpacing()[2])):
        try:
            delineate_click(pet, tuple(geometry.to_lps(zyx[::-1])))
        except LesionError:
            refused += 1
    print(f"\n  clicks on the brain of a real whole-body PET that are refused: {refused} of {n}")
