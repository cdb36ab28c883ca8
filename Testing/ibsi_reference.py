"""Radiomics of the IBSI-1 digital phantom beside the reference values; also writes the table kept as evidence.

    python Testing/ibsi_reference.py Resources/Evidence/ibsi.md

Reference: Zwanenburg et al., Radiology 2020;295:328 (values and tolerances in ``../shared/data/ibsi``). Values have
three significant digits, so half a unit of the third one is allowed on top of the tolerance.
"""

from __future__ import annotations

import copy
import csv
import math
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from HNTumorSegLib.geometry import Geometry
from HNTumorSegLib.lesions.lesion import Lesion
from HNTumorSegLib.lesions.lesion_set import LesionSet
from HNTumorSegLib.measures.radiomics import radiomics_table
from HNTumorSegLib.measures.radiomics_settings import RadiomicsSettings

IBSI_FOLDER = Path(__file__).resolve().parents[2] / "shared" / "data" / "ibsi"
COMMAND = "python Testing/ibsi_reference.py Resources/Evidence/ibsi.md"

SHAPE = {
    "MeshVolume": "morph_volume",
    "VoxelVolume": "morph_vol_approx",
    "SurfaceArea": "morph_area_mesh",
    "SurfaceVolumeRatio": "morph_av",
    "Sphericity": "morph_sphericity",
    "Maximum3DDiameter": "morph_diam",
    "Elongation": "morph_pca_elongation",
    "Flatness": "morph_pca_flatness",
}
FIRST_ORDER = {
    "Energy": "stat_energy",
    "Entropy": "ih_entropy",
    "Minimum": "stat_min",
    "10Percentile": "stat_p10",
    "90Percentile": "stat_p90",
    "Maximum": "stat_max",
    "Mean": "stat_mean",
    "Median": "stat_median",
    "InterquartileRange": "stat_iqr",
    "Range": "stat_range",
    "MeanAbsoluteDeviation": "stat_mad",
    "RobustMeanAbsoluteDeviation": "stat_rmad",
    "RootMeanSquared": "stat_rms",
    "Skewness": "stat_skew",
    "Variance": "stat_var",
    "Uniformity": "ih_uniformity",
}
GLCM = {
    "Autocorrelation": "auto_corr",
    "JointAverage": "joint_avg",
    "ClusterProminence": "clust_prom",
    "ClusterShade": "clust_shade",
    "ClusterTendency": "clust_tend",
    "Contrast": "contrast",
    "Correlation": "corr",
    "DifferenceAverage": "diff_avg",
    "DifferenceEntropy": "diff_entr",
    "DifferenceVariance": "diff_var",
    "JointEnergy": "energy",
    "JointEntropy": "joint_entr",
    "Imc1": "info_corr1",
    "Imc2": "info_corr2",
    "Idm": "inv_diff_mom",
    "Idmn": "inv_diff_mom_norm",
    "Id": "inv_diff",
    "Idn": "inv_diff_norm",
    "InverseVariance": "inv_var",
    "MaximumProbability": "joint_max",
    "SumAverage": "sum_avg",
    "SumEntropy": "sum_entr",
    "SumSquares": "joint_var",
}
_GREY = {
    "GrayLevelNonUniformity": "glnu",
    "GrayLevelNonUniformityNormalized": "glnu_norm",
    "GrayLevelVariance": "gl_var",
}
GLRLM = {
    "ShortRunEmphasis": "sre",
    "LongRunEmphasis": "lre",
    **_GREY,
    "RunLengthNonUniformity": "rlnu",
    "RunLengthNonUniformityNormalized": "rlnu_norm",
    "RunPercentage": "r_perc",
    "RunVariance": "rl_var",
    "RunEntropy": "rl_entr",
    "LowGrayLevelRunEmphasis": "lgre",
    "HighGrayLevelRunEmphasis": "hgre",
    "ShortRunLowGrayLevelEmphasis": "srlge",
    "ShortRunHighGrayLevelEmphasis": "srhge",
    "LongRunLowGrayLevelEmphasis": "lrlge",
    "LongRunHighGrayLevelEmphasis": "lrhge",
}
GLSZM = {
    "SmallAreaEmphasis": "sze",
    "LargeAreaEmphasis": "lze",
    **_GREY,
    "SizeZoneNonUniformity": "zsnu",
    "SizeZoneNonUniformityNormalized": "zsnu_norm",
    "ZonePercentage": "z_perc",
    "ZoneVariance": "zs_var",
    "ZoneEntropy": "zs_entr",
    "LowGrayLevelZoneEmphasis": "lgze",
    "HighGrayLevelZoneEmphasis": "hgze",
    "SmallAreaLowGrayLevelEmphasis": "szlge",
    "SmallAreaHighGrayLevelEmphasis": "szhge",
    "LargeAreaLowGrayLevelEmphasis": "lzlge",
    "LargeAreaHighGrayLevelEmphasis": "lzhge",
}
GLDM = {
    "SmallDependenceEmphasis": "lde",
    "LargeDependenceEmphasis": "hde",
    "GrayLevelNonUniformity": "glnu",
    "GrayLevelVariance": "gl_var",
    "DependenceNonUniformity": "dcnu",
    "DependenceNonUniformityNormalized": "dcnu_norm",
    "DependenceVariance": "dc_var",
    "DependenceEntropy": "dc_entr",
    "LowGrayLevelEmphasis": "lgce",
    "HighGrayLevelEmphasis": "hgce",
    "SmallDependenceLowGrayLevelEmphasis": "ldlge",
    "SmallDependenceHighGrayLevelEmphasis": "ldhge",
    "LargeDependenceLowGrayLevelEmphasis": "hdlge",
    "LargeDependenceHighGrayLevelEmphasis": "hdhge",
}
NGTDM = {name: name.lower() for name in ("Coarseness", "Contrast", "Busyness", "Complexity", "Strength")}
TAGS = {
    **{f"shape_{k}": v for k, v in SHAPE.items()},
    **{f"firstorder_{k}": v for k, v in FIRST_ORDER.items()},
    **{f"glcm_{k}": f"cm_{v}_3D_avg" for k, v in GLCM.items()},
    **{f"glrlm_{k}": f"rlm_{v}_3D_avg" for k, v in GLRLM.items()},
    **{f"glszm_{k}": f"szm_{v}_3D" for k, v in GLSZM.items()},
    **{f"gldm_{k}": f"ngl_{v}_3D" for k, v in GLDM.items()},
    **{f"ngtdm_{k}": f"ngt_{v}_3D" for k, v in NGTDM.items()},
}
"""pyradiomics feature to the tag of IBSI's reference value, where both define the same thing."""

_COVARIANCE = "covariance of the N voxel centres over N, in IBSI's values over N - 1"
DEFINED_OTHERWISE = {
    "firstorder_Kurtosis": ("stat_kurt", "IBSI subtracts 3 (excess kurtosis)"),
    "shape_MajorAxisLength": ("morph_pca_maj_axis", _COVARIANCE),
    "shape_MinorAxisLength": ("morph_pca_min_axis", _COVARIANCE),
    "shape_LeastAxisLength": (
        "morph_pca_least_axis",
        _COVARIANCE,
    ),
}
"""Features that pyradiomics defines otherwise: IBSI's tag, and how."""

NOT_IBSI = {
    "firstorder_TotalEnergy": "Energy times the voxel volume in mm3; not in IBSI.",
    "glcm_MCC": "Maximal correlation coefficient (Haralick 1973); not in IBSI-1.",
    "shape_Maximum2DDiameterSlice": "Largest diameter in a plane; IBSI has the 3-D one only.",
    "shape_Maximum2DDiameterColumn": "Largest diameter in a plane; IBSI has the 3-D one only.",
    "shape_Maximum2DDiameterRow": "Largest diameter in a plane; IBSI has the 3-D one only.",
}
"""Features that IBSI-1 does not define."""


@dataclass(frozen=True)
class Comparison:
    """One feature beside its reference."""

    feature: str
    tag: str
    value: float
    reference: float
    allowed: float

    @property
    def agrees(self) -> bool:
        return abs(self.value - self.reference) <= self.allowed


def references() -> dict[str, tuple[float, float]]:
    """Value and tolerance by tag."""
    with (IBSI_FOLDER / "ibsi_1_dig_phantom.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file, delimiter=";"))
    return {r["tag"]: (float(r["reference value"]), float(r["tolerance"])) for r in rows if r["reference value"]}


def allowed_difference(reference: float, tolerance: float) -> float:
    """The tolerance and half a unit of the third significant digit."""
    return tolerance + (0.5 * 10.0 ** (math.floor(math.log10(abs(reference))) - 2) if reference else 0.0)


def phantom_features() -> dict[str, float | None]:
    """The phantom's features through this library: grey levels 1 to 6 as they are, no resampling."""
    folder = IBSI_FOLDER / "digital_phantom"
    image = sitk.ReadImage(str(folder / "image" / "phantom.nii.gz"))
    mask = sitk.ReadImage(str(folder / "mask" / "mask.nii.gz"))
    parameters = copy.deepcopy(RadiomicsSettings.default().images["ct"])
    parameters["setting"]["binWidth"] = 1.0
    del parameters["setting"]["resampledPixelSpacing"]
    lesion_set = LesionSet(
        Geometry.from_image(mask),
        (sitk.GetArrayFromImage(mask) > 0).astype(np.uint16),
        [Lesion(1, "primary", "phantom")],
    )
    row = radiomics_table(lesion_set, {"ct": image}, RadiomicsSettings({"ct": parameters}, "phantom"))[0]
    assert row.note == ""
    return {name.removeprefix("original_"): value for name, value in row.features.items()}


def compare(features: dict[str, float | None]) -> list[Comparison]:
    """Every feature with a reference value."""
    known = references()
    rows = []
    for feature, tag in TAGS.items():
        reference, tolerance = known[tag]
        rows.append(Comparison(feature, tag, features[feature], reference, allowed_difference(reference, tolerance)))
    return rows


def compare_converted(features: dict[str, float | None]) -> list[Comparison]:
    """The features that pyradiomics defines otherwise, converted to IBSI's definition."""
    voxels = features["shape_VoxelVolume"] / 8.0  # 2 mm voxels
    axes = math.sqrt(voxels / (voxels - 1))
    rows = []
    for feature, (tag, _) in DEFINED_OTHERWISE.items():
        reference, tolerance = references()[tag]
        value = features[feature] - 3 if feature.endswith("Kurtosis") else features[feature] * axes
        rows.append(Comparison(feature, tag, value, reference, allowed_difference(reference, tolerance)))
    return rows


def evidence(features: dict[str, float | None]) -> str:
    """The table as Markdown."""
    import radiomics

    rows = compare(features)
    agree = sum(row.agrees for row in rows)
    return "\n".join(
        [
            "# IBSI-1 digital phantom",
            "",
            f"pyradiomics {radiomics.__version__} through `HNTumorSegLib.measures.radiomics`: grey levels as they are",
            "(bins of width 1), no resampling, texture aggregated as IBSI has it under '3D, average'. Reference:",
            "Zwanenburg et al., Radiology 2020;295:328. Its values have three significant digits, so half a unit of",
            "the third one is allowed on top of their tolerance.",
            "",
            f"Made by `{COMMAND}`, compared again by `Testing/test_radiomics_ibsi.py`.",
            "",
            f"**{agree} of the {len(rows)} features that pyradiomics defines the IBSI way agree.**",
            "",
            *_table(rows),
            "",
            "Defined otherwise by pyradiomics; here converted to IBSI's definition:",
            "",
            *_table(compare_converted(features)),
            "",
            *(f"- `{name}`: {how}." for name, (_, how) in DEFINED_OTHERWISE.items()),
            "",
            "Not in IBSI-1:",
            "",
            *(f"- `{name}`: {reason}" for name, reason in NOT_IBSI.items()),
            "",
        ]
    )


def _table(rows: list[Comparison]) -> list[str]:
    return [
        "| pyradiomics feature | IBSI tag | value | reference | allowed | agrees |",
        "|---|---|---:|---:|---:|---|",
        *(
            f"| {r.feature} | {r.tag} | {r.value:.6g} | {r.reference:g} | {r.allowed:.3g} | "
            f"{'yes' if r.agrees else '**no**'} |"
            for r in rows
        ),
    ]


if __name__ == "__main__":
    target = Path(sys.argv[1])
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(evidence(phantom_features()), encoding="utf-8")
    print(target)
