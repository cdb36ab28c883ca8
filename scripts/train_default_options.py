"""The options of scripts/train_default.py, and which patients they name."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from HNTumorSegLib.models.registry import DEFAULT_MODEL, FAST_MODEL, bundled_folder
from HNTumorSegLib.phantom.family import CROSSED, FIRST, NODAL, VARIED
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED

TRAINED_ON = (FIRST, VARIED.name, NODAL.name, CROSSED.name)
PATIENTS = ("first:600", "varied:1600", "nodal:600", "crossed:1000")
"""What a training from nothing takes; new patients are added at the end, as those before keep their seeds."""


def patients(options: argparse.Namespace) -> list[tuple[str, range]]:
    """The families and their seeds, which go on from one family to the next unless one says where it begins."""
    found, next_seed = [], 0
    for family, count, first in options.patients:
        begin = next_seed if first is None else first
        next_seed = begin + count
        found.append((family, range(begin, next_seed)))
    return found


def family_and_count(text: str) -> tuple[str, int, int | None]:
    """``varied:800`` or ``varied:800@20000`` as a family, how many patients of it, and the first one's seed."""
    family, _, rest = text.partition(":")
    count, at, first = rest.partition("@")
    if family not in TRAINED_ON or not count.isdecimal() or not int(count) or (at and not first.isdecimal()):
        raise argparse.ArgumentTypeError(
            f"'{text}' is not FAMILY:COUNT or FAMILY:COUNT@SEED with one of {', '.join(TRAINED_ON)}"
        )
    if int(first or 0) + int(count) > EVALUATION_SEED:
        raise argparse.ArgumentTypeError(f"'{text}' has seeds from {EVALUATION_SEED} on, which are never trained on")
    return family, int(count), int(first) if at else None


def share(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f"'{text}' is not a share from 0 to 1")
    return value


def parse_options(argv: list[str] | None, description: str) -> argparse.Namespace:
    """The command line, ``sys.argv`` where ``argv`` is None; ends the process with a sentence where it is wrong."""
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--work", type=Path, required=True, help="folder for cases and checkpoints (about 40 GB)")
    parser.add_argument("--out", type=Path, default=bundled_folder() / DEFAULT_MODEL, help="folder of the ensemble")
    parser.add_argument(
        "--fast-out", type=Path, default=bundled_folder() / FAST_MODEL, help="folder of the one network"
    )
    parser.add_argument("--recipe", default="subpixel")
    parser.add_argument("--members", type=int, default=2, help="networks of the ensemble")
    parser.add_argument(
        "--patients",
        type=family_and_count,
        nargs="+",
        default=[family_and_count(text) for text in PATIENTS],
        metavar="FAMILY:COUNT[@SEED]",
        help="phantom patients to train on, seeds from 0 or SEED in this order (default: " + " ".join(PATIENTS) + ")",
    )
    parser.add_argument(
        "--anatomy", type=Path, default=None, help="folder of organ label sets, for all families but the first"
    )
    parser.add_argument(
        "--fine-share",
        type=share,
        default=0.0,
        help="share of these patients, but for the first family's, made as finely as those of the measurement (in a "
        "--work of its own: patients that are there are left alone)",
    )
    parser.add_argument("--steps", type=int, default=None, help="of the first network")
    parser.add_argument("--learning-rate", type=float, default=None)
    parser.add_argument("--member-steps", type=int, default=5000, help="of each member, going on from it")
    parser.add_argument("--member-learning-rate", type=float, default=8e-4)
    parser.add_argument(
        "--member-patch",
        type=int,
        nargs=3,
        metavar=("Z", "Y", "X"),
        help="voxels of the members' training patches, if not the recipe's",
    )
    parser.add_argument(
        "--average-with-start",
        action="store_true",
        help="each member is the mean of its weights and those it went on from (Wortsman et al., CVPR 2022): for a "
        "short training that helps in one respect and costs in another",
    )
    parser.add_argument("--start-from", type=Path, default=None, help="model folder in the first network's place")
    parser.add_argument(
        "--with-networks-of", type=Path, help="model folder whose networks join the members as they are"
    )
    parser.add_argument("--evaluate", type=int, default=20, help="held-out patients of the first family")
    parser.add_argument("--evaluate-held-out", type=int, default=100, help="patients of the family 'held_out'")
    parser.add_argument("--negatives", type=int, default=20, help="patients without tumour, for each field of view")
    parser.add_argument("--sarcomas", type=Path, help="see scripts/check_real_scans.py")
    parser.add_argument("--healthy", type=Path, help="see scripts/check_real_scans.py")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=2, help="processes that make and delineate phantoms")
    return parser.parse_args(argv)
