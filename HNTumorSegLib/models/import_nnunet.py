"""An nnU-Net v2 result folder as a model folder of ours: plans read, weights renamed and checked, nothing unpickled.

Layout: ``dataset.json``, ``plans.json``, ``fold_0/checkpoint_final.pth`` ... in a folder that is called
``TRAINER__PLANS__CONFIGURATION`` (https://github.com/MIC-DKFZ/nnUNet, Apache-2.0).
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import NNUNET_ENGINE
from HNTumorSegLib.models.loading import first_difference, write_model
from HNTumorSegLib.models.meanings import channel_images, class_meanings
from HNTumorSegLib.models.safe_pickle import load_checkpoint_safely, require_tensors
from HNTumorSegLib.recipes.recipe import CT, Channel, Recipe

if TYPE_CHECKING:
    import torch

    from HNTumorSegLib.models.importing import ImportOptions

SOURCE = "Imported from nnU-Net v2 (Isensee F, et al. Nat Methods 2021;18:203-211)"
ARCHITECTURES = {"PlainConvUNet": False, "ResidualEncoderUNet": True}
READERS = ("SimpleITKIO", "NibabelIO")
RESAMPLING = "resample_data_or_seg_to_shape"
_ALLOWED = {
    "conv_op": ("torch.nn.modules.conv.Conv3d",),
    "norm_op": ("torch.nn.modules.instancenorm.InstanceNorm3d",),
    "nonlin": ("torch.nn.LeakyReLU", "torch.nn.modules.activation.LeakyReLU"),
    "dropout_op": (None,),
}


def convert_nnunet(folder: Path, staged: Path, options: ImportOptions) -> str:
    """Write the model folder ``staged`` from the result folder ``folder``; returns a name for it.

    Raises:
        ModelError: something is missing, damaged or of a kind that is not known here; the message says what.
    """
    plans, dataset = _json(folder / "plans.json"), _json(folder / "dataset.json")
    folds = sorted(p for p in folder.glob("fold_*") if (p / options.checkpoint).is_file())
    if not folds:
        raise ModelError(f"'{folder.name}' has no fold_*/{options.checkpoint}. Name the file with --checkpoint.")
    checkpoints = [load_checkpoint_safely(fold / options.checkpoint) for fold in folds]
    name = _configuration_name(folder, checkpoints[0], plans)
    plan = _configuration(plans, name)
    images = channel_images(_channels(dataset), options.channels)
    classes = class_meanings(_labels(dataset), options.classes)
    network = _network(plan)
    recipe = Recipe(
        name="nnunet",
        source=f"{SOURCE}, trainer {checkpoints[0].get('trainer_name', 'unknown')}, configuration {name}.",
        channels=tuple(_channel(image, plans, number) for number, image in enumerate(images)),
        spacing_mm=float(min(plan["spacing"])),
        patch_zyx=tuple(int(n) for n in plan["patch_size"]),
        network="nnunet_unet",
        network_options=network,
        minimum_lesion_ml=0.0,
        classes=classes,
    )
    networks = [_with_weights(recipe, checkpoint, fold) for checkpoint, fold in zip(checkpoints, folds, strict=True)]
    title = str(plans.get("dataset_name", folder.name))
    write_model(
        staged,
        recipe,
        networks,
        name=title,
        version="imported",
        intended_use="As its authors say; imported for research, to be reviewed by a person. Not for clinical use.",
        limitations=(
            "Not measured by this project. Runs as in nnU-Net, without test-time mirroring; where PET and CT have "
            "grids of their own, the PET is resampled linearly onto the CT's."
        ),
        training_data=f"nnU-Net dataset {title}, {len(folds)} folds ({', '.join(fold.name for fold in folds)}).",
        licence=options.licence or "not stated: ask the authors before use",
        changelog=(f"Converted from {', '.join(f'{fold.name}/{options.checkpoint}' for fold in folds)}.",),
        engine=NNUNET_ENGINE,
        engine_options=_engine_options(plans, plan, len(images)),
    )
    return title


def _json(path: Path) -> dict[str, Any]:
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"'{path.name}' cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError(f"'{path.name}' is not nnU-Net's: it holds no entries by name.")
    return data


def _configuration_name(folder: Path, checkpoint: Any, plans: dict[str, Any]) -> str:
    """From the checkpoint, or else from the folder's name."""
    try:
        name = checkpoint["init_args"]["configuration"]
    except (KeyError, TypeError):
        name = folder.name.rpartition("__")[2]
    if name not in plans.get("configurations", {}):
        raise ModelError(f"plans.json has no configuration '{name}'.")
    return name


def _configuration(plans: dict[str, Any], name: str) -> dict[str, Any]:
    """The configuration with what it inherits."""
    chain, seen = [], set()
    while name:
        if name in seen or name not in plans["configurations"]:
            raise ModelError(f"The configuration '{name}' in plans.json inherits in a circle or from nothing.")
        seen.add(name)
        chain.append(plans["configurations"][name])
        name = chain[-1].get("inherits_from", "")
    plan: dict[str, Any] = {}
    for part in reversed(chain):
        plan |= part
    if plan.get("previous_stage"):
        raise ModelError("This is the second stage of an nnU-Net cascade, which is not supported; import 3d_fullres.")
    if "architecture" not in plan:
        raise ModelError(
            "plans.json is from nnU-Net before version 2.3 (no 'architecture'); its networks are not known."
        )
    if len(plan.get("patch_size", ())) != 3:
        raise ModelError("This is a 2-D configuration of nnU-Net; only 3-D ones are supported.")
    return plan


def _network(plan: dict[str, Any]) -> dict[str, Any]:
    """Options of our network for nnU-Net's architecture."""
    architecture = plan["architecture"]
    kind = str(architecture.get("network_class_name", "")).rpartition(".")[2]
    if kind not in ARCHITECTURES:
        raise ModelError(f"The architecture '{kind}' is not known; there are {', '.join(ARCHITECTURES)}.")
    residual, about = ARCHITECTURES[kind], architecture.get("arch_kwargs", {})
    for key, allowed in _ALLOWED.items():
        if about.get(key) not in allowed:
            raise ModelError(f"The network of plans.json has {key} '{about.get(key)}', which is not known here.")
    if about.get("nonlin_first") or about.get("bottleneck_channels") or about.get("stem_channels"):
        raise ModelError("The network of plans.json has an option (nonlin_first, bottleneck, stem) not known here.")
    try:
        norm = about.get("norm_op_kwargs") or {}
        return {
            "residual": residual,
            "features": [int(n) for n in about["features_per_stage"]],
            "kernel_sizes": [_three(k) for k in about["kernel_sizes"]],
            "strides": [_three(s) for s in about["strides"]],
            "blocks": [int(n) for n in about["n_blocks_per_stage" if residual else "n_conv_per_stage"]],
            "decoder_convs": [int(n) for n in about["n_conv_per_stage_decoder"]],
            "bias": bool(about.get("conv_bias", False)),
            "eps": float(norm.get("eps", 1e-5)),
            "affine": bool(norm.get("affine", False)),
            "slope": float((about.get("nonlin_kwargs") or {}).get("negative_slope", 0.01)),
        }
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(
            f"The network in plans.json is incomplete or wrong ({type(error).__name__}: {error})."
        ) from error


def _three(value: Any) -> list[int]:
    return [int(value)] * 3 if isinstance(value, int) else [int(n) for n in value]


def _engine_options(plans: dict[str, Any], plan: dict[str, Any], n_channels: int) -> dict[str, Any]:
    from HNTumorSegLib.inference.nnunet_engine import NnUNetPlan, Resampling

    reader = plans.get("image_reader_writer")
    if reader not in READERS:
        raise ModelError(f"The model was trained on images read by '{reader}', which may turn them; not supported.")
    rules = {}
    for what, key in (("data", "data"), ("logits", "probabilities")):
        function = plan.get(f"resampling_fn_{key}")
        if function != RESAMPLING:
            raise ModelError(f"The model resamples by '{function}'; only '{RESAMPLING}' is supported.")
        about = plan.get(f"resampling_fn_{key}_kwargs", {})
        rules[what] = Resampling(
            int(about.get("order", 3)), int(about.get("order_z", 0)), about.get("force_separate_z", False)
        )
    intensities = plans.get("foreground_intensity_properties_per_channel", {})
    needed = ("mean", "std", "percentile_00_5", "percentile_99_5")
    try:
        chosen = NnUNetPlan(
            spacing_mm=tuple(float(s) for s in plan["spacing"]),
            patch=tuple(int(n) for n in plan["patch_size"]),
            transpose=tuple(int(a) for a in plans["transpose_forward"]),
            normalisation=tuple(str(s) for s in plan["normalization_schemes"]),
            use_mask=tuple(bool(u) for u in plan["use_mask_for_norm"]),
            intensities=tuple({k: float(intensities[str(c)][k]) for k in needed} for c in range(n_channels)),
            **rules,
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ModelError(f"plans.json is incomplete or wrong ({type(error).__name__}: {error}).") from error
    if sorted(chosen.transpose) != [0, 1, 2] or len(chosen.normalisation) != n_channels:
        raise ModelError("plans.json contradicts itself: axes or channels do not fit.")
    entries = chosen.to_dict()
    NnUNetPlan.from_dict(entries)
    return json.loads(json.dumps(entries))


def _channels(dataset: dict[str, Any]) -> list[str]:
    names = dataset.get("channel_names", dataset.get("modality"))
    try:
        return [str(names[str(number)]) for number in range(len(names))]
    except (KeyError, TypeError) as error:
        raise ModelError("dataset.json does not name its channels (channel_names).") from error


def _labels(dataset: dict[str, Any]) -> list[str]:
    """Names of the network's outputs in order; labels must be 0, 1, 2, ..."""
    labels = dataset.get("labels")
    if not isinstance(labels, dict) or not all(isinstance(v, int) for v in labels.values()):
        raise ModelError("The labels of dataset.json are missing or regions of several values; plain ones are needed.")
    by_value = {value: name for name, value in labels.items() if name != "ignore"}
    if sorted(by_value) != list(range(len(by_value))):
        raise ModelError(f"The labels of dataset.json are {sorted(by_value)}; they must count from 0.")
    return [by_value[value] for value in sorted(by_value)]


def _channel(image: str, plans: dict[str, Any], number: int) -> Channel:
    """For the card: the range of intensities in the training's lesions; nnU-Net's own normalisation is used."""
    about = plans.get("foreground_intensity_properties_per_channel", {}).get(str(number), {})
    low, high = float(about.get("percentile_00_5", 0)), float(about.get("percentile_99_5", 1))
    return Channel(CT if image == CT else image, (low, high if high > low else low + 1))


def _with_weights(recipe: Recipe, checkpoint: Any, fold: Path) -> torch.nn.Module:
    from HNTumorSegLib.networks import build_network

    if not isinstance(checkpoint, dict) or "network_weights" not in checkpoint:
        raise ModelError(f"The checkpoint of {fold.name} holds no network_weights; it is not nnU-Net v2's.")
    weights = require_tensors(checkpoint["network_weights"], fold)
    last = len(recipe.network_options["features"]) - 2
    state = {}
    for key, value in weights.items():
        key = re.sub(r"^(module\.|_orig_mod\.)+", "", key)
        # nnU-Net keeps every unit twice, the encoder again in the decoder, and a head for each depth.
        if ".all_modules." in key or key.startswith("decoder.encoder."):
            continue
        if key.startswith("decoder.seg_layers."):
            if not key.startswith(f"decoder.seg_layers.{last}."):
                continue
            key = key.replace(f"seg_layers.{last}", "head")
        state[key] = value.float()
    network = build_network(recipe.network, len(recipe.channels), len(recipe.classes), **recipe.network_options)
    difference = first_difference(network.state_dict(), state)
    if difference:
        raise ModelError(f"The weights of {fold.name} do not fit the network of plans.json: {difference}.")
    network.load_state_dict(state)
    return network.eval()
