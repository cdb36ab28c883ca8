"""The measurements as a Slicer table."""

from __future__ import annotations

from typing import Any

from HNTumorSegLib.measures.table import COLUMNS, Measurements
from HNTumorSegLib.mrml import core_app

TEXT_COLUMNS = ("id", "name", "kind", "status")
UNITS = {
    "volume_ml": "ml",
    "suv_max": "g/ml",
    "suv_mean": "g/ml",
    "suv_peak": "g/ml",
    "tlg_g": "g",
    "x_mm": "mm",
    "y_mm": "mm",
    "z_mm": "mm",
}
TITLES = {
    "volume_ml": "Metabolic tumour volume",
    "suv_max": "Highest SUVbw",
    "suv_mean": "Mean SUVbw",
    "suv_peak": "Highest mean SUVbw in a sphere of 1 ml",
    "tlg_g": "Total lesion glycolysis",
    "x_mm": "Centre, towards the patient's left",
    "y_mm": "Centre, towards the patient's back",
    "z_mm": "Centre, towards the patient's head",
}


def measurements_to_table(measurements: Measurements, name: str, scene: Any = None) -> Any:
    """Put a table into the scene: the columns of ``lesions.csv``, lesions first, then the totals.

    Positions stay LPS millimetres, as in ``lesions.csv``. Numbers are doubles; NaN where there is none (an empty
    total has no SUV).

    Returns:
        A vtkMRMLTableNode, locked against accidental typing.
    """
    from vtkmodules.vtkCommonCore import vtkDoubleArray, vtkStringArray

    scene = core_app.current_scene() if scene is None else scene
    node = scene.AddNewNodeByClass("vtkMRMLTableNode", name)
    rows = [*measurements.rows, *measurements.totals]
    for column in COLUMNS:
        array = vtkStringArray() if column in TEXT_COLUMNS else vtkDoubleArray()
        array.SetName(column)
        for row in rows:
            value = getattr(row, column)
            if column in TEXT_COLUMNS:
                array.InsertNextValue(str(value))
            else:
                array.InsertNextValue(float("nan") if value is None else float(value))
        node.AddColumn(array)
        if column in UNITS:
            node.SetColumnUnitLabel(column, UNITS[column])
            # Slicer before 5.10 says "long name".
            set_title = getattr(node, "SetColumnTitle", None) or node.SetColumnLongName
            set_title(column, TITLES[column])
    node.SetLocked(True)
    return node
