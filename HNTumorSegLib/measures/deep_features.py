"""Deep features: the mean of a network layer's feature maps in each lesion (Bourigault et al., HECKTOR 2021).

The paper averages the feature maps of its network's fifth convolutional layer and appends them to radiomics and
clinical data. Here the average is over the lesion, so that the features belong to it: the network sees the model's
patches around the lesion, each voxel of the lesion is counted once however many patches hold it (in overlaps the
patches share it by their Gaussian weights, as in inference), and on layers coarser than the input a feature map's voxel
counts by the lesion's volume in it. Rows of a kind and of the whole burden are the volume-weighted means of their
lesions.

Computed in 32-bit float, whatever the device, so that tables can be compared.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import logging
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from HNTumorSegLib.errors import InputError, ModelError
from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.inference.device import choose_device, move_networks
from HNTumorSegLib.inference.preprocess import model_grid, network_input
from HNTumorSegLib.inference.tiling import gaussian_profile, tile_starts, weight_sum
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.radiomics import RadiomicsRow, parts_of, voxels_of
from HNTumorSegLib.measures.radiomics_mask import occupancy, voxels_outside
from HNTumorSegLib.models.card import OWN_ENGINE, ModelCard
from HNTumorSegLib.models.loading import load_networks
from HNTumorSegLib.models.registry import resolve_model
from HNTumorSegLib.progress import ProgressCallback, ProgressEvent, silent
from HNTumorSegLib.study.study import Study

if TYPE_CHECKING:
    import torch

STAGE = "deep features"
log = logging.getLogger(__name__)


def layer_names(networks: list[torch.nn.Module]) -> list[str]:
    """The layers that can be asked for, in the order in which the network was put together."""
    return [name for name, _ in networks[0].named_modules() if name]


def deep_feature_table(
    study: Study,
    lesion_set: LesionSet,
    model: str | Path,
    layer: str,
    device: str = "auto",
    progress: ProgressCallback = silent,
) -> list[RadiomicsRow]:
    """Mean feature maps of every lesion, both kinds and the whole burden.

    Args:
        study: PET in SUVbw and, where the model wants it, the CT in HU.
        lesion_set: lesions on any grid.
        model: a model's name or folder, loaded and verified by :mod:`HNTumorSegLib.models.loading`.
        layer: a name from :func:`layer_names`, for instance ``encoder.3``; its output must be (1, C, z, y, x).
        device: ``auto``, ``cpu`` or ``cuda``.
        progress: called after each lesion; what it raises ends the work.

    Returns:
        Rows as :func:`radiomics.radiomics_table` has them, ``image`` being ``deep``, features ``<layer>_n0_000`` for
        network 0 and channel 0; None where the lesion has no voxel or reaches beyond the PET, and ``note`` says so.

    Raises:
        ModelError: the model cannot be loaded, it has no such layer, or the layer does not give feature maps.
        InputError: an image holds values that are not finite.
    """
    folder = resolve_model(model)
    card = ModelCard.load(folder)
    if card.engine != OWN_ENGINE:
        raise ModelError(
            f"Model '{card.name}' runs with the preprocessing of '{card.engine}'; deep features are taken only from "
            "models of this project's own engine."
        )
    compute = choose_device(device)
    networks = move_networks(load_networks(folder), compute)
    known = layer_names(networks)
    if layer not in known:
        raise ModelError(f"Model '{card.name}' has no layer '{layer}'. It has: {', '.join(known)}.")
    settings_hash = _hash(card, layer)
    means: dict[int, np.ndarray] = {}
    volumes: dict[int, float] = {}
    notes: dict[int, str] = {}
    channels = 0
    parts = parts_of(lesion_set)
    for number, part in enumerate(part for part in parts if isinstance(part.id, int)):
        found = voxels_of(lesion_set, part)
        problem = _problem(part.name, found, Geometry.from_image(study.pet))
        if problem:
            notes[part.id] = problem
        else:
            means[part.id] = _mean_maps(study, card, networks, layer, compute.name, found)
            volumes[part.id] = float(np.count_nonzero(found[0]))
            channels = len(means[part.id])
        progress(ProgressEvent(STAGE, (number + 1) / max(1, len(lesion_set)), part.name))
    for note in notes.values():
        log.warning(note)
    names = _names(layer, len(networks), channels)
    rows = []
    for part in parts:
        missing = [notes[n] for n in part.lesion_ids if n in notes]
        note = " ".join(missing) if part.lesion_ids else f"'{part.name}': there is none."
        features: dict[str, float | None] = dict.fromkeys(names)
        if part.lesion_ids and not missing:
            weights = [volumes[n] for n in part.lesion_ids]
            mean = np.average([means[n] for n in part.lesion_ids], axis=0, weights=weights)
            features = dict(zip(names, mean.tolist(), strict=True))
        rows.append(RadiomicsRow(part.id, part.name, "deep", features, settings_hash, part.kind, note))
    return rows


def _problem(name: str, found: tuple[np.ndarray, Geometry] | None, pet: Geometry) -> str:
    if found is None:
        return f"'{name}': there is no voxel to measure."
    outside = voxels_outside(*found, pet)
    if outside:
        return f"'{name}': {outside} of its {np.count_nonzero(found[0])} voxels lie outside the PET ({pet.describe()})."
    return ""


def _names(layer: str, networks: int, channels: int) -> list[str]:
    each = channels // networks
    return [f"{layer}_n{network}_{channel:03d}" for network in range(networks) for channel in range(each)]


def _hash(card: ModelCard, layer: str) -> str:
    """Equal for equal weights, preprocessing and layer."""
    content = {"weights": card.weights_key(), "recipe": card.recipe.to_dict(), "layer": layer}
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _mean_maps(
    study: Study,
    card: ModelCard,
    networks: list[torch.nn.Module],
    layer: str,
    device: str,
    found: tuple[np.ndarray, Geometry],
) -> np.ndarray:
    """Mean feature maps of one lesion, all networks one after the other, 64-bit float (networks * C)."""
    recipe = card.recipe
    low_mm, high_mm = found[1].bounds_mm()
    grid = model_grid(Geometry.from_image(study.pet), recipe.spacing_mm, low_mm, high_mm, recipe.patch_zyx)
    share = np.zeros(grid.shape_zyx, np.float32)
    placed = occupancy(*found, grid)
    if placed is None or not placed[1].any():
        raise InputError("A lesion does not meet the model's grid.")  # it lies in the PET, which the grid covers
    start, values = placed
    share[tuple(slice(s, s + n) for s, n in zip(start[::-1], values.shape, strict=True))] = values
    array = network_input(study, recipe, grid)
    axes = list(zip(grid.shape_zyx, recipe.patch_zyx, recipe.overlap, strict=True))
    starts = [tile_starts(*axis) for axis in axes]
    profiles = [gaussian_profile(patch) for _, patch, _ in axes]
    sums = [weight_sum(n, s, p) for (n, _, _), s, p in zip(axes, starts, profiles, strict=True)]
    total, weight = 0.0, 0.0
    for corner in itertools.product(*starts):
        box = tuple(slice(s, s + p) for s, p in zip(corner, recipe.patch_zyx, strict=True))
        z, y, x = (p / s[b] for p, s, b in zip(profiles, sums, box, strict=True))
        shares = share[box] * z[:, None, None] * y[None, :, None] * x[None, None]
        if shares.any():
            total = total + _weighted_sums(array[(slice(None), *box)], shares, networks, layer, device)
            weight += float(shares.sum(dtype=float))
    return total / weight


def _weighted_sums(
    tile: np.ndarray, shares: np.ndarray, networks: list[torch.nn.Module], layer: str, device: str
) -> np.ndarray:
    """Sum over the tile's voxels of feature maps times ``shares`` (z, y, x); 64-bit float (networks * C)."""
    import torch

    x = torch.from_numpy(np.ascontiguousarray(tile))[None].to(device)
    weights = torch.from_numpy(np.ascontiguousarray(shares))[None, None].to(device)
    sums = []
    for network in networks:
        maps = _feature_maps(network, layer, x)
        # A coarser map's voxel stands for the input voxels under it.
        coarse = torch.nn.functional.adaptive_avg_pool3d(weights, maps.shape[2:]) * (shares.size / maps[0, 0].numel())
        sums.append((maps.double() * coarse.double()).sum(dim=(0, 2, 3, 4)).cpu().numpy())
    return np.concatenate(sums)


def _feature_maps(network: torch.nn.Module, layer: str, x: torch.Tensor) -> torch.Tensor:
    """Output of a layer, (1, C, z, y, x), 32-bit float."""
    import torch

    outputs: list[object] = []
    # A copy: activations in place (LeakyReLU) may write over the layer's output before it is read.
    hook = network.get_submodule(layer).register_forward_hook(
        lambda module, args, output: outputs.append(output.clone() if isinstance(output, torch.Tensor) else output)
    )
    try:
        with torch.inference_mode(), torch.backends.cudnn.flags(allow_tf32=False):
            network(x)
    finally:
        hook.remove()
    if not outputs or not isinstance(outputs[-1], torch.Tensor) or outputs[-1].dim() != 5:
        raise ModelError(
            f"The layer '{layer}' does not give feature maps (1, C, z, y, x). Choose a block or convolution."
        )
    return outputs[-1].float()
