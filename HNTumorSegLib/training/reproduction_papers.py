"""Each publication's table: what is trained, what is measured, and which order its rows should have."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace

import numpy as np

from HNTumorSegLib.errors import InputError
from HNTumorSegLib.inference.crf import CrfWeights, refine_lesions
from HNTumorSegLib.inference.crf_fit import CrfCase, CrfFit, fit_scores, score_case
from HNTumorSegLib.recipes import PUBLISHED
from HNTumorSegLib.recipes.nikolov2018 import WITHIN
from HNTumorSegLib.recipes.recipe import Recipe
from HNTumorSegLib.training.phantom_files import CONTRAST, HELD_OUT, ORGANS, TUMOURS
from HNTumorSegLib.training.reproduction_figures import Cohort, Figures, mean_figures
from HNTumorSegLib.training.reproduction_session import Prediction, Session
from HNTumorSegLib.training.reproduction_table import Ordering, Row
from HNTumorSegLib.training.splits import KFOLD

CRF_CASES = 12
"""Validation cases on which the CRF's weights are fitted, at most."""


@dataclass(frozen=True)
class PaperResult:
    """Rows, order and notes as in :class:`HNTumorSegLib.training.reproduction_table.ReproductionTable`, and a recipe.

    ``recipe`` is one of those that were trained: it says in what all of them differ from the publication.
    """

    rows: tuple[Row, ...]
    orderings: tuple[Ordering, ...]
    notes: tuple[str, ...]
    recipe: Recipe


def andrearczyk2020(session: Session) -> PaperResult:
    """Each input and fusion in 2-D and 3-D, cross-validated."""
    published = PUBLISHED["andrearczyk2020"]
    beside = {
        (2, "ct"): "CT only",
        (2, "pet"): "PET only",
        (2, "late"): "late fusion, 2-D",
        (3, "early"): "best, 3-D",
        (3, "late"): "best, 3-D",
    }
    words = {"ct": "CT only", "pet": "PET only", "early": "early fusion", "late": "late fusion"}
    rows, dsc = [], {}
    for dimensions in (2, 3):
        # The quick run has no time for the 3-D networks of one image; the abstract does not name them.
        for inputs in ("early", "late") if session.job.quick and dimensions == 3 else words:
            recipe = session.recipe(f"andrearczyk2020_{dimensions}d_{inputs}")
            # One split for all rows, so that they are measured on the same patients.
            found = _cross_validated(
                session, recipe, Cohort.tumour, *((KFOLD, 2) if session.job.quick else (None, None))
            )
            dsc[dimensions, inputs] = found["dsc"]
            of_paper = published.get(beside.get((dimensions, inputs), ""), {})
            rows.append(_row(f"{words[inputs]}, {dimensions}-D", found, of_paper))
    orderings = [
        Ordering(tuple((f"{words[i]} {d}-D", dsc[d, i]) for i in ("ct", "pet", "late")))
        for d in (2, 3)
        if (d, "ct") in dsc
    ]
    best = max((dsc[3, i] for i in ("early", "late") if dsc[3, i] is not None), default=None)
    orderings.append(Ordering((("best 3-D", best), ("late fusion 2-D", dsc[2, "late"]))))
    return PaperResult(
        tuple(rows),
        tuple(orderings),
        (
            "DSC is the mean over patients, each measured by the network of the fold that did not see it; 'pooled' "
            "adds the volumes of all patients first. Primary tumours and nodes are one class.",
            "The abstract gives CT-only and PET-only without saying 2-D or 3-D; they stand beside the 2-D rows. Its "
            "best 3-D result stands beside both fusions.",
            "The quick run splits into two folds of patients; the publication leaves one centre out."
            if session.job.quick
            else "One centre is left out in each fold.",
        ),
        session.recipe("andrearczyk2020"),
    )


def yang2023(session: Session) -> PaperResult:
    """Two losses on plain and contrast-enhanced CT, cross-validated, and the ensemble on test patients."""
    published = PUBLISHED["yang2023"]
    focal = session.recipe("yang2023")
    plan = {k: v for k, v in focal.training.items() if k != "loss_options"}
    cross_entropy = replace(focal, name=f"{focal.name}_dice_ce", training={**plan, "loss": "dice_ce"})
    rows = []
    for recipe, words in ((cross_entropy, "Dice + CE"), (focal, "Dice + focal")):
        found = _cross_validated(session, recipe, Cohort.primary_and_node)
        rows.append(_row(f"{words}, validation", found, published[f"{words}, validation"]))
    ensemble, members = _on_test(session, focal, Cohort.primary_and_node)
    rows.append(_row("Dice + focal, test", ensemble, published["Dice + focal, test"]))
    rows.append(_row("mean of the members, test", members, {}))
    return PaperResult(
        tuple(rows),
        _ensemble_orderings(ensemble, members, ("dsc_primary", "dsc_node")),
        (
            "Figures are means over patients; NSD has a tolerance of 2.5 mm here, the challenge's own tolerances are "
            "not in the text at hand.",
            "The two losses are so close in the publication (primary 0.799 and 0.804, node 0.774 and 0.773) that it "
            "has no order of them to reproduce; the ensemble is compared with its members instead.",
            *(
                (
                    "The phantom's contrast-enhanced CT is its plain CT plus a rise of vessels, glands, mucosa and "
                    "tumours (HNTumorSegLib.phantom.contrast), perfectly registered.",
                )
                if session.job.on_phantom
                else ()
            ),
        ),
        focal,
    )


def nikolov2018(session: Session) -> PaperResult:
    """Organ by organ: volumetric and surface DSC of one network on test patients."""
    recipe = session.recipe("nikolov2018")

    def measure() -> dict:
        # The recipe has one network; the other folds say only on whom it is not trained.
        trained = session.train(recipe, KFOLD, 5, ("0",))
        cohort = Cohort(recipe)
        for found in session.test(trained):
            cohort.add_organs(str(found.case.name), found.members[0], found.truth, WITHIN)
        evaluation = cohort.evaluation()
        organs = {}
        for organ in evaluation.structure_names():
            items = evaluation.of_structure(organ)
            organs[organ] = {
                "patients": len(items),
                "dsc": float(np.mean([item.dsc for item in items])),
                "surface_dsc": float(np.mean([item.surface.surface_dsc for item in items])),
            }
        if not organs:
            raise InputError("No test patient shows any of the organs; give other --test data.")
        return organs

    organs = session.kept(recipe.name, recipe, measure)
    rows = [_row(organ, figures, {}) for organ, figures in organs.items()]
    rows.append(_row("mean of the organs", {**mean_figures(organs.values()), "patients": 0}, {}))
    absent = [organ for organ in recipe.classes[1:] if organ not in organs]
    return PaperResult(
        tuple(rows),
        (),
        (
            "The text at hand is the abstract, which gives no figure and no order of rows, so nothing stands beside "
            "ours. Surface DSC has the publication's tolerances of each organ (HNTumorSegLib.evaluation.tolerances).",
            "Means over the test patients whose scan shows the organ; the cord is a part of the canal and a lens of "
            "the orbit when these are scored.",
            *((f"No test patient shows: {', '.join(absent)}.",) if absent else ()),
            *(
                (
                    "Organs of the phantom are the labels from which its CT is painted; most of the 21 organs that are "
                    "left out are too small for voxels of 4 mm, the lungs are only partly in the scan.",
                )
                if session.job.on_phantom
                else ()
            ),
        ),
        recipe,
    )


def bourigault2021(session: Session) -> PaperResult:
    """Fold by fold without and with the CRF, and the ensemble on test patients."""
    published = PUBLISHED["bourigault2021"]
    recipe = session.recipe("bourigault2021")
    measured = session.kept(recipe.name, recipe, lambda: _folds_and_ensemble(session, recipe))
    folds, ensemble, members = measured["folds"], measured["ensemble"], measured["members"]
    rows = [
        _row(f"fold {n} ({fold['name']})", fold["figures"], published.get(f"fold {n}", {}))
        for n, fold in enumerate(folds, 1)
    ]
    mean = {**mean_figures([fold["figures"] for fold in folds]), "patients": 0}
    rows.append(_row("mean of the folds", mean, published["ensemble"]))
    rows += [_row("ensemble, test", ensemble, {}), _row("mean of the members, test", members, {})]
    orderings = (
        Ordering((("folds without CRF", mean["dsc"]), ("folds with CRF", mean["dsc_crf"])), strict=False),
        Ordering((("ensemble without CRF", ensemble["dsc"]), ("ensemble with CRF", ensemble["dsc_crf"])), strict=False),
        *_ensemble_orderings(ensemble, members, ("dsc",)),
    )
    switched = [f"fold {n}: {fold['crf']}" for n, fold in enumerate(folds, 1)]
    return PaperResult(
        tuple(rows),
        orderings,
        (
            "The publication's row 'Ensemble' is the mean of its five folds (its own figures add up to it), so it "
            "stands beside the mean of ours; the ensemble's rows are measured on test patients that no network saw.",
            "The CRF's weights of a fold are fitted on validation cases of the other folds, those of the ensemble on "
            "those of all folds, and the CRF is off where its gain on cases left out of the choice is not above its "
            "standard error. Off, both columns are the same.",
            f"CRF: {'; '.join(switched)}; ensemble: {measured['crf']}.",
            "The survival part (Table 2) is not reproduced here: it needs follow-up, which images alone do not have. "
            "With a table of outcomes, 'hntumorseg survival' fits the three kinds of models.",
        ),
        recipe,
    )


def nikulin2023(session: Session) -> PaperResult:
    """Cross-validation, and the ensemble on other patients."""
    published = PUBLISHED["nikulin2023"]
    recipe = session.recipe("nikulin2023")
    found = _cross_validated(session, recipe, Cohort.pooled)
    ensemble, members = _on_test(session, recipe, Cohort.pooled)
    return PaperResult(
        (
            _row("cross-validation", found, published["cross-validation"]),
            _row("external", ensemble, published["external"]),
            _row("mean of the members, external", members, {}),
        ),
        (
            Ordering(
                (("external, union", ensemble["dsc_union"]), ("cross-validation, union", found["dsc_union"])),
            ),
            *_ensemble_orderings(ensemble, members, ("dsc_union",)),
        ),
        (
            "DSC is that of the cohort (volumes of all patients added), as in the publication's Table 1; 'right kind' "
            "is its Table 2, the share of tumour voxels found that are called primary or node as the truth does.",
            "Cross-validation: each patient by the network that did not see it. External: the ensemble of all networks "
            + (
                "on phantom patients of another family (held_out: other anatomy, wider ranges of everything)."
                if session.job.on_phantom and not session.job.test
                else "on patients that no network saw; without --test they are of the same data set."
            ),
        ),
        recipe,
    )


PAPERS: dict[str, tuple[Callable[[Session], PaperResult], str, str]] = {
    "andrearczyk2020": (andrearczyk2020, TUMOURS, ""),
    "yang2023": (yang2023, CONTRAST, CONTRAST),
    "nikolov2018": (nikolov2018, ORGANS, ORGANS),
    "bourigault2021": (bourigault2021, TUMOURS, TUMOURS),
    "nikulin2023": (nikulin2023, TUMOURS, HELD_OUT),
}
"""Of each publication: what makes its rows, and which phantom data it trains and tests on."""


def _row(name: str, figures: dict, published: dict[str, float]) -> Row:
    ours = {key: value for key, value in figures.items() if key != "patients"}
    return Row(name, int(figures["patients"]), ours, published)


def _ensemble_orderings(ensemble: Figures, members: Figures, names: tuple[str, ...]) -> tuple[Ordering, ...]:
    return tuple(
        Ordering(
            ((f"mean of the members ({name})", members[name]), (f"ensemble ({name})", ensemble[name])), strict=False
        )
        for name in names
    )


def _cross_validated(
    session: Session,
    recipe: Recipe,
    figures: Callable[[Cohort], Figures],
    splits: str | None = None,
    k: int | None = None,
) -> dict:
    """Figures of all patients, each by the network that did not see it, and how many there are."""

    def measure() -> dict:
        trained = session.train(recipe, splits, k)
        cohort, patients = Cohort(recipe), 0
        for fold in range(len(trained.folds)):
            for found in session.unseen(trained, fold):
                cohort.add_tumours(str(found.case.name), found.members[0], found.truth)
                patients += 1
        return {**figures(cohort), "patients": patients}

    return session.kept(f"{recipe.name}_validation", recipe, measure)


def _on_test(session: Session, recipe: Recipe, figures: Callable[[Cohort], Figures]) -> tuple[dict, dict]:
    """Figures of the ensemble on the test patients, and the mean of its members' figures."""

    def measure() -> dict:
        return dict(
            zip(
                ("ensemble", "members"),
                _test_figures(recipe, session.test(session.train(recipe)), figures),
                strict=True,
            )
        )

    found = session.kept(f"{recipe.name}_test", recipe, measure)
    return found["ensemble"], found["members"]


def _test_figures(
    recipe: Recipe, predictions: Iterable[Prediction], figures: Callable[[Cohort], Figures]
) -> tuple[dict, dict]:
    whole, patients = Cohort(recipe), 0
    single: list[Cohort] = []
    for found in predictions:
        single = single or [Cohort(recipe) for _ in found.members]
        whole.add_tumours(str(found.case.name), found.ensemble, found.truth)
        for cohort, foreground in zip(single, found.members, strict=True):
            cohort.add_tumours(str(found.case.name), foreground, found.truth)
        patients += 1
    members = mean_figures([figures(cohort) for cohort in single])
    return {**figures(whole), "patients": patients}, {**members, "patients": patients}


def _folds_and_ensemble(session: Session, recipe: Recipe) -> dict:
    """Bourigault's rows: DSC and HD95 of each fold and of the ensemble, without and with the fitted CRF."""
    trained = session.train(recipe)
    numbers = range(len(trained.folds))
    per_fold = -(-CRF_CASES // len(trained.folds))
    device = str(next(trained.networks[0].parameters()).device)
    scores = [
        [score_case(_crf_case(found), recipe, device=device) for found in session.unseen(trained, fold, per_fold)]
        for fold in numbers
    ]

    def fitted(without: int | None) -> tuple[Recipe, str]:
        try:
            fit = fit_scores([case for fold in numbers if fold != without for case in scores[fold]])
        except InputError as error:
            return recipe, f"off ({error})"
        return fit.applied_to(recipe), _words(fit)

    folds = []
    for number in numbers:
        with_crf, words = fitted(number)
        figures = _with_and_without(session.unseen(trained, number), with_crf)
        folds.append({"name": trained.folds[number].name, "figures": figures, "crf": words})
    with_crf, words = fitted(None)
    # Twice through the networks, rather than all patients' probabilities in memory.
    _, members = _test_figures(recipe, session.test(trained), _dsc_and_distance)
    ensemble = _with_and_without(session.test(trained), with_crf)
    return {"folds": folds, "ensemble": ensemble, "members": members, "crf": words}


def _with_and_without(predictions: Iterable[Prediction], recipe: Recipe) -> dict:
    """Figures without and with the recipe's CRF; where it has none both are the same."""
    weights = CrfWeights.of(recipe)
    plain, refined, patients = Cohort(recipe), Cohort(recipe), 0
    for found in predictions:
        foreground, name = found.ensemble, str(found.case.name)
        plain.add_tumours(name, foreground, found.truth)
        if weights is not None:
            foreground = refine_lesions(foreground, found.case.inputs.astype(np.float32), recipe, weights)
        refined.add_tumours(name, foreground, found.truth)
        patients += 1
    before, after = _dsc_and_distance(plain), _dsc_and_distance(refined)
    return {**before, "dsc_crf": after["dsc"], "hd95_crf_mm": after["hd95_mm"], "patients": patients}


def _dsc_and_distance(cohort: Cohort) -> Figures:
    return {name: value for name, value in cohort.tumour().items() if name != "dsc_cohort"}


def _crf_case(found: Prediction) -> CrfCase:
    return CrfCase(found.ensemble, found.case.inputs.astype(np.float32), found.truth)


def _words(fit: CrfFit) -> str:
    gain = f"gain {fit.gain:+.4f} +- {fit.gain_se:.4f} on {fit.cases} cases"
    if not fit.helps:
        return f"off ({gain})"
    chosen = asdict(fit.best)
    return f"on ({gain}; " + ", ".join(f"{k} {chosen[k]:g}" for k in ("smoothness", "appearance", "suv")) + ")"
