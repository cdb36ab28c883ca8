#!/usr/bin/env python
"""Train and evaluate what a publication's table holds, and write the table beside the publication's figures.

    python scripts/reproduce.py --paper NAME --data DIR|phantom:N [--quick] [--test DIR] --out DIR

Called again with the same settings it goes on where it stopped. ``--quick`` trains narrow variants in half an hour on
two processor cores; on phantom patients they show the order of the rows.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from HNTumorSegLib.commands.arguments import prepare_process, seed_number
from HNTumorSegLib.errors import HNTumorSegError
from HNTumorSegLib.printout import console_for_output
from HNTumorSegLib.progress_bar import shown_progress
from HNTumorSegLib.training.reproduction import PAPERS, Reproduction, reproduce


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--paper", required=True, choices=list(PAPERS))
    parser.add_argument("--data", required=True, help="as for hntumorseg train; phantom:24 suits --quick")
    parser.add_argument("--out", type=Path, required=True, help="folder for data, trainings and the table")
    parser.add_argument("--quick", action="store_true", help="narrow networks, short trainings")
    parser.add_argument("--test", help="other data for ensembles (default: a fifth of --data, or other phantoms)")
    parser.add_argument("--steps", type=seed_number, help="length of each training, to try the command out")
    parser.add_argument("--seed", type=seed_number, default=0)
    parser.add_argument("--device", default="auto", help="auto, cpu or cuda")
    parser.add_argument("--quiet", action="store_true", help="print nothing but the table and errors")
    options = parser.parse_args(argv)
    quiet = options.quiet
    del options.quiet
    prepare_process()
    try:
        with shown_progress(console_for_output(), quiet) as progress:
            table = reproduce(Reproduction(**vars(options)), progress)
    except HNTumorSegError as error:
        print(error, file=sys.stderr)
        return 2
    print(table.markdown())
    return 0


if __name__ == "__main__":
    sys.exit(main())
