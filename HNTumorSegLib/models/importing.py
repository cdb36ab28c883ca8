"""Models of others, and own ones from elsewhere, into the user's folder of models: verified first, then whole."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from HNTumorSegLib.errors import ModelError, OutputError
from HNTumorSegLib.models.archive import opened_archive
from HNTumorSegLib.models.card import CARD_FILE, ModelCard
from HNTumorSegLib.models.loading import load_networks, write_standing_alone
from HNTumorSegLib.models.registry import bundled_folder, resolve_model, user_folder

OWN_KIND, NNUNET_KIND, BUNDLE_KIND = "own", "nnU-Net v2", "MONAI bundle"
_READABLE = re.compile(r"(README|LICENSE|LICENCE|NOTICE)(\.md|\.txt)?", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class ImportOptions:
    """What the files do not say.

    Attributes:
        name: what the model shall be called here; None: as its card, dataset or bundle is called.
        licence: of the weights.
        checkpoint: file of each fold of an nnU-Net result.
        classes: meaning of the outputs in order, where their names do not tell: ``background``, ``primary``, ``node``
            or ``tumour``.
        channels: ``pet`` or ``ct`` for each input in order, where their names do not tell.
        replace: put it in the place of a model of that name.
    """

    name: str | None = None
    licence: str | None = None
    checkpoint: str = "checkpoint_final.pth"
    classes: tuple[str, ...] = ()
    channels: tuple[str, ...] = ()
    replace: bool = False


def import_model(source: str | Path, options: ImportOptions | None = None) -> Path:
    """Install the model in a folder or zip file; returns its folder.

    It is converted and verified in a temporary folder beside its place and moved there at the end, so that a failure
    leaves nothing.

    Raises:
        ModelError: the source is not safe, of no known kind, incomplete or not convertible, or the name is taken.
        OutputError: the user's folder cannot be written.
    """
    options = options or ImportOptions()
    home = user_folder()
    try:
        home.mkdir(parents=True, exist_ok=True)
        with (
            opened_archive(Path(source).expanduser(), home) as opened,
            tempfile.TemporaryDirectory(prefix=".import-", dir=home) as part,
        ):
            folder, kind = find_model(opened, Path(source))
            staged = Path(part) / "model"
            staged.mkdir()
            name = _converters()[kind](folder, staged, options)
            load_networks(staged)  # what is installed can be run
            return _install(staged, home, options.name or name, options.replace)
    except OSError as error:
        raise OutputError(f"The model cannot be written to '{home}': {error.strerror or error}.") from error


def find_model(folder: Path, source: Path) -> tuple[Path, str]:
    """The folder that is the model, and its kind; up to three folders around it are looked through.

    Raises :class:`ModelError` when there is none, or several.
    """
    level = [folder]
    for _ in range(4):
        found = [(path, kind) for path in level if (kind := _kind(path))]
        if len(found) > 1:
            names = ", ".join(str(path.relative_to(folder)) for path, _ in found)
            raise ModelError(f"'{source}' holds several models ({names}). Give one of these folders.")
        if found:
            return found[0]
        level = sorted(p for f in level for p in f.iterdir() if p.is_dir() and p.name != "__MACOSX")[:1000]
    raise ModelError(
        f"'{source}' holds no model that is known: neither a {CARD_FILE} (own models), nor plans.json and dataset.json "
        "(an nnU-Net v2 result folder such as nnUNetTrainer__nnUNetPlans__3d_fullres), nor configs/inference.json (a "
        "MONAI bundle)."
    )


def _kind(folder: Path) -> str:
    if (folder / CARD_FILE).is_file():
        return OWN_KIND
    if (folder / "plans.json").is_file() and (folder / "dataset.json").is_file():
        return NNUNET_KIND
    return BUNDLE_KIND if any((folder / "configs").glob("inference.*")) else ""


def export_model(model: str | Path, target: Path) -> Path:
    """Write a model as a zip file that :func:`import_model` takes; raises :class:`OutputError` when it is there."""
    folder = resolve_model(model)
    target = Path(target).expanduser()
    if target.suffix.lower() != ".zip":
        raise OutputError(f"'{target}' does not end in .zip; models are exported as zip files.")
    if target.exists():
        raise OutputError(f"'{target}' is there already. Choose another name.")
    part = target.with_name(f"{target.name}.{os.getpid()}.part")
    try:
        with tempfile.TemporaryDirectory() as staged, zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED) as archive:
            place, names = _standing_alone(folder, Path(staged))
            for name in names:
                archive.write(place / name, f"{folder.name}/{name}")
        os.replace(part, target)
    except OSError as error:
        raise OutputError(f"'{target}' cannot be written: {error.strerror or error}.") from error
    finally:
        part.unlink(missing_ok=True)
    return target


def _standing_alone(folder: Path, staged: Path) -> tuple[Path, list[str]]:
    """Where the files of an own model lie that needs no other folder, and their names; all are verified.

    That is ``folder``, or ``staged``, where a model that is the mean of another one's networks is written out.
    """
    card, place = ModelCard.load(folder), folder
    if card.mean_of:
        card, place = write_standing_alone(folder, staged), staged
    else:
        load_networks(folder)
    return place, [CARD_FILE, *(weight.file for weight in card.weights)]


def _converters() -> dict[str, Callable[[Path, Path, ImportOptions], str]]:
    from HNTumorSegLib.models.import_bundle import convert_bundle
    from HNTumorSegLib.models.import_nnunet import convert_nnunet

    return {OWN_KIND: _copy_own, NNUNET_KIND: convert_nnunet, BUNDLE_KIND: convert_bundle}


def _copy_own(folder: Path, staged: Path, options: ImportOptions) -> str:
    """An own model; files that its card does not name are refused."""
    card = ModelCard.load(folder)
    wanted = {CARD_FILE, *(() if card.mean_of else (weight.file for weight in card.weights))}
    for path in sorted(folder.iterdir()):
        if path.name not in wanted and not _READABLE.fullmatch(path.name):
            raise ModelError(
                f"The model folder holds '{path.name}', which its card does not name; it was not imported. Remove the "
                "file if you know what it is."
            )
    place, names = _standing_alone(folder, staged)
    if place != staged:
        for name in names:
            shutil.copyfile(place / name, staged / name)
    return card.name


def _install(staged: Path, home: Path, name: str, replace: bool) -> Path:
    """Move the finished folder to its place."""
    name = re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")
    if not _NAME.fullmatch(name):
        raise ModelError(f"'{name}' cannot be a model's name. Give one of letters and digits with --name.")
    target = home / name
    if (bundled_folder() / name / CARD_FILE).is_file():
        raise ModelError(f"'{name}' is the name of a model that came with the package. Give another with --name.")
    if target.exists() and not replace:
        raise ModelError(f"There is a model '{name}' in '{home}' already. Give another --name, or --replace.")
    if target.exists():
        former = staged.parent / "former"
        os.replace(target, former)
        try:
            os.replace(staged, target)
        except OSError:
            os.replace(former, target)
            raise
    else:
        os.replace(staged, target)
    return target
