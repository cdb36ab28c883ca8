"""The random families of phantom patients and how far each lets things vary."""

from __future__ import annotations

from dataclasses import dataclass, replace

FIRST = "first"


@dataclass(frozen=True)
class Family:
    """Ranges from which a patient is drawn; (low, high) is uniform unless said otherwise.

    Attributes:
        name: ``varied``, ``nodal``, ``crossed`` or ``held_out``.
        stream: enters every seed, so that no two families share a random number.
        held_out_sources: which part of the source anatomies it uses (the parts share no patient).
        drawn_share: share of patients with drawn anatomy although source anatomies are there.
        size_sd, tilt_deg, warp_mm, fine_warp_mm, nod_deg, turn_deg: deformation (sd, sd, range, range, sd, sd).
        uptake_spread: multiplies the width of all distributions of uptake.
        blur_mm: full width at half maximum of the PET's point spread.
        noise: relative noise of SUV 1 (drawn log-uniform).
        suv_error: relative error of the SUV calibration, drawn uniform within plus and minus this.
        shift_mm: misregistration between PET and CT.
        node_median_ml: Nikulin 2023 has 2.74 ml in its main and 0.70 ml in its external data.
        healthy, unknown_primary: shares of patients without lesion and with nodes only.
        atypia: how often uptake misleads, 1 as in the first family.
        more_nodes: at most this many nodes more, one at least, in whoever has a lesion.
        node_spread: standard deviation of the logarithm of a node's volume.
        cool_nodes: share of nodes whose uptake hardly exceeds that of inflamed ones.
        node_necrosis: how often a node above 4 ml has a necrotic core.
        primary_median_ml: of the primaries' volume.
        beside_primary: how often the first node lies against the primary.
        crossed: whether the organs lie between where two source anatomies have them, see
            :mod:`HNTumorSegLib.phantom.crossing`.
    """

    name: str
    stream: int
    held_out_sources: bool
    drawn_share: float
    size_sd: float
    tilt_deg: float
    warp_mm: tuple[float, float]
    fine_warp_mm: tuple[float, float]
    nod_deg: float
    turn_deg: float
    uptake_spread: float
    blur_mm: tuple[float, float]
    noise: tuple[float, float]
    suv_error: float
    shift_mm: tuple[float, float]
    node_median_ml: float
    healthy: float
    unknown_primary: float
    atypia: float
    more_nodes: int = 0
    node_spread: float = 1.15
    cool_nodes: float = 0.2
    node_necrosis: float = 0.45
    primary_median_ml: float = 8.6
    beside_primary: float = 0.08
    crossed: bool = False


VARIED = Family(
    name="varied",
    stream=31,
    held_out_sources=False,
    drawn_share=0.15,
    size_sd=0.06,
    tilt_deg=4.0,
    warp_mm=(1.0, 5.0),
    fine_warp_mm=(0.3, 1.5),
    nod_deg=8.0,
    turn_deg=6.0,
    uptake_spread=1.0,
    blur_mm=(3.0, 8.0),
    noise=(0.06, 0.40),
    suv_error=0.10,
    shift_mm=(0.0, 5.0),
    node_median_ml=2.0,
    healthy=0.10,
    unknown_primary=0.08,
    atypia=1.0,
)
HELD_OUT = Family(
    name="held_out",
    stream=47,
    held_out_sources=True,
    drawn_share=0.0,
    size_sd=0.075,
    tilt_deg=5.0,
    warp_mm=(1.0, 6.0),
    fine_warp_mm=(0.3, 2.0),
    nod_deg=10.0,
    turn_deg=8.0,
    uptake_spread=1.25,
    blur_mm=(3.0, 8.5),
    noise=(0.05, 0.45),
    suv_error=0.12,
    shift_mm=(0.0, 6.0),
    node_median_ml=1.8,
    healthy=0.08,
    unknown_primary=0.08,
    atypia=1.3,
)
NODAL = replace(
    VARIED,
    name="nodal",
    stream=61,
    node_median_ml=4.0,
    healthy=0.0,
    unknown_primary=0.12,
    more_nodes=4,
    node_spread=1.2,
    cool_nodes=0.3,
    node_necrosis=0.55,
)
"""``varied`` with advanced nodal disease: large, cool and necrotic nodes, of which the others have too few to learn."""
CROSSED = replace(
    VARIED,
    name="crossed",
    stream=71,
    drawn_share=0.0,
    healthy=0.03,
    more_nodes=2,
    primary_median_ml=14.0,
    beside_primary=0.25,
    crossed=True,
)
"""``varied`` with anatomies between two sources; larger primaries, more often with a node against them."""
FAMILIES = {family.name: family for family in (VARIED, HELD_OUT, NODAL, CROSSED)}
