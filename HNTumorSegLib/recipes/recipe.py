"""A recipe: everything that turns images into a trained network and a network into probabilities."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from HNTumorSegLib.errors import ModelError

PET = "pet"
CT = "ct"


@dataclass(frozen=True)
class Channel:
    """One input channel: which image, and the window that maps linearly to 0..1 (values beyond are clipped).

    ``missing`` is the normalised value that fills the channel when the image is not there (None: it must be there).
    """

    image: str
    window: tuple[float, float]
    missing: float | None = None


@dataclass(frozen=True)
class Recipe:
    """Preprocessing, network, training and inference of one published system or of a variant of it.

    Attributes:
        name: recipe name, as in ``hntumorseg train --recipe``.
        source: the publication.
        channels: network inputs in order.
        spacing_mm: isotropic voxel size the network works at; images are oriented along L, P, S.
        patch_zyx: patch in voxels. With batch norm any patch gives the same answer; with instance norm the patch
            belongs to the weights.
        network, network_options: name in :data:`HNTumorSegLib.networks.NETWORKS` and its keyword arguments.
        overlap: share of a patch that neighbouring tiles have in common along (z, y, x).
        minimum_lesion_ml: smaller structures are dropped.
        training: loss, optimiser and schedule, in words and numbers (read by ``training/``).
        deviations: where this differs from the publication, one sentence each.
    """

    name: str
    source: str
    channels: tuple[Channel, ...]
    spacing_mm: float
    patch_zyx: tuple[int, int, int]
    network: str
    network_options: dict[str, Any] = field(default_factory=dict)
    overlap: tuple[float, float, float] = (0.5, 0.5, 0.5)
    minimum_lesion_ml: float = 0.1
    training: dict[str, Any] = field(default_factory=dict)
    deviations: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON types, for a model card."""
        return asdict(self)

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Recipe:
        """Back from :meth:`to_dict`; raises :class:`ModelError` naming what is missing or unknown."""
        try:
            fields = dict(data)
            fields["channels"] = tuple(
                Channel(c["image"], tuple(c["window"]), c.get("missing")) for c in fields["channels"]
            )
            for key in ("patch_zyx", "overlap", "deviations"):
                if key in fields:
                    fields[key] = tuple(fields[key])
            return cls(**fields)
        except (KeyError, TypeError) as error:
            raise ModelError(f"The model card's recipe is incomplete or has an unknown entry: {error}.") from error
