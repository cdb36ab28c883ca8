"""A page of phantom patients beside a real PET on the same SUV scale, to judge by eye.

    python scripts/phantom_gallery.py OUTPUT_FOLDER [--family varied] [--field-of-view head_neck] [--seeds 0-7]
        [--anatomy FOLDER] [--real DICOM_FOLDER] [--suv-max 7] [--economy]

Writes ``phantoms.png``: a row for each patient with the PET's maximum projections from the front and the side, a
coronal slice, and axial slices through jaw, tongue base and larynx; then the CT with PET and truth on top. ``--real``
and ``--anatomy`` default to the folders beside the project when they are there. The output has to lie outside the
repository: the pictures show real anatomy.
"""

from __future__ import annotations

import argparse
import logging
import sys
import textwrap
from pathlib import Path

import matplotlib
import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry, resample
from HNTumorSegLib.phantom import make_patient
from HNTumorSegLib.study.reader import read_study

matplotlib.use("Agg")
from matplotlib import pyplot

REPOSITORY = Path(__file__).resolve().parents[1]
DATA = REPOSITORY.parent / "shared" / "data"
GRID_MM = 2.5
WIDTH_MM, DEPTH_MM, HEIGHT_MM = 420.0, 280.0, 330.0
AXIAL_WIDTH_MM = 300.0
ROW_INCHES = 2.6
AXIAL_MM = (60.0, 95.0, 120.0, 150.0)
"""Axial slices lie this far below the top of the head, or of the scan where it cuts the head."""


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    arguments = parse()
    output = arguments.output.resolve()
    if output == REPOSITORY or REPOSITORY in output.parents:
        sys.exit(f"'{output}' lies in the repository; pictures of real anatomy must not. Name a folder outside it.")
    rows = []
    if arguments.real is not None and arguments.real.is_dir():
        rows.append(("real", *real_patient(arguments.real)))
    for seed in arguments.seeds:
        patient = make_patient(
            seed,
            arguments.field_of_view,
            economy=arguments.economy,
            family=arguments.family,
            anatomy_folder=None if arguments.family == "first" else arguments.anatomy,
        )
        volumes = sorted(round(t.volume_ml, 1) for t in patient.tumours if hasattr(t, "volume_ml"))
        name = row_label(f"{arguments.family} {seed}", getattr(patient, "source", ""), volumes)
        rows.append((name, *on_common_grid(patient.study.pet, patient.study.ct, patient.truth_on)))
        logging.info("%s", name.replace("\n", " "))
    output.mkdir(parents=True, exist_ok=True)
    draw_page(rows, arguments.suv_max, output / "phantoms.png")
    logging.info("%s", output / "phantoms.png")


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=Path)
    parser.add_argument("--family", choices=("first", "varied", "nodal", "crossed", "held_out"), default="varied")
    parser.add_argument("--field-of-view", choices=("head_neck", "cropped", "whole_body"), default="head_neck")
    parser.add_argument("--seeds", type=seeds, default=seeds("0-7"), metavar="FIRST-LAST")
    parser.add_argument("--anatomy", type=Path, default=present(DATA / "oar_labels"))
    parser.add_argument("--real", type=Path, default=present(DATA / "raw_pet_dicom" / "STS_001_FDG_PET" / "image"))
    parser.add_argument("--suv-max", type=float, default=7.0)
    parser.add_argument("--economy", action="store_true")
    return parser.parse_args()


def row_label(patient: str, source: str, volumes_ml: list[float]) -> str:
    """Patient, anatomy and the largest lesions, in lines that fit beside a row."""
    largest = ", ".join(f"{v:g}" for v in volumes_ml[:-5:-1])
    parts = (patient, source, f"{largest} ml" if largest else "")
    return "\n".join(line for part in parts for line in textwrap.wrap(part, 14))


def seeds(text: str) -> list[int]:
    first, _, last = text.partition("-")
    return list(range(int(first), int(last or first) + 1))


def present(folder: Path) -> Path | None:
    return folder if folder.is_dir() else None


def real_patient(folder: Path) -> tuple:
    study = read_study(folder)
    return on_common_grid(study.pet, study.ct, None)


def on_common_grid(pet: sitk.Image, ct: sitk.Image | None, truth_on) -> tuple:  # noqa: ANN001
    """PET, CT (or None) and truth (or None) as zyx arrays, the top slice first, centred on the body below the head."""
    geometry = Geometry.from_image(pet)
    high = geometry.bounds_mm()[1]
    top = top_of_head(pet, high[2])
    size = tuple(round(v / GRID_MM) for v in (WIDTH_MM, DEPTH_MM, HEIGHT_MM))
    center = center_of_head(pet, top)
    origin = (center[0] - WIDTH_MM / 2, center[1] - DEPTH_MM / 2, top - HEIGHT_MM)
    grid = Geometry(size, (GRID_MM,) * 3, tuple(float(v) for v in origin), tuple(float(v) for v in np.eye(3).ravel()))
    pet_array = sitk.GetArrayFromImage(resample(sitk.Cast(pet, sitk.sitkFloat32), grid))[::-1]
    ct_array = None
    if ct is not None:
        ct_array = sitk.GetArrayFromImage(resample(sitk.Cast(ct, sitk.sitkFloat32), grid, outside=-1000.0))[::-1]
    truth = None if truth_on is None else sitk.GetArrayFromImage(truth_on(grid))[::-1]
    return pet_array, ct_array, truth


def top_of_head(pet: sitk.Image, highest_mm: float) -> float:
    array = sitk.GetArrayViewFromImage(pet)
    filled = np.flatnonzero((array > 1.5).mean(axis=(1, 2)) > 0.003)
    last = len(array) - 1 if len(filled) == 0 else filled[-1]
    return min(highest_mm, pet.TransformIndexToPhysicalPoint((0, 0, int(last)))[2] + 10)


def center_of_head(pet: sitk.Image, top_mm: float) -> np.ndarray:
    array = sitk.GetArrayViewFromImage(pet)
    spacing = pet.GetSpacing()
    last = round((top_mm - pet.GetOrigin()[2]) / spacing[2])
    part = array[max(0, last - round(60 / spacing[2])) : last + 1] > 1.0
    where = np.argwhere(part)
    middle = where.mean(axis=0) if len(where) else np.array(part.shape) / 2
    return np.array([pet.GetOrigin()[a] + spacing[a] * middle[2 - a] for a in (0, 1)])


def draw_page(rows: list[tuple], suv_max: float, path: Path) -> None:
    titles = ["front, maximum", "side, maximum", "coronal"]
    titles += [f"{mm:.0f} mm below top" for mm in AXIAL_MM] + ["CT coronal", "PET/CT at lesion", "PET/CT coronal"]
    widths = [WIDTH_MM, DEPTH_MM, WIDTH_MM] + [AXIAL_WIDTH_MM * HEIGHT_MM / DEPTH_MM] * len(AXIAL_MM)
    widths += [WIDTH_MM, AXIAL_WIDTH_MM * HEIGHT_MM / DEPTH_MM, WIDTH_MM]
    scale = ROW_INCHES / HEIGHT_MM
    left, top = 1.15, 0.7
    size = (left + sum(widths) * scale * 1.02, top + ROW_INCHES * len(rows) * 1.02)
    figure, axes = pyplot.subplots(len(rows), len(widths), figsize=size, squeeze=False, width_ratios=widths)
    for row, (name, pet, ct, truth) in zip(axes, rows, strict=True):
        draw_row(row, pet, ct, truth, suv_max)
        row[0].text(-0.03, 0.5, name, transform=row[0].transAxes, ha="right", va="center", fontsize=8)
    for axis, title in zip(axes[0], titles, strict=True):
        axis.text(0.5, 1.02, title, transform=axis.transAxes, ha="center", fontsize=9)
    for axis in axes.ravel():
        axis.set_axis_off()
    figure.suptitle(
        f"FDG-PET, SUV 0 to {suv_max:g} (white to black); truth: primary red, nodes blue", y=1 - 0.1 / size[1]
    )
    figure.subplots_adjust(left / size[0], 0.002, 0.999, 1 - top / size[1], wspace=0.015, hspace=0.02)
    figure.savefig(path, dpi=110)
    pyplot.close(figure)


def draw_row(row: np.ndarray, pet: np.ndarray, ct: np.ndarray | None, truth: np.ndarray | None, suv_max: float) -> None:
    show = {"cmap": "gray_r", "vmin": 0, "vmax": suv_max, "interpolation": "bilinear"}
    middle = pet.shape[1] // 2
    row[0].imshow(pet.max(axis=1), **show)
    row[1].imshow(pet.max(axis=2), **show)
    row[2].imshow(pet[:, middle], **show)
    margin = round((WIDTH_MM - AXIAL_WIDTH_MM) / 2 / GRID_MM)
    for axis, depth in zip(row[3:], AXIAL_MM, strict=False):
        k = round(depth / GRID_MM)
        axis.imshow(pet[k], **show)
        outline(axis, truth, k, 0)
        axis.set_xlim(margin, pet.shape[2] - margin)
    if ct is None:
        return
    j, k = middle, round(AXIAL_MM[2] / GRID_MM)
    if truth is not None and truth.any():
        k, j = (int(np.argmax((truth > 0).sum(axis=axes))) for axes in ((1, 2), (0, 2)))
    window = {"cmap": "gray", "vmin": -160, "vmax": 240, "interpolation": "bilinear"}
    row[-3].imshow(ct[:, middle], **window)
    for axis, index, dimension in ((row[-2], k, 0), (row[-1], j, 1)):
        axis.imshow(np.take(ct, index, dimension), **window)
        hot = np.take(pet, index, dimension)
        axis.imshow(hot, cmap="hot", vmin=0, vmax=suv_max, alpha=np.clip(hot / suv_max, 0, 1) * 0.7)
        outline(axis, truth, index, dimension)
    row[-2].set_xlim(margin, pet.shape[2] - margin)


def outline(axis, truth: np.ndarray | None, index: int, dimension: int) -> None:  # noqa: ANN001
    if truth is None:
        return
    plane = np.take(truth, index, dimension)
    for label, color in ((1, "red"), (2, "deepskyblue")):
        if (plane == label).any():
            axis.contour(plane == label, levels=[0.5], colors=color, linewidths=0.9)


if __name__ == "__main__":
    main()
