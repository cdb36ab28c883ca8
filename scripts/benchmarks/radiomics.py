"""Radiomics of ten lesions on PET and CT, beside one plain pyradiomics call after another on the whole volumes."""

from __future__ import annotations

import argparse
import time

from benchmarks.common import print_table

LESIONS = 10


def add(commands: argparse._SubParsersAction) -> None:
    command = commands.add_parser("radiomics", help="radiomics of ten lesions beside plain pyradiomics")
    command.add_argument("--processes", type=int, help="processes beside this one (default: as many as are worth it)")
    command.set_defaults(table=radiomics)


def radiomics(arguments: argparse.Namespace) -> None:
    import SimpleITK as sitk

    from HNTumorSegLib.measures.radiomics import radiomics_table
    from HNTumorSegLib.measures.radiomics_package import make_extractor, quiet_radiomics
    from HNTumorSegLib.measures.radiomics_settings import RadiomicsSettings
    from HNTumorSegLib.worker_process import processor_count

    lesion_set, images = _patient()
    settings = RadiomicsSettings.default()
    settings.hash("pet")  # the import of pyradiomics counts for neither side
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(processor_count())
    began = time.perf_counter()
    rows = radiomics_table(lesion_set, images, settings, processes=arguments.processes)
    ours_s = time.perf_counter() - began
    features = {(row.id, row.image): row.features for row in rows}
    plain_s, calls, values, largest = 0.0, 0, 0, 0.0
    for name, image in images.items():
        extractor = make_extractor(settings.parameters(name))
        for lesion in lesion_set.lesions:
            mask = _whole_mask(lesion_set, lesion.id, image)
            began = time.perf_counter()
            with quiet_radiomics():
                plain = extractor.execute(image, mask)
            plain_s += time.perf_counter() - began
            calls += 1
            print(f"  plain call {calls} of {2 * LESIONS}: {plain_s:.0f} s", flush=True)
            for key, value in features[lesion.id, name].items():
                expected = float(plain[key])
                values += 1
                if value is None or not abs(value - expected) <= 1e-9 * max(1.0, abs(expected)):
                    print(f"  {lesion.name}, {name}, {key}: {value} here, {expected} there")
                if value is not None:
                    largest = max(largest, abs(value - expected) / max(1.0, abs(expected)))
    sizes = ", ".join(f"{name} {'x'.join(map(str, image.GetSize()))}" for name, image in images.items())
    title = f"radiomics, {LESIONS} lesions, all classes, {sizes}, {processor_count()} processor(s)"
    header = ["", "time, s", "promised"]
    table = [
        [f"plain pyradiomics, {calls} calls", f"{plain_s:.1f}", ""],
        [f"radiomics_table, {len(rows)} rows (with kinds and total)", f"{ours_s:.1f}", ""],
        ["times faster", f"{plain_s / ours_s:.1f}", ">= 3"],
        [f"largest relative difference of {values} values", f"{largest:.1e}", "<= 1e-9"],
    ]
    print_table(title, header, table)


def _whole_mask(lesion_set, lesion_id, image):  # noqa: ANN001
    """What a user would hand to pyradiomics: the lesion on all of the image's grid."""
    import numpy as np

    from HNTumorSegLib.geometry import Geometry, image_from_array
    from HNTumorSegLib.measures.radiomics_mask import mask_on_image

    geometry = Geometry.from_image(image)
    found = mask_on_image(lesion_set.mask(lesion_id), lesion_set.geometry, geometry)
    array = np.zeros(geometry.shape_zyx, np.uint8)
    array[found.box] = found.mask
    return image_from_array(array, geometry)


def _patient():
    """Ten balls of 5 to 16 mm radius drawn on a PET of 4.07 x 4.07 x 2 mm; a CT of 0.977 x 0.977 x 2 mm, integer HU."""
    import numpy as np
    from scipy import ndimage

    from HNTumorSegLib.geometry import Geometry, image_from_array
    from HNTumorSegLib.lesions.lesion import Lesion
    from HNTumorSegLib.lesions.lesion_set import LesionSet

    unit = tuple(np.eye(3).ravel().tolist())
    pet_grid = Geometry((120, 120, 200), (4.07, 4.07, 2.0), (-242.2, -242.2, -199.0), unit)
    ct_grid = Geometry((512, 512, 200), (0.977, 0.977, 2.0), (-249.6, -249.6, -199.3), unit)
    random = np.random.default_rng(0)
    labels = np.zeros(pet_grid.shape_zyx, np.uint16)
    suv = np.full(pet_grid.shape_zyx, 1.0)
    lesions = []
    for n in range(LESIONS):
        center = np.array([-80.0 + 40 * (n % 5), -30.0 + 60 * (n // 5), -120.0 + 25 * n])
        radius = 5.0 + 11.0 * n / (LESIONS - 1)
        k, j, i = np.indices(pet_grid.shape_zyx)
        inside = np.linalg.norm(pet_grid.to_lps(np.stack([i, j, k], -1)) - center, axis=-1) <= radius
        labels[inside] = n + 1
        suv[inside] = 6.0 + n
        lesions.append(Lesion(n + 1, "primary" if n == LESIONS - 1 else "node", ""))
    suv = ndimage.gaussian_filter(suv, (1.3, 0.7, 0.7)) + random.normal(0, 0.3, suv.shape)
    hu = 40 + 4 * ndimage.gaussian_filter(random.normal(0, 30, ct_grid.shape_zyx).astype(np.float32), 1.0)
    lesion_set = LesionSet(pet_grid, labels, lesions)
    lesion_set.rename()
    pet = image_from_array(np.maximum(suv, 0).astype(np.float32), pet_grid)
    return lesion_set, {"pet": pet, "ct": image_from_array(hu.astype(np.int16), ct_grid)}
