#!/usr/bin/env python
"""Print what a model does on real scans that have no head-and-neck tumour: see HNTumorSegLib.training.real_scans.

python scripts/check_real_scans.py [--model NAME_OR_FOLDER] [--sarcomas FOLDER] [--healthy DICOM_FOLDER]
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from benchmarks.common import print_table
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.training.real_scans import look_at_real_scans, table_rows


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", default="default")
    parser.add_argument("--sarcomas", type=Path)
    parser.add_argument("--healthy", type=Path)
    options = parser.parse_args()
    scans = look_at_real_scans(Delineator(options.model, "cpu"), options.sarcomas, options.healthy)
    header, *rows = table_rows(scans)
    print_table("sarcomas (limbs)", header, rows)
    for volume_ml, suv_max in scans.healthy_lesions:
        print(f"false lesion in the healthy head and neck: {volume_ml:.2f} ml, SUVmax {suv_max:.1f}")
    print(scans.summary())
    return 0


if __name__ == "__main__":
    sys.exit(main())
