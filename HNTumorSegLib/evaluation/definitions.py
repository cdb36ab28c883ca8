"""What every figure means: the one place for headings, units, digits and definitions.

Tables, page and ``definitions.csv`` take their words from here.
"""

from __future__ import annotations

from dataclasses import dataclass

TEXT, COUNT, SHARE, PERCENT, ML, MM = "text", "count", "share", "percent", "ml", "mm"


@dataclass(frozen=True)
class Column:
    """One column of a table.

    Attributes:
        name: in the CSV file, with its unit.
        heading: on the page.
        kind: how the page writes it: text, count, share (0.885), percent (88.5 %), ml or mm. CSV files hold percentages
            as shares, too.
        definition: one or two sentences; empty where the heading says it all.
    """

    name: str
    heading: str
    kind: str
    definition: str = ""


_COLUMNS = (
    Column("case", "Case", TEXT, "Name of the patient's file or folder, the same on both sides."),
    Column(
        "target",
        "Target volume",
        TEXT,
        "Union: all tumour, whatever its class. A voxel of the wrong class counts in the union and not in its class.",
    ),
    Column("structure", "Structure", TEXT, "Name of the organ's file, the same on both sides."),
    Column("n", "N", COUNT, "Patients compared."),
    Column(
        "dsc",
        "DSC",
        SHARE,
        "Dice similarity coefficient 2|A∩B| / (|A|+|B|) of one patient. Both empty: not defined. One empty: 0.",
    ),
    Column(
        "dsc_cohort",
        "Cohort DSC",
        SHARE,
        "DSC of the union of all delineations across all patients: volumes in ml "
        "are added over the patients, then 2 common / (delineated + true).",
    ),
    Column("dsc_mean", "Mean DSC", SHARE, "Mean of the individual DSC over the patients in whom it is defined."),
    Column("dsc_median", "Median DSC", SHARE, "Median of the same."),
    Column(
        "dsc_q25",
        "DSC 25 %",
        SHARE,
        "Lower quartile of the same (linear interpolation); with the upper one the "
        'interval that holds the middle 50 % of the patients ("50% CI" in Nikulin 2023).',
    ),
    Column("dsc_q75", "DSC 75 %", SHARE, "Upper quartile of the same."),
    Column("n_failed", "N failed", COUNT, "Patients with DSC = 0: nothing in common, or exactly one side empty."),
    Column("n_defined", "N defined", COUNT, "Patients in whom the DSC is defined: not both sides empty."),
    Column(
        "n_undefined",
        "N undefined",
        COUNT,
        "Patients in whom both sides are empty; they have no part in mean, median, quartiles and failures.",
    ),
    Column(
        "dsc_aggregated",
        "DSC aggregated",
        SHARE,
        "HECKTOR challenge: 2 Σ|A∩B| / Σ(|A|+|B|) over all patients of a "
        "class, as volumes, which is the cohort DSC of that class; the last row is the mean of the two classes.",
    ),
    Column(
        "n_voxels",
        "Voxels",
        COUNT,
        "Voxels that are tumour in both delineations, of whatever class; only they count in this table.",
    ),
    Column(
        "t_pt",
        "T PT",
        PERCENT,
        "True primary tumour voxels delineated as primary tumour. The four numbers of the "
        "contingency table are divided by their sum, so that they add up to 1 (100 %).",
    ),
    Column("f_pt", "F PT", PERCENT, "True lymph-node voxels delineated as primary tumour."),
    Column("t_ln", "T LN", PERCENT, "True lymph-node voxels delineated as lymph node."),
    Column("f_ln", "F LN", PERCENT, "True primary tumour voxels delineated as lymph node."),
    Column("tpr_pt", "TPR PT", PERCENT, "T PT / (T PT + F LN)."),
    Column("tpr_ln", "TPR LN", PERCENT, "T LN / (T LN + F PT)."),
    Column("accuracy", "ACC", PERCENT, "(T PT + T LN) / (T PT + F PT + T LN + F LN)."),
    Column("n_without_error", "N without error", COUNT, "Patients without a single voxel of the wrong class."),
    Column(
        "tp_man",
        "TP man",
        COUNT,
        "True lesions at least 50 % covered by the delineation of the same class. A lesion "
        "is a connected structure of one class (voxels that share a face, an edge or a corner). The row for both is "
        "the sum of the two.",
    ),
    Column("tp_cnn", "TP cnn", COUNT, "Delineated lesions more than 50 % covered by the truth of the same class."),
    Column("fn", "FN", COUNT, "True lesions covered by less than 50 %: missed."),
    Column("fp", "FP", COUNT, "Delineated lesions covered by 50 % or less: not there."),
    Column("tpr_str", "TPR str", PERCENT, "TP man / (TP man + FN): share of the true lesions that were found."),
    Column("ppv_str", "PPV str", PERCENT, "TP cnn / (TP cnn + FP): share of the delineated lesions that are right."),
    Column(
        "tolerance_mm",
        "Tolerance, mm",
        MM,
        "Distance up to which two surfaces count as the same. Organs: Nikolov "
        "et al. 2018; others 2.5 mm; or as given by --tolerances.",
    ),
    Column(
        "surface_dsc",
        "Surface DSC",
        SHARE,
        "Share of the area of both surfaces that lies within the tolerance of "
        "the other, surfaces between the voxels by marching cubes (Nikolov et al. 2018; MONAI, sub-voxel). Both "
        "empty: not defined. One empty: 0.",
    ),
    Column(
        "surface_dsc_mean",
        "Surface DSC mean",
        SHARE,
        "Mean over the patients of the share of the area of both "
        "surfaces that lies within the tolerance of the other, surfaces between the voxels by marching cubes (Nikolov "
        "et al. 2018; MONAI, sub-voxel). Both empty: not defined, left out. One empty: 0.",
    ),
    Column("surface_dsc_median", "Surface DSC median", SHARE, "Median of the same."),
    Column("surface_dsc_q25", "Surface DSC 25 %", SHARE, "Lower quartile of the same."),
    Column("surface_dsc_q75", "Surface DSC 75 %", SHARE, "Upper quartile of the same."),
    Column(
        "nsd",
        "NSD",
        SHARE,
        "Normalised surface distance by count: share of the boundary voxels of both masks within "
        "the tolerance of the other's boundary voxels (MONAI, no sub-voxels). Differs from the surface DSC, which "
        "weighs by area, usually by some hundredths.",
    ),
    Column(
        "nsd_mean",
        "NSD mean",
        SHARE,
        "Mean over the patients of the share of the boundary voxels of both masks "
        "within the tolerance of the other's (MONAI, no sub-voxels): by count, where the surface DSC is by area.",
    ),
    Column(
        "hd_mm",
        "HD, mm",
        MM,
        "Hausdorff distance: the largest distance from a boundary voxel of one mask to the "
        "nearest of the other, either way. Exactly one side empty: not defined, and counted.",
    ),
    Column(
        "hd_median_mm",
        "HD median, mm",
        MM,
        "Median over the patients of the Hausdorff distance, the largest distance "
        "from a boundary voxel of one mask to the nearest of the other, either way.",
    ),
    Column(
        "hd95_mm",
        "HD95, mm",
        MM,
        "The larger of the two directed 95th percentiles of the distances from boundary "
        "voxels of one mask to the nearest of the other.",
    ),
    Column(
        "hd95_mean_mm",
        "HD95 mean, mm",
        MM,
        "Mean over the patients of the larger of the two directed 95th "
        "percentiles of the distances between boundary voxels.",
    ),
    Column(
        "hd95_median_mm",
        "HD95 median, mm",
        MM,
        "Median over the patients of the larger of the two directed 95th percentiles of the distances between boundary "
        "voxels.",
    ),
    Column(
        "asd_mm",
        "ASD, mm",
        MM,
        "Average symmetric surface distance: mean of the distances of all boundary voxels of "
        "both masks to the nearest of the other.",
    ),
    Column(
        "asd_mean_mm",
        "ASD mean, mm",
        MM,
        "Mean over the patients of the average symmetric surface distance: mean of "
        "the distances of all boundary voxels of both masks to the nearest of the other.",
    ),
    Column("asd_median_mm", "ASD median, mm", MM, "Median of the same."),
    Column(
        "n_without_distance",
        "N one empty",
        COUNT,
        "Patients in whom exactly one side is empty: surface DSC and NSD are 0, distances not defined.",
    ),
    Column("volume_true_ml", "True, ml", ML, "Volume of the reference."),
    Column("volume_predicted_ml", "Delineated, ml", ML, "Volume of the delineation."),
    Column("ttb_true_ml", "TTB true, ml", ML, "Total tumour burden of the reference: primary tumours and nodes."),
    Column("ttb_predicted_ml", "TTB delineated, ml", ML, "Total tumour burden of the delineation."),
    Column(
        "left_out_ml",
        "Left out, ml",
        ML,
        "Volume of the connected structures below the smallest lesion volume, "
        "which were left out: truth and delineation together.",
    ),
    Column("figure", "Figure", TEXT),
    Column("value", "Value", TEXT),
    Column("unit", "Unit", TEXT),
    Column("definition", "Definition", TEXT),
    Column("problem", "Problem", TEXT),
    Column("table", "Table", TEXT),
    Column("column", "Column", TEXT),
    Column("truth", "Truth", TEXT, "File of the reference."),
    Column("predicted", "Delineation", TEXT, "File of the delineation."),
)

_BY_NAME = {column.name: column for column in _COLUMNS}

BURDEN_HEADINGS = {
    "n": "Patients",
    "n_left_out": "Outliers left out",
    "r_squared": "R²",
    "mean_absolute_difference": "Mean absolute difference",
    "slope": "Slope of the line",
    "intercept": "Intercept of the line",
    "prediction_half_width": "Prediction interval, ±",
    "bias": "Mean difference",
    "bias_low": "95 % interval from",
    "bias_high": "95 % interval to",
    "lower_limit": "Limit of agreement, lower",
    "upper_limit": "Limit of agreement, upper",
    "icc": "ICC(2,1)",
    "icc_low": "95 % interval from",
    "icc_high": "95 % interval to",
}

BURDEN_DEFINITIONS = {
    "n": "Patients compared.",
    "n_left_out": "Patients with the largest absolute difference, 1 % of all (rounded; none of fewer than 50), "
    "without whom R², mean absolute difference, line and prediction interval are computed; Bland-Altman and ICC are of "
    "all patients.",
    "r_squared": "Squared correlation of delineated with true TTB without the outliers.",
    "mean_absolute_difference": "Mean of |delineated - true| without the outliers.",
    "slope": "Least-squares line of delineated on true TTB without the outliers.",
    "intercept": "Value of that line at a true TTB of 0.",
    "prediction_half_width": "Half the width of the 95 % prediction interval (band) at the mean true TTB: Student's t "
    "(n - 2) times s sqrt(1 + 1/n + (x - mean)²/Sxx); in it a further single patient is expected.",
    "bias": "Bland-Altman: mean of delineated minus true, all patients.",
    "bias_low": "Lower end of the 95 % confidence interval of that mean (Student's t).",
    "bias_high": "Upper end of the same.",
    "lower_limit": "Bland-Altman limit of agreement: mean - 1.96 standard deviations (n - 1) of the differences.",
    "upper_limit": "Bland-Altman limit of agreement: mean + 1.96 standard deviations.",
    "icc": "Intraclass correlation ICC(2,1) of Shrout and Fleiss 1979: two-way random effects, absolute agreement, "
    "single measurement, all patients.",
    "icc_low": "Lower end of its 95 % confidence interval (McGraw and Wong 1996).",
    "icc_high": "Upper end of the same.",
}


def column(name: str) -> Column:
    """The column of that name; numbered repeats such as ``dsc_primary`` are made by :func:`column_of`."""
    return _BY_NAME[name]


def column_of(name: str, target: str) -> Column:
    """A column for one target of several in a row: ``dsc`` and ``node`` give ``dsc_node``."""
    base = _BY_NAME[name]
    stem, unit = (name[: -len(base.kind) - 1], f"_{base.kind}") if name.endswith(f"_{base.kind}") else (name, "")
    return Column(f"{stem}_{target}{unit}", f"{base.heading}, {target}", base.kind, base.definition)
