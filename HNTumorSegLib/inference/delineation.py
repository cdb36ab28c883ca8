"""What a model says about a study."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.models.card import ModelCard


@dataclass
class Delineation:
    """The model's answer on one reference grid; all images share it.

    Attributes:
        labels: unsigned 8-bit; 0 background, 1 primary tumour, 2 lymph-node metastasis.
        primary_probability, node_probability: 32-bit float, 0 to 1, resampled before the voxel decision; None after
            :meth:`without_probabilities`.
        uncertainty: 32-bit float, 0 (sure) to 1: entropy of the three class probabilities over log 3; None likewise.
        reference: ``pet`` or ``ct``: whose grid this is.
        card: the model that spoke.
        device: where it ran, for instance ``cpu (2 threads, bf16)``.
        timings_s: seconds by stage.
        warnings: sentences for the user.
        spread: 32-bit float, 0 to 0.5: how far apart the ensemble's members and the test-time flips are: standard
            deviation of their tumour probability (see :class:`HNTumorSegLib.inference.tiling.TiledAnswer`); None where
            there was a single answer.
    """

    labels: sitk.Image
    primary_probability: sitk.Image | None
    node_probability: sitk.Image | None
    uncertainty: sitk.Image | None
    reference: str
    card: ModelCard
    device: str
    timings_s: dict[str, float] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    spread: sitk.Image | None = None

    @property
    def geometry(self) -> Geometry:
        """The grid all images lie on."""
        return Geometry.from_image(self.labels)

    def without_probabilities(self) -> Delineation:
        """The same without the float images: on a whole-body CT's grid they take more than 1 GB."""
        return replace(self, primary_probability=None, node_probability=None, uncertainty=None, spread=None)
