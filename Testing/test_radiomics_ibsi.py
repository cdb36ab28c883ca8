"""Radiomics of the IBSI-1 digital phantom within the tolerance of the reference values."""

from __future__ import annotations

from pathlib import Path

import pytest

radiomics = pytest.importorskip("radiomics", reason="the radiomics extra is not installed")

import ibsi_reference as ibsi  # noqa: E402

EVIDENCE = Path(__file__).resolve().parents[1] / "Resources" / "Evidence" / "ibsi.md"


@pytest.fixture(scope="module")
def features(shared_data):
    if not (shared_data / "ibsi").is_dir():
        pytest.skip(f"no IBSI phantom in {shared_data}")
    return ibsi.phantom_features()


def test_every_feature_defined_the_ibsi_way_is_within_the_tolerance(features):
    rows = ibsi.compare(features)
    assert len(rows) == 98
    assert [row for row in rows if not row.agrees] == []


def test_features_defined_otherwise_agree_once_converted(features):
    assert [row for row in ibsi.compare_converted(features) if not row.agrees] == []
    assert features["firstorder_Kurtosis"] == pytest.approx(-0.355 + 3, abs=6e-4)


def test_no_feature_is_left_out(features):
    assert set(features) == {*ibsi.TAGS, *ibsi.DEFINED_OTHERWISE, *ibsi.NOT_IBSI}


def test_a_wrong_bin_width_would_be_seen(features):
    """The allowed differences are narrow: 2 % more is outside for all that is not 0."""
    off = {name: None if value is None else 1.02 * value for name, value in features.items()}
    wrong = [row for row in ibsi.compare(off) if not row.agrees]
    assert len(wrong) > 90


def test_the_kept_table_is_of_this_code(features):
    text = EVIDENCE.read_text(encoding="utf-8")
    if f"pyradiomics {radiomics.__version__} " not in text:
        pytest.skip("the kept table was made with another version of pyradiomics")
    assert text == ibsi.evidence(features)
