#!/usr/bin/env python
"""Measure a model for its card: held-out synthetic patients, patients without tumour, real scans, calibration,
failure gallery. Logic: HNTumorSegLib.training.card_figures.

    python scripts/evaluate_default.py --model default --out DIR [--patients 100] [--anatomy FOLDER]
        [--sarcomas FOLDER] [--healthy DICOM_FOLDER]

Called again with the same folder it goes on where it stopped. DIR/figures.json holds the card's ``performance``.
"""

from __future__ import annotations

import argparse
import json
import shlex
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HNTumorSegLib.errors import HNTumorSegError
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.inference.device import keep_freed_memory
from HNTumorSegLib.phantom.family import FAMILIES, FIRST
from HNTumorSegLib.printout import console_for_output
from HNTumorSegLib.progress_bar import shown_progress
from HNTumorSegLib.training.card_figures import measure_for_card
from HNTumorSegLib.training.held_out import DEVELOPMENT_SEED, HeldOut
from HNTumorSegLib.training.held_out_workers import fill
from HNTumorSegLib.training.phantom_cases import EVALUATION_SEED
from HNTumorSegLib.training.real_scans import check_folders


def whole_number(text: str) -> int:
    value = int(text)
    if value < 0:
        raise ValueError(text)
    return value


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default", help="name or folder")
    parser.add_argument("--out", type=Path, required=True, help="folder for everything")
    parser.add_argument("--patients", type=whole_number, default=100, help="synthetic patients with tumours")
    parser.add_argument("--negatives", type=whole_number, default=20, help="without, for each of two fields of view")
    parser.add_argument("--family", choices=[FIRST, *FAMILIES], default="held_out")
    parser.add_argument("--anatomy", type=Path, help="folder of organ label sets")
    parser.add_argument("--sarcomas", type=Path, help="see scripts/check_real_scans.py")
    parser.add_argument("--healthy", type=Path, help="see scripts/check_real_scans.py")
    parser.add_argument("--device", default="auto")
    parser.add_argument("--workers", type=whole_number, default=1, help="processes")
    parser.add_argument("--economy", action="store_true", help="coarser, faster patients")
    parser.add_argument(
        "--development",
        action="store_true",
        help="other patients, to choose a model or a rule by; figures to report come from those without it",
    )
    options = parser.parse_args(argv)
    if options.patients == 0:
        parser.error("at least one patient is needed")
    keep_freed_memory()
    first_seed = DEVELOPMENT_SEED if options.development else EVALUATION_SEED
    plan = HeldOut(options.patients, options.negatives, options.family, options.anatomy, options.economy, first_seed)
    command = shlex.join(["python", "scripts/evaluate_default.py", *(sys.argv[1:] if argv is None else argv)])
    try:
        check_folders(options.sarcomas, options.healthy)
        with shown_progress(console_for_output()) as progress:
            if options.workers > 1:
                fill(
                    {options.out: options.model},
                    plan,
                    workers=options.workers,
                    device=options.device,
                    progress=progress,
                )
            performance = measure_for_card(
                Delineator(options.model, options.device),
                plan,
                options.out,
                sarcomas=options.sarcomas,
                healthy=options.healthy,
                command=command,
                progress=progress,
            )
    except HNTumorSegError as error:
        print(f"evaluate_default: {error}", file=sys.stderr)
        return 2
    print(json.dumps(performance, indent=2))
    print(f"Results in {options.out}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
