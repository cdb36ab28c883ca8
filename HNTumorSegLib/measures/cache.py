"""Measurements that follow corrections: only lesions whose voxels changed are measured again."""

from __future__ import annotations

from dataclasses import replace

import SimpleITK as sitk

from HNTumorSegLib.geometry import SAME_GRID_TOLERANCE_MM, Geometry
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.table import LesionMeasures, Measurements, measure_lesion, with_totals


class MeasurementCache:
    """The table of one lesion set on one PET, kept up to date.

    A new name, kind, status or order costs nothing but the table; voxels written directly to ``labels`` are
    seen after ``LesionSet.touch``.
    """

    def __init__(self, lesion_set: LesionSet, pet: sitk.Image):
        """Args: the lesions, and the PET in SUVbw on any grid (see :func:`table.measure`)."""
        self.lesion_set = lesion_set
        grid = Geometry.from_image(pet)
        self._same_grid = lesion_set.geometry.distance_mm(grid) <= SAME_GRID_TOLERANCE_MM
        self._pet = pet if self._same_grid else sitk.Cast(pet, sitk.sitkFloat32)
        self._rows: dict[int, tuple[int, LesionMeasures]] = {}
        self.last_measured: list[int] = []

    def measurements(self) -> Measurements:
        """The table as it is now, the same as :func:`table.measure` gives; ids measured anew: ``last_measured``.

        Raises:
            InputError: the PET has no value somewhere in a lesion; the lesion is named.
        """
        lesion_set = self.lesion_set
        boxes = lesion_set.voxel_index().boxes
        kept: dict[int, tuple[int, LesionMeasures]] = {}
        self.last_measured = []
        rows = []
        for lesion in lesion_set.lesions:
            revision = lesion_set.voxel_revision(lesion.id)
            known = self._rows.get(lesion.id)
            if known is None or known[0] != revision:
                row = measure_lesion(lesion_set, lesion, boxes.get(lesion.id), self._pet, self._same_grid)
                self.last_measured.append(lesion.id)
            else:
                row = replace(known[1], name=lesion.name, kind=lesion.kind, status=lesion.status)
            kept[lesion.id] = self._rows[lesion.id] = (revision, row)
            rows.append(row)
        self._rows = kept
        return with_totals(rows)
