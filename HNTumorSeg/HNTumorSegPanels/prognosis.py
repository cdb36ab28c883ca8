"""A survival model in its folder, applied to the lesions on show; what it needs is imported at first use."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from typing import Any

from slicer.i18n import tr as _

from HNTumorSegLib.errors import MissingPackageError, SurvivalError
from HNTumorSegPanels import packages

NEEDED = {"pandas": "pandas", "sklearn": "scikit-learn", "torch": "torch"}
"""What is imported, and how pip calls it; lifelines is needed to fit a model, not to apply it."""
FOR_PICTURE = {"matplotlib": "matplotlib"}


def lacking(needed: dict[str, str]) -> list[str]:
    """Those that are not installed, as pip calls them."""
    return [needed[name] for name in packages.missing(tuple(needed))]


def load(folder: str) -> Any:
    """The RiskModel of a folder that ``hntumorseg survival fit`` wrote; read again only when its files changed.

    Raises:
        HNTumorSegError: packages are missing; no folder is chosen; it holds no survival model.
    """
    missing = lacking(NEEDED)
    if missing:
        raise MissingPackageError(
            _("The prognosis needs {names}, which Slicer does not bring.").format(names=", ".join(missing))
        )
    if not folder.strip():
        raise SurvivalError(_("Choose a model folder that 'hntumorseg survival fit' wrote."))
    path = Path(folder.strip())
    try:
        if not path.is_dir():
            raise SurvivalError(_("The folder '{path}' is not there. Choose another.").format(path=path))
        stamp = tuple((file.name, file.stat().st_mtime_ns, file.stat().st_size) for file in sorted(path.glob("*.json")))
    except OSError as error:
        raise SurvivalError(
            _("The folder '{path}' cannot be read: {why}.").format(path=path, why=error.strerror)
        ) from error
    return _load(path, stamp)


@lru_cache(maxsize=4)
def _load(path: Path, _stamp: tuple) -> Any:
    from HNTumorSegLib.survival.risk_model import RiskModel

    return RiskModel.load(path)


def model_words(card: Any) -> list[str]:
    """Whom the model learnt from, how well it did on patients it had not seen, and its limits."""
    from HNTumorSegLib.survival.models import MODEL_TITLES

    sentences = [
        _("{name} ({kind}): learnt from {n} patients, {events} of them with the event '{event}'.").format(
            name=card.name, kind=MODEL_TITLES[card.model], n=card.n, events=card.n_events, event=card.event_column
        )
    ]
    nested = card.performance.get("nested") or {}
    if nested.get("harrell") is not None:
        text = _("Harrell's C on patients it had not seen: {c:.2f}").format(c=nested["harrell"])
        if nested.get("harrell_lower") is not None and nested.get("harrell_upper") is not None:
            # The interval of a few folds can reach beyond what C can be.
            low, high = max(0.0, nested["harrell_lower"]), min(1.0, nested["harrell_upper"])
            text += _(" ({low:.2f} to {high:.2f})").format(low=low, high=high)
        sentences.append(text + _("; 0.5 is chance."))
    return [*sentences, _("Limits: {text}").format(text=card.limitations)]


def burden_words(prognosis: Any, ttb_ml: float) -> str:
    """The tumour burden against the cohort's cut-off."""
    if prognosis.burden is None:
        return _("TTB {ttb:.1f} ml. This model's cohort has no cut-off for it.").format(ttb=ttb_ml)
    side = _("high: above") if prognosis.burden.group == "high" else _("low: not above")
    return _("TTB {ttb:.1f} ml is {side} the cohort's cut-off of {cutoff:.1f} ml ({how}).").format(
        ttb=ttb_ml, side=side, cutoff=prognosis.burden.cutoff_ml, how=prognosis.burden.how
    )


def cohort_words(card: Any) -> list[str]:
    """What a high burden meant in the cohort, with its interval; nothing where that is not known."""
    ratio = (card.burden or {}).get("hazard_ratio")
    if ratio is None:
        return []
    return [
        _(
            "In the cohort, patients above the cut-off had {ratio:.2f} times ({low:.2f} to {high:.2f}) the hazard of "
            "the others."
        ).format(ratio=ratio[0], low=ratio[1], high=ratio[2])
    ]
