"""Surface and volume of the closed mesh around a mask's voxels.

The mesh is that of marching cubes at 0.5 (Lorensen and Cline 1987) with its corners half-way between the centres of
a voxel inside and one outside, as the IBSI reference manual asks for shape features ("mesh-based representation").
No mesh is built: what it looks like within a cube of eight voxel centres depends on which of the eight are inside, so
area and volume are looked up for each of the 256 cases and added up. Voxels that share only an edge or a corner are
not joined. The area of a flat face along the grid is exact; that of a ball is too large by
about 7 %, however fine the grid: the mesh is a staircase with its edges cut.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np

# Corner c of a cube lies at (z, y, x) = bits 2, 1, 0 of c.
_CORNERS = np.array([(c >> 2 & 1, c >> 1 & 1, c & 1) for c in range(8)], float)
_FACES = tuple(
    tuple(sum(bit << shift for bit, shift in zip(bits, shifts, strict=True)) for bits in ring)
    for shifts in ((2, 1, 0), (1, 2, 0), (0, 2, 1))
    for side in (0, 1)
    for ring in [[(side, 0, 0), (side, 0, 1), (side, 1, 1), (side, 1, 0)]]
)
"""The six faces, each as its four corners in turn; the last is the one at x = 1."""

Edge = tuple[int, int]


def mesh_area_and_volume(mask: np.ndarray, spacing_zyx_mm: tuple[float, float, float]) -> tuple[float, float]:
    """Area in mm2 and enclosed volume in mm3 of the mesh around a boolean zyx mask; both 0 for an empty one.

    One voxel alone gives an octahedron of a sixth of its volume.
    """
    padded = np.pad(mask, 1).astype(np.uint8)
    n_z, n_y, n_x = (n - 1 for n in padded.shape)
    cases = np.zeros((n_z, n_y, n_x), np.uint8)
    for corner in range(8):
        z, y, x = corner >> 2 & 1, corner >> 1 & 1, corner & 1
        cases |= padded[z : z + n_z, y : y + n_y, x : x + n_x] << np.uint8(corner)
    counts = np.bincount(cases.ravel(), minlength=256)
    area = float(counts @ _areas_mm2(tuple(float(s) for s in spacing_zyx_mm)))
    return area, float(counts @ _volume_shares()) * float(np.prod(spacing_zyx_mm))


@lru_cache(maxsize=16)
def _areas_mm2(spacing_zyx_mm: tuple[float, float, float]) -> np.ndarray:
    """Area of the mesh in one cube, for each case."""
    return np.array(
        [sum(np.linalg.norm(t, axis=1).sum() for t, _ in _patches(case, spacing_zyx_mm)) for case in range(256)]
    )


@lru_cache(maxsize=1)
def _volume_shares() -> np.ndarray:
    """Share of a cube that lies inside the mesh, for each case, by the divergence theorem for the field (0, 0, x)."""
    shares = np.zeros(256)
    for case in range(256):
        # Flux through the mesh, then through the part of the face at x = 1 that lies inside.
        shares[case] = sum(float((areas[:, 2] * x).sum()) for areas, x in _patches(case, (1.0, 1.0, 1.0)))
        shares[case] += _inside_of_face([case >> c & 1 for c in _FACES[-1]])
    return shares


def _inside_of_face(inside: list[int]) -> float:
    """Share of a face that is inside, from its four corners in turn; opposite corners alone are not joined."""
    n = sum(inside)
    if n == 2:
        return 0.25 if inside[0] == inside[2] else 0.5
    return (0.0, 0.125, 0.5, 0.875, 1.0)[n]


def _patches(case: int, spacing_zyx: tuple[float, float, float]) -> list[tuple[np.ndarray, np.ndarray]]:
    """The mesh in one cube: for each polygon its triangles' area vectors (zyx, outwards) and their mean x."""
    found = []
    for polygon in _polygons(case):
        # Ends of each cut edge: first the corner inside.
        ends = np.array([_CORNERS[list(e if case >> e[0] & 1 else e[::-1])] for e in polygon])
        points = ends.mean(axis=1) * spacing_zyx
        # Triangles around the polygon's middle: the same area whichever way the mask is mirrored or turned.
        middle = points.mean(axis=0)
        a, b = points - middle, np.roll(points, -1, axis=0) - middle
        areas = np.cross(a, b) / 2
        if areas.sum(axis=0) @ (ends[:, 1] - ends[:, 0]).sum(axis=0) < 0:
            areas = -areas
        found.append((areas, (points[:, 2] + np.roll(points[:, 2], -1) + middle[2]) / 3))
    return found


def _polygons(case: int) -> list[list[Edge]]:
    """The polygons that part inside from outside in one cube, each as the cut edges in turn."""
    links: dict[Edge, list[Edge]] = {}
    for face in _FACES:
        for a, b in _lines_on_face(case, face):
            links.setdefault(a, []).append(b)
            links.setdefault(b, []).append(a)
    polygons = []
    while links:
        edge = next(iter(links))
        polygon = []
        while edge in links:
            polygon.append(edge)
            edge = next((e for e in links.pop(edge) if e in links), edge)
        polygons.append(polygon)
    return polygons


def _lines_on_face(case: int, face: tuple[int, ...]) -> list[tuple[Edge, Edge]]:
    """The lines across one face, each between two cut edges."""
    inside = [case >> corner & 1 for corner in face]
    edges = [tuple(sorted((face[n], face[(n + 1) % 4]))) for n in range(4)]
    cut = [n for n in range(4) if inside[n] != inside[(n + 1) % 4]]
    if len(cut) == 2:
        return [(edges[cut[0]], edges[cut[1]])]
    # Two opposite corners are inside: each is cut off by a line of its own.
    return [(edges[n - 1], edges[n]) for n in range(4) if inside[n]] if cut else []
