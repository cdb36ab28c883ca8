"""A MONAI bundle as a model folder of ours: its configuration is read as data, never evaluated.

A bundle's ``configs/inference.json`` may hold Python expressions ("$...") and names of any class. Here only plain
values, references between them ("@name") and the classes of two short lists are taken; all else is refused by name.
Layout: https://docs.monai.io/en/stable/mb_specification.html.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.models.card import MONAI_ENGINE
from HNTumorSegLib.models.loading import first_difference, write_model
from HNTumorSegLib.models.meanings import channel_images, class_meanings
from HNTumorSegLib.models.safe_pickle import load_checkpoint_safely, require_tensors
from HNTumorSegLib.networks.monai_network import MONAI_NETWORKS
from HNTumorSegLib.recipes.recipe import CT, Channel, Recipe

if TYPE_CHECKING:
    from HNTumorSegLib.models.importing import ImportOptions

WEIGHTS = ("model.pt", "model.pth", "model.safetensors")
_PLACES = ("device", "sw_device", "track_meta")
"""Arguments that say where things are computed; chosen here."""

_WINDOWS = {"pet": (0.0, 1.0), "ct": (-1.0, 1.0)}


def convert_bundle(folder: Path, staged: Path, options: ImportOptions) -> str:
    """Write the model folder ``staged`` from the bundle ``folder``; returns a name for it.

    Raises:
        ModelError: something is missing, damaged, or of a kind that is not known here; the message says what.
    """
    config, metadata = _config(folder), _metadata(folder)
    names_in, names_out = _channel_names(metadata)
    images = channel_images(names_in, options.channels)
    classes = class_meanings(names_out, options.classes)
    network = _part(config, "network_def", "network")
    kind = _class_name(network)
    if kind not in MONAI_NETWORKS:
        raise ModelError(f"The bundle's network '{kind}' is not known; there are {', '.join(MONAI_NETWORKS)}.")
    inferer = _inferer(config)
    engine_options = {"inferer": inferer, **_preprocessing(config, images), **_postprocessing(config)}
    patch = inferer["roi_size"]
    patch = [patch] * 3 if isinstance(patch, int) else list(patch)
    recipe = Recipe(
        name="monai_bundle",
        source=f"Imported MONAI bundle '{metadata.get('name', folder.name)}' {metadata.get('version', '')}".strip()
        + ".",
        channels=tuple(Channel(image, _window(config, image)) for image in images),
        spacing_mm=_spacing(config),
        patch_zyx=tuple(int(n) for n in reversed(patch)),
        network="monai_network",
        network_options={"kind": kind, "options": _arguments(network)},
        minimum_lesion_ml=0.0,
        classes=classes,
    )
    title = str(metadata.get("name", folder.name))
    write_model(
        staged,
        recipe,
        [_with_weights(folder, recipe)],
        name=title,
        version=str(metadata.get("version", "imported")),
        intended_use=str(metadata.get("intended_use", "As its authors say.")) + " Not for clinical use.",
        limitations="Not measured by this project. Runs with MONAI's own transforms and sliding window.",
        training_data=str(metadata.get("data_source", "not stated")),
        licence=options.licence or str(metadata.get("license", "not stated: ask the authors before use")),
        changelog=("Converted from a MONAI bundle.",),
        engine=MONAI_ENGINE,
        engine_options=engine_options,
    )
    return title


def _config(folder: Path) -> dict[str, Any]:
    for path in sorted((folder / "configs").glob("inference.*")):
        try:
            text = path.read_text(encoding="utf-8")
            if path.suffix == ".json":
                data = json.loads(text)
            elif path.suffix in (".yaml", ".yml"):
                data = _yaml(text)
            else:
                continue
        except (OSError, ValueError) as error:
            raise ModelError(f"The bundle's '{path.name}' cannot be read: {error}.") from error
        if isinstance(data, dict):
            return data
    raise ModelError("The bundle has no configs/inference.json that can be read.")


def _yaml(text: str) -> Any:
    try:
        import yaml
    except ImportError as error:
        raise ModelError("The bundle's configuration is YAML; install pyyaml to import it.") from error
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise ValueError(str(error)) from error


def _metadata(folder: Path) -> dict[str, Any]:
    path = folder / "configs" / "metadata.json"
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ModelError(f"The bundle's metadata.json cannot be read: {error}.") from error
    if not isinstance(data, dict):
        raise ModelError("The bundle's metadata.json holds no entries by name.")
    return data


def _channel_names(metadata: dict[str, Any]) -> tuple[list[str], list[str]]:
    """Names of the network's inputs and outputs in order."""
    try:
        formats = metadata["network_data_format"]
        image = next(iter(formats["inputs"].values()))
        answer = next(iter(formats["outputs"].values()))
        return tuple(
            [str(about["channel_def"][str(n)]) for n in range(len(about["channel_def"]))] for about in (image, answer)
        )
    except (KeyError, TypeError, StopIteration, AttributeError) as error:
        raise ModelError(
            "The bundle's metadata.json does not say what inputs and outputs are (channel_def)."
        ) from error


def _part(config: dict[str, Any], *names: str) -> dict[str, Any]:
    """A component of the configuration, references resolved."""
    for name in names:
        if name in config:
            value = _plain(config[name], config, name)
            if isinstance(value, dict):
                return value
    raise ModelError(f"The bundle's inference configuration has no '{names[0]}'.")


def _plain(value: Any, config: dict[str, Any], where: str, depth: int = 0) -> Any:
    """``value`` with "@name" replaced by what it names; raises :class:`ModelError` for an expression."""
    if depth > 20:
        raise ModelError(f"The bundle's '{where}' refers to itself.")
    if isinstance(value, str) and value.startswith("@"):
        found: Any = config
        for part in value[1:].replace("#", "::").split("::"):
            try:
                found = found[int(part)] if isinstance(found, list) else found[part]
            except (KeyError, IndexError, TypeError, ValueError) as error:
                raise ModelError(f"The bundle's '{where}' refers to '{value}', which is not there.") from error
        return _plain(found, config, where, depth + 1)
    if isinstance(value, str) and value.startswith(("$", "%")):
        raise ModelError(
            f"The bundle's '{where}' holds the expression '{value[:80]}', which is not run. Write the value."
        )
    if isinstance(value, dict):
        kept = {k: v for k, v in value.items() if k not in _PLACES and not (k.startswith("_") and k != "_target_")}
        return {k: v if k == "transform" else _plain(v, config, f"{where}.{k}", depth + 1) for k, v in kept.items()}
    if isinstance(value, list):
        return [_plain(v, config, where, depth + 1) for v in value]
    return value


def _class_name(component: dict[str, Any]) -> str:
    """The class of a component, which must be MONAI's."""
    target = str(component.get("_target_", ""))
    if "." in target and not target.startswith("monai."):
        raise ModelError(f"The bundle asks for '{target}', which is not MONAI's; code of bundles is not run.")
    return target.rpartition(".")[2]


def _arguments(component: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in component.items() if key != "_target_"}


def _steps(config: dict[str, Any], name: str) -> list[dict[str, Any]]:
    steps = _part(config, name).get("transforms")
    if not isinstance(steps, list) or not all(isinstance(step, dict) for step in steps):
        raise ModelError(f"The bundle's '{name}' is not a list of transforms.")
    return steps


def _preprocessing(config: dict[str, Any], images: tuple[str, ...]) -> dict[str, Any]:
    from HNTumorSegLib.inference.bundle_engine import LOADING, TRANSFORMS

    steps, key, stacked = [], "image", True
    for step in _steps(config, "preprocessing"):
        name = _class_name(step)
        if name in LOADING:
            continue
        if name not in TRANSFORMS:
            raise ModelError(f"The bundle's preprocessing uses '{name}', which is not known; there are {TRANSFORMS}.")
        arguments = _arguments(step)
        if name == "ConcatItemsd":
            stacked, key = False, str(arguments.get("name"))
            if list(arguments.get("keys", ())) != list(images):
                raise ModelError(
                    f"The bundle joins the images {arguments.get('keys')}; they must be called {list(images)}, in the "
                    "order of its metadata."
                )
        steps.append({"name": name, "arguments": arguments})
    return {"preprocessing": steps, "key": key, "stacked": stacked}


def _postprocessing(config: dict[str, Any]) -> dict[str, Any]:
    """Softmax, inversion and argmax, in the bundle's order; ``original`` is the image whose transforms are undone."""
    original = "image"
    discrete_first, nearest, softmax, inverted, discrete = False, False, False, False, False
    for step in _steps(config, "postprocessing"):
        name, arguments = _class_name(step), _arguments(step)
        if name == "Activationsd" and arguments.get("softmax") and not arguments.get("sigmoid"):
            softmax = True
        elif name == "Invertd":
            keys = arguments.get("orig_keys", original)
            original = str(keys[0] if isinstance(keys, list) else keys)
            inverted, nearest, discrete_first = True, bool(arguments.get("nearest_interp", True)), discrete
        elif name == "AsDiscreted" and arguments.get("argmax"):
            discrete = True
        elif name not in ("EnsureTyped", "SaveImaged"):
            raise ModelError(f"The bundle's postprocessing uses '{name}' ({arguments}), which is not known.")
    if not (inverted and discrete) or not (softmax or discrete_first):
        raise ModelError("The bundle's postprocessing must hold softmax, Invertd and argmax.")
    return {"discrete_first": discrete_first, "nearest": nearest, "original": original}


def _inferer(config: dict[str, Any]) -> dict[str, Any]:
    from HNTumorSegLib.inference.bundle_engine import INFERER_OPTIONS

    component = _part(config, "inferer")
    if _class_name(component) != "SlidingWindowInferer":
        raise ModelError(f"The bundle's inferer '{_class_name(component)}' is not known; SlidingWindowInferer is.")
    arguments = _arguments(component)
    unknown = sorted(set(arguments) - set(INFERER_OPTIONS))
    if unknown or "roi_size" not in arguments:
        raise ModelError(f"The bundle's inferer has the option '{unknown[0] if unknown else 'roi_size missing'}'.")
    return arguments


def _spacing(config: dict[str, Any]) -> float:
    for step in _steps(config, "preprocessing"):
        if _class_name(step) == "Spacingd":
            pixdim = step.get("pixdim", 1.0)
            return float(min(pixdim)) if isinstance(pixdim, list) else float(pixdim)
    return 1.0


def _window(config: dict[str, Any], image: str) -> tuple[float, float]:
    """For the card: the range that the bundle scales; its own transforms are used."""
    for step in _steps(config, "preprocessing"):
        keys = step.get("keys", [])
        keys = [keys] if isinstance(keys, str) else keys
        if _class_name(step) == "ScaleIntensityRanged" and (image in keys or "image" in keys):
            return float(step["a_min"]), float(step["a_max"])
    return _WINDOWS[CT if image == CT else "pet"]


def _with_weights(folder: Path, recipe: Recipe) -> Any:
    from HNTumorSegLib.networks import build_network

    path = next((folder / "models" / name for name in WEIGHTS if (folder / "models" / name).is_file()), None)
    if path is None:
        raise ModelError(f"The bundle has none of {', '.join(WEIGHTS)} in 'models' (TorchScript is code and not run).")
    if path.suffix == ".safetensors":
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(path)
        except (SafetensorError, OSError) as error:
            raise ModelError(f"The bundle's weights '{path.name}' cannot be read: {error}.") from error
    else:
        state = load_checkpoint_safely(path)
    for key in ("model", "state_dict"):
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
    state = {f"network.{k.removeprefix('module.')}": v for k, v in require_tensors(state, path).items()}
    network = build_network(recipe.network, len(recipe.channels), len(recipe.classes), **recipe.network_options)
    difference = first_difference(network.state_dict(), state)
    if difference:
        raise ModelError(f"The bundle's weights do not fit its network: {difference}.")
    network.load_state_dict(state)
    return network.eval()
