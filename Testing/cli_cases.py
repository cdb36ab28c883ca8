"""A run of the command line that works, and how a refused one looks."""

from __future__ import annotations

from pathlib import Path

import pytest
from ball_study import write_ball_study
from threshold_net import NETWORK, write_threshold_model

from HNTumorSegLib import cli, networks


@pytest.fixture(scope="module")
def images(tmp_path_factory) -> dict[str, Path]:
    return write_ball_study(tmp_path_factory.mktemp("images"))


@pytest.fixture(scope="module")
def model(tmp_path_factory) -> Path:
    return write_threshold_model(tmp_path_factory.mktemp("models") / "threshold", spacing_mm=4.0)


@pytest.fixture(autouse=True)
def _threshold_network(monkeypatch):
    monkeypatch.setitem(networks.NETWORKS, *NETWORK)


@pytest.fixture
def arguments(images, model, tmp_path) -> list[str]:
    """A run that works, without the scene."""
    return [
        "run", "--pet", str(images["PET"]), "--pet-units", "suv", "--ct", str(images["CT"]), "--model", str(model),
        "--device", "cpu", "--no-scene", "--out", str(tmp_path / "out"),
    ]  # fmt: skip


def changed(arguments: list[str], **options: str | Path | None) -> list[str]:
    """The same arguments with other values; None removes an option."""
    result = list(arguments)
    for name, value in options.items():
        option = f"--{name.replace('_', '-')}"
        if option in result:
            at = result.index(option)
            del result[at : at + 2]
        if value is not None:
            result += [option, str(value)]
    return result


def assert_refused(capsys, arguments: list[str], *words: str, code: int = cli.EXIT_USER) -> None:
    """One line on standard error that holds the words, the exit code, and nothing left behind."""
    out = Path(arguments[arguments.index("--out") + 1])
    before = sorted(out.rglob("*")) if out.is_dir() else out.exists()
    capsys.readouterr()
    assert cli.main(arguments) == code
    error = capsys.readouterr().err
    assert error.startswith("hntumorseg: ")
    assert error.count("\n") == 1, error
    assert error.endswith("\n")
    for word in words:
        assert word.lower() in error.lower(), error
    assert "Traceback" not in error
    assert (sorted(out.rglob("*")) if out.is_dir() else out.exists()) == before
