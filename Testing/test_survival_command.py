"""``hntumorseg survival``: what it writes, and what it says about tables that cannot be used."""

from __future__ import annotations

import csv
import json
import re

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("lifelines", reason="the survival extra is not installed")
from survival_cases import cohort_frame, write

from HNTumorSegLib import cli
from HNTumorSegLib.survival.cohort_table import read_new_patients
from HNTumorSegLib.survival.prognosis import FOR_RESEARCH
from HNTumorSegLib.survival.risk_model import CARD_FILE, NUMBERS_FILE, RiskModel

QUICK = ["--models", "cox", "--folds", "3", "--repeats", "1", "--quiet"]


def analyse(table, out, *more, time="days", event="dead"):
    return ["survival", "analyse", "--table", str(table), "--time", time, "--event", event, "--out", str(out), *more]


def refused(capsys, arguments, *words):
    capsys.readouterr()
    assert cli.main(arguments) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1, error
    for word in words:
        assert word in error, error


@pytest.fixture(scope="module")
def table(tmp_path_factory):
    return write(cohort_frame(), tmp_path_factory.mktemp("survival") / "cohort.csv")


@pytest.fixture(scope="module")
def analysis(table, tmp_path_factory):
    out = tmp_path_factory.mktemp("analysis")
    more = ["--group", "centre", "--ttb-automatic", "ttb_cnn_ml", "--cutoff", "maximal", *QUICK]
    assert cli.main(analyse(table, out, *more)) == 0
    return out


@pytest.fixture(scope="module")
def model(table, tmp_path_factory):
    folder = tmp_path_factory.mktemp("model") / "os"
    arguments = ["survival", "fit", "--table", str(table), "--time", "days", "--event", "dead", "--covariates", "age"]
    more = ["sex", "ttb_ml", "--folds", "3", "--repeats", "1", "--quiet", "--out", str(folder)]
    assert cli.main([*arguments, *more]) == 0
    return folder


def test_the_page_stands_alone_and_holds_every_part(analysis):
    page = (analysis / "survival.html").read_text(encoding="utf-8")
    assert not re.search(r"(src|href)=\"(?!data:|#)", page)
    assert "<script" not in page
    assert page.count("data:image/svg+xml;base64") == 5
    for words in ("leave one centre out", "warnings, not results", "Lausen and Schumacher", "change group", "Seed 0"):
        assert words in page
    names = {p.name for p in (analysis / "figures").iterdir()}
    assert {f"dead_{n}.{s}" for n in ("ttb", "c_index", "risk_groups") for s in ("png", "svg")} <= names
    for path in (analysis / "figures").glob("*.png"):
        assert path.read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"


def test_the_tables_say_what_the_page_says(analysis):
    summary = pd.read_csv(analysis / "tables" / "dead_summary.csv").set_index("scheme")
    page = (analysis / "survival.html").read_text(encoding="utf-8")
    assert f"{summary.loc['nested', 'harrell']:.3f} (" in page
    scores = pd.read_csv(analysis / "tables" / "dead_scores.csv")
    nested = scores[scores["scheme"] == "nested"]
    assert summary.loc["nested", "harrell"] == pytest.approx(nested["harrell"].mean(), abs=1e-5)
    assert json.loads((analysis / "checks.json").read_text())["seed"] == 0


def test_outcomes_do_not_become_covariates(table, tmp_path):
    frame = cohort_frame().assign(days_to_relapse=100, status=1, note=[f"free text {k}" for k in range(120)])
    path = write(frame, tmp_path / "more.csv")
    assert cli.main(analyse(path, tmp_path / "out", *QUICK)) == 0
    univariate = pd.read_csv(tmp_path / "out" / "tables" / "dead_univariate.csv")
    assert set(univariate["covariate"]) == {"centre=south", "centre=west", "ttb_ml", "ttb_cnn_ml", "age", "sex=female"}
    notes = " ".join(json.loads((tmp_path / "out" / "checks.json").read_text())["notes"])
    assert "days_to_relapse, status" in notes
    assert "'note' holds 120" in notes


def test_features_make_feature_sets(table, tmp_path):
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(120, 4)), columns=["PET_a", "PET_b", "CT_a", "CT_b"])
    frame.insert(0, "patient", cohort_frame()["patient"])
    features = write(frame.sample(frac=1, random_state=0), tmp_path / "features.csv")
    more = ["--features", str(features), "--covariates", "age", "PET_a", "PET_b", "CT_a", "CT_b", *QUICK]
    assert cli.main(analyse(table, tmp_path / "out", *more)) == 0
    summary = pd.read_csv(tmp_path / "out" / "tables" / "dead_summary.csv")
    sets = ["clinical", "clinical + pet", "clinical + ct", "clinical + all features"]
    assert summary["features"].unique().tolist() == sets


# ------------------------------------------------------------------------------------------------ fit and apply


def test_the_card_tells_without_naming_anyone(model):
    text = (model / CARD_FILE).read_text(encoding="utf-8")
    card = json.loads(text)
    assert (card["n"], card["event_column"], card["unit"]) == (120, "dead", "days")
    assert card["burden"]["cutoff_ml"] == pytest.approx(cohort_frame()["ttb_ml"].median())
    assert 0.5 < card["performance"]["nested"]["harrell"] < 0.9
    assert "Not for decisions" in card["limitations"]
    assert {p.name for p in model.iterdir()} == {CARD_FILE, NUMBERS_FILE}
    numbers = (model / NUMBERS_FILE).read_text(encoding="utf-8")
    assert not re.search(r"P\d{3}", text + numbers)


def test_apply_gives_risk_group_and_contributions(model, table, tmp_path):
    arguments = ["survival", "apply", "--model", str(model), "--table", str(table), "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--quiet"]) == 0
    with (tmp_path / "out" / "risk.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [row["patient"] for row in rows] == cohort_frame()["patient"].tolist()
    for row in rows:
        parts = [float(v) for k, v in row.items() if k.startswith("contribution_") and v]
        assert sum(parts) == pytest.approx(float(row["risk"]), abs=3e-4)
    groups = [row["group"] for row in rows]
    assert groups.count("high") == pytest.approx(60, abs=1)
    order = sorted(rows, key=lambda row: float(row["risk"]))
    assert [float(row["event_free"]) for row in order] == sorted((float(r["event_free"]) for r in rows), reverse=True)


def test_a_prognosis_in_words(model, tmp_path):
    new = write(
        pd.DataFrame({"id": ["A", "B"], "age": [85, None], "sex": ["male", "unknown"], "ttb_ml": [60.0, 9000.0]}),
        tmp_path / "new.csv",
    )
    first, second = RiskModel.load(model).prognoses(read_new_patients(new))
    assert first.group == "high"
    assert first.burden.group == "high"
    assert np.all(np.diff(first.survival) <= 0)
    assert first.contributions[0].log_hazard > 0
    words = " ".join(first.words())
    assert "raises the hazard" in words
    assert "TTB 60.0 ml is above the cohort's cut-off" in words
    assert words.endswith(FOR_RESEARCH)
    notes = " ".join(second.notes)
    assert "filled in" in notes
    assert "lies outside" in notes
    used = {c.covariate: c for c in second.contributions}
    assert used["age"].filled_in
    assert used["age"].value is None
    if "sex" in used:
        assert "'unknown'" in notes


@pytest.mark.parametrize("kind", ["lasso", "forest", "deepsurv"])
def test_every_model_can_be_kept(kind, table, tmp_path):
    arguments = ["survival", "fit", "--table", str(table), "--time", "days", "--event", "dead", "--covariates", "age"]
    more = ["ttb_ml", "--model", kind, "--folds", "2", "--repeats", "1", "--quiet", "--out", str(tmp_path / "model")]
    assert cli.main([*arguments, *more]) == 0
    found = RiskModel.load(tmp_path / "model").prognoses(read_new_patients(table))
    for prognosis in found[:10]:
        assert sum(c.log_hazard for c in prognosis.contributions) == pytest.approx(prognosis.risk, abs=1e-6)


def test_a_changed_or_foreign_model_is_refused(model, table, tmp_path, capsys):
    copy = tmp_path / "copy"
    copy.mkdir()
    for name in (CARD_FILE, NUMBERS_FILE):
        (copy / name).write_bytes((model / name).read_bytes())
    arguments = ["survival", "apply", "--model", str(copy), "--table", str(table), "--out", str(tmp_path / "out")]
    (copy / NUMBERS_FILE).write_text((copy / NUMBERS_FILE).read_text().replace("1", "2", 1))
    refused(capsys, arguments, "model.json", "not the one its card describes")
    (copy / CARD_FILE).write_text('{"kind": "else"}')
    refused(capsys, arguments, "another kind of model")
    (copy / CARD_FILE).write_text("no json")
    refused(capsys, arguments, "cannot be read")
    (copy / CARD_FILE).unlink()
    refused(capsys, arguments, "no card.json")
    assert not (tmp_path / "out").exists()


def test_a_new_table_without_the_models_column(model, tmp_path, capsys):
    new = write(pd.DataFrame({"id": ["A"], "ttb_ml": [3.0], "sex": ["male"]}), tmp_path / "new.csv")
    arguments = ["survival", "apply", "--model", str(model), "--table", str(new), "--out", str(tmp_path / "out")]
    refused(capsys, arguments, "'age'")
    write(pd.DataFrame({"id": ["A"], "ttb_ml": [3.0], "sex": ["male"], "age": ["old"]}), new)
    refused(capsys, arguments, "'age'", "'old'", "patient A")


# ---------------------------------------------------------------------------------------------------- bad input


def change(column, values, rows=slice(None)):
    def apply(frame):
        frame = frame.astype({column: object})
        frame.loc[frame.index[rows], column] = values
        return frame

    return apply


BAD_TABLES = {
    "negative times": (change("days", -3.0, slice(1, 3)), ["'days' is negative", "P001, P002"]),
    "times as text": (change("days", "two years", slice(4, 5)), ["'days'", "'two years'", "P004"]),
    "a time left out": (change("days", None, slice(7, 8)), ["'days' is empty", "P007"]),
    "all censored": (change("dead", 0), ["'dead' is 0 for all 120 patients"]),
    "one event": (lambda f: f.assign(dead=[0] * 119 + [1]), ["'dead' has one event", "P119"]),
    "fewer events than folds": (lambda f: f.assign(dead=[0] * 118 + [1, 1]), ["P118, P119", "--folds 2"]),
    "event coded otherwise": (change("dead", 2, slice(3, 4)), ["'dead' must be 0 (censored) or 1", "P003"]),
    "duplicated patients": (change("patient", "P000", slice(5, 6)), ["P000 more than once"]),
    "a patient without name": (change("patient", None, slice(5, 6)), ["'patient'", "line 7"]),
    "no identifiers": (lambda f: f.rename(columns={"patient": "who"}), ["--id"]),
    "no such column": (lambda f: f.rename(columns={"days": "weeks"}), ["no column 'days'"]),
    "no patient": (lambda f: f.iloc[:0], ["no patients"]),
    "no covariate": (lambda f: f[["patient", "days", "dead"]], ["covariate"]),
    "burden as text": (change("ttb_ml", "large", slice(2, 3)), ["'ttb_ml'", "'large'", "P002"]),
    "negative burden": (change("ttb_ml", -1.0, slice(2, 3)), ["'ttb_ml' is negative", "P002"]),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_TABLES)
def test_a_bad_table_is_one_line(case, tmp_path, capsys):
    make, words = BAD_TABLES[case]
    path = write(make(cohort_frame()), tmp_path / "bad.csv")
    more = ["--models", "cox", "--quiet"]
    if case == "burden as text":
        more += ["--ttb", "ttb_ml"]
    refused(capsys, analyse(path, tmp_path / "out", *more), *words)
    assert not (tmp_path / "out").exists()


def test_a_centre_without_event(tmp_path, capsys):
    frame = cohort_frame()
    frame.loc[frame["centre"] == "west", "dead"] = 0
    path = write(frame, tmp_path / "bad.csv")
    refused(capsys, analyse(path, tmp_path / "out", "--group", "centre"), "'dead'", "centre 'west'", "P002, P005")
    frame = cohort_frame().assign(centre="only")
    refused(capsys, analyse(write(frame, path), tmp_path / "out", "--group", "centre"), "'centre' is 'only' for all")


def test_feature_tables_that_do_not_match(table, tmp_path, capsys):
    features = tmp_path / "features.csv"
    frame = pd.DataFrame({"patient": cohort_frame()["patient"], "PET_a": np.arange(120.0)})
    arguments = analyse(table, tmp_path / "out", "--features", str(features))
    write(frame.assign(patient=[f"X{k}" for k in range(120)]), features)
    refused(capsys, arguments, "shares no patient", "X0")
    write(frame.iloc[2:], features)
    refused(capsys, arguments, "no row for patients P000, P001")
    write(frame.rename(columns={"PET_a": "age"}), features)
    refused(capsys, arguments, "'age' is in the table and in the feature table")
    features.unlink()
    refused(capsys, arguments, "features.csv", "cannot be read")


@pytest.mark.parametrize(
    ("more", "words"),
    [
        (["--covariates", "age", "days"], ["'days' is an outcome"]),
        (["--covariates", "agee"], ["no column 'agee'"]),
        (["--time", "days", "age"], ["in pairs"]),
        (["--cutoff", "1e9"], ["cut-off", "ttb_ml"]),
        (["--cutoff", "best"], ["--cutoff"]),
        (["--folds", "1"], ["--folds"]),
        (["--ttb", "mtv"], ["'mtv'"]),
        (["--models", "gru"], ["--models"]),
    ],
)
def test_bad_options(more, words, table, tmp_path, capsys):
    refused(capsys, analyse(table, tmp_path / "out", *more), *words)


def test_a_table_with_semicolons_and_a_byte_order_mark(tmp_path):
    path = tmp_path / "excel.csv"
    path.write_text("\ufeff" + cohort_frame().to_csv(index=False, sep=";"), encoding="utf-8")
    frame = read_new_patients(path)
    assert list(frame.columns) == list(cohort_frame().columns[1:])
    assert len(frame) == 120


def test_identifiers_stay_as_they_are(tmp_path):
    path = tmp_path / "numbers.csv"
    path.write_text("id,age\n007,60\n7,61\n010,62\n")
    assert list(read_new_patients(path).index) == ["007", "7", "010"]


def test_a_column_twice(tmp_path, capsys):
    path = tmp_path / "twice.csv"
    path.write_text("id,days,dead,age,age\nA,1,1,2,3\n")
    refused(capsys, analyse(path, tmp_path / "out"), "'age' more than once")


# ---------------------------------------------------------------------------------------------------- real data


def test_three_hundred_real_patients_in_one_command(shared_data, tmp_path, capsys):
    table = shared_data / "survival" / "head_neck_300.csv"
    if not table.is_file():
        pytest.skip(f"the real cohort is not at {table}")
    outcomes = ["Death", "Locoregional", "Distant"]
    times, events = [f"days_{o}" for o in outcomes], [f"ev_{o}" for o in outcomes]
    arguments = ["survival", "analyse", "--table", str(table), "--time", *times, "--event", *events]
    assert cli.main([*arguments, "--group", "cohort", "--folds", "3", "--repeats", "1", "--out", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    assert "ev_Death: 56 events in 300 patients" in printed
    assert "'HPV' is missing in 60% of the patients" in printed
    for event in events:
        summary = pd.read_csv(tmp_path / "tables" / f"{event}_summary.csv").set_index(["scheme", "model"])
        for scheme in ("nested", "leave one centre out", "leaky", "apparent"):
            for model in ("cox", "forest", "deepsurv"):
                row = summary.loc[(scheme, model)]
                assert row["harrell_lower"] < row["harrell"] < row["harrell_upper"]
        # The forest remembers its patients; only the honest figure may be believed.
        assert summary.loc[("apparent", "forest"), "harrell"] > summary.loc[("nested", "forest"), "harrell"] + 0.05
        used = set(pd.read_csv(tmp_path / "tables" / f"{event}_univariate.csv")["covariate"])
        assert not any(name.startswith(("ev_", "days_", "roi_")) for name in used)
    death = pd.read_csv(tmp_path / "tables" / "ev_Death_summary.csv").set_index(["scheme", "model"])
    assert death.loc[("nested", "cox"), "harrell_lower"] > 0.5
    centres = pd.read_csv(tmp_path / "tables" / "ev_Death_scores.csv")
    centres = centres[(centres["scheme"] == "leave one centre out") & (centres["model"] == "cox")]
    assert dict(zip(centres["split"], centres["n_test"], strict=True)) == {
        "CHUM": 65,
        "CHUS": 102,
        "HGJ": 92,
        "HMR": 41,
    }
