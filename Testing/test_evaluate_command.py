"""``hntumorseg evaluate`` on files: pairing, formats, tables, page, and every kind of bad input."""

from __future__ import annotations

import csv
import html
import re
import shutil
import weakref
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage

from HNTumorSegLib.cli import main
from HNTumorSegLib.evaluation.case import EvaluationCase
from HNTumorSegLib.evaluation.cohort import evaluate_cases
from HNTumorSegLib.exchange.label_pairs import pair_folders
from HNTumorSegLib.exchange.seg_nrrd import write_seg_nrrd
from HNTumorSegLib.geometry import Geometry, image_from_array
from HNTumorSegLib.lesions.from_labels import lesions_from_labels

GRID = Geometry((24, 22, 20), (2.5, 2.5, 2.5), (-10.0, 5.0, 30.0), tuple(np.eye(3).ravel().tolist()))
TUMOUR_FILES = {
    *("table1_delineation.csv", "table2_classification.csv", "table3_detection.csv", "ttb_agreement.csv"),
    *("surface.csv", "aggregated_dsc.csv", "cases.csv", "problems.csv", "definitions.csv", "evaluation.html"),
    *(
        f"figure{n}.{suffix}"
        for n in ("1_dsc_histograms", "2_ttb_scatter", "3_bland_altman")
        for suffix in ("png", "svg")
    ),
}


def labels(shift=0, node=True):
    array = np.zeros(GRID.shape_zyx, np.uint8)
    array[4:12, 4 + shift : 12 + shift, 4:12] = 1
    if node:
        array[13:18, 13:18, 14:20] = 2
    return array


def image(array=None, geometry=GRID):
    return image_from_array(labels() if array is None else array, geometry)


@pytest.fixture
def folders(tmp_path):
    """Truth and delineations of three patients: a file each, in three formats."""
    for side, shift in (("truth", 0), ("predicted", 1)):
        folder = tmp_path / side
        folder.mkdir()
        sitk.WriteImage(image(labels(shift)), folder / "A.nii.gz")
        sitk.WriteImage(image(labels(shift, node=shift == 0)), folder / "B.nrrd")
        write_seg_nrrd(lesions_from_labels(image(labels(0))), folder / "C.seg.nrrd")
    return tmp_path


def run(folder, *options):
    return main(
        [
            "evaluate",
            "--truth",
            f"{folder}/truth",
            "--predicted",
            f"{folder}/predicted",
            "--out",
            f"{folder}/out",
            *options,
        ]
    )


def rows(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


class Links(HTMLParser):
    """Everything a page loads or points at."""

    def __init__(self, text):
        super().__init__()
        self.loaded, self.links = [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        if tag in {"script", "link", "iframe", "object"}:
            self.loaded.append(tag)
        if "src" in attributes:
            self.loaded.append(attributes["src"])
        if "href" in attributes:
            self.links.append(attributes["href"])


def test_tables_figures_and_page(folders, capsys):
    assert run(folders, "--title", "Ours & <theirs>") == 0
    out = folders / "out"
    assert {path.name for path in out.iterdir()} == TUMOUR_FILES
    primary, node, union = rows(out / "table1_delineation.csv")
    dsc = 7 / 8  # moved by one of eight voxels, in two of three patients
    assert float(primary["dsc_mean"]) == pytest.approx((2 * dsc + 1) / 3, abs=1e-6)
    assert (float(node["dsc_cohort"]), node["n_failed"]) == (pytest.approx(2 * 2 / (3 + 2)), "1")
    assert (union["n_defined"], union["n_undefined"]) == ("3", "0")
    assert [r["fn"] for r in rows(out / "table3_detection.csv")] == ["0", "1", "1"]
    assert rows(out / "table2_classification.csv")[0]["accuracy"] == "1"
    case_a = rows(out / "cases.csv")[0]
    assert float(case_a["ttb_true_ml"]) == pytest.approx((512 + 150) * 2.5**3 / 1000)
    assert float(case_a["hd_primary_mm"]) == pytest.approx(2.5)
    assert float(case_a["surface_dsc_primary"]) == 1  # at exactly the tolerance
    defined = {(r["table"], r["column"]) for r in rows(out / "definitions.csv")}
    with (out / "surface.csv").open() as file:
        columns = next(csv.reader(file))
    assert {("surface", name) for name in columns} <= defined
    assert "0.917" in capsys.readouterr().out

    page = (out / "evaluation.html").read_text(encoding="utf-8")
    assert "Ours &amp; &lt;theirs&gt;" in page
    found = Links(page)
    assert len(found.loaded) == 3
    assert all(source.startswith("data:image/png;base64,") for source in found.loaded)
    files = [out / unquote(link) for link in found.links if not link.startswith("#")]
    assert files
    assert all(path.is_file() for path in files)
    for table in ("table1_delineation", "table2_classification", "table3_detection", "surface"):
        for row in rows(out / "definitions.csv"):
            if row["table"] == table:
                assert row["definition"] in html.unescape(page)


def test_folders_of_patients_and_the_output_of_a_run(tmp_path):
    """A run leaves the same lesions twice; a case may be a file on one side and a folder on the other."""
    lesions = lesions_from_labels(image())
    for side in ("truth", "predicted"):
        (tmp_path / side / "P1").mkdir(parents=True)
        (tmp_path / side / "P2").mkdir()
    sitk.WriteImage(image(), tmp_path / "truth" / "P1" / "anything.nrrd")
    sitk.WriteImage(image(), tmp_path / "predicted" / "P1" / "labels.nii.gz")
    write_seg_nrrd(lesions, tmp_path / "predicted" / "P1" / "segmentation.seg.nrrd")
    write_seg_nrrd(lesions, tmp_path / "truth" / "P2" / "x.seg.nrrd")
    shutil.rmtree(tmp_path / "predicted" / "P2")
    sitk.WriteImage(image(labels(1)), tmp_path / "predicted" / "P2.mha")
    assert run(tmp_path, "--quiet") == 0
    assert [float(r["dsc_primary"]) for r in rows(tmp_path / "out" / "cases.csv")] == [1.0, 0.875]


def test_a_cropped_segmentation_is_put_back_and_one_with_another_name_is_known(folders):
    """Slicer stores the box around its segments; in a segmentation the voxels are segment numbers, not classes."""
    for name in ("A.nii.gz", "B.nrrd"):
        (folders / "truth" / name).unlink()
        (folders / "predicted" / name).unlink()
    whole = sitk.ReadImage(folders / "predicted" / "C.seg.nrrd")
    cropped = sitk.RegionOfInterest(whole, [18, 17, 16], [3, 3, 3])
    for key in whole.GetMetaDataKeys():
        if not key.startswith("ITK_"):
            cropped.SetMetaData(key, whole.GetMetaData(key))
    sitk.WriteImage(cropped, folders / "predicted" / "C.seg.nrrd")
    # All lesions of class 2: as plain numbers 1 and 2 they would be a primary tumour and a node.
    nodes = labels()
    nodes[nodes > 0] = 2
    write_seg_nrrd(lesions_from_labels(image(nodes)), folders / "truth" / "D.seg.nrrd")
    (folders / "truth" / "D.seg.nrrd").rename(folders / "truth" / "D.nrrd")
    sitk.WriteImage(image(nodes), folders / "predicted" / "D.nii.gz")
    assert run(folders, "--quiet") == 0
    c, d = rows(folders / "out" / "cases.csv")
    assert (c["dsc_primary"], c["dsc_node"]) == ("1", "1")
    assert float(c["ttb_true_ml"]) == pytest.approx(float(c["ttb_predicted_ml"]))
    assert (d["dsc_primary"], d["dsc_node"]) == ("", "1")


def break_case(kind, folder):
    """Spoil one patient; what must be said about it."""
    truth, predicted = folder / "truth", folder / "predicted"
    if kind == "other grid":
        moved = Geometry(GRID.size, GRID.spacing_mm, (-10.0, 5.0, 31.0), GRID.direction)
        sitk.WriteImage(image(geometry=moved), predicted / "A.nii.gz")
        return "A", "grids differ"
    if kind == "label 3":
        sitk.WriteImage(image(labels() * 3), predicted / "A.nii.gz")
        return "A", "value 3"
    if kind == "NaN in NRRD":
        array = labels().astype(np.float32)
        array[0, 0, 0] = np.nan
        sitk.WriteImage(image(array), truth / "B.nrrd")
        return "B", "NaN"
    if kind == "NaN in NIfTI":
        array = labels().astype(np.float32)
        array[0, 0, 0] = np.nan
        sitk.WriteImage(image(array), truth / "A.nii.gz")
        return "A", "NaN"
    if kind == "no delineation":
        (predicted / "A.nii.gz").unlink()
        return "A", "no prediction"
    if kind == "no truth":
        (truth / "A.nii.gz").unlink()
        return "A", "no truth"
    if kind == "double name":
        sitk.WriteImage(image(), predicted / "A.mha")
        return "A", "twice"
    if kind == "empty folder":
        (predicted / "A.nii.gz").unlink()
        (predicted / "A").mkdir()
        return "A", "holds no label file"
    if kind == "two label maps":
        (predicted / "A.nii.gz").unlink()
        (predicted / "A").mkdir()
        for name in ("one.nrrd", "two.nrrd"):
            sitk.WriteImage(image(), predicted / "A" / name)
        return "A", "2 label files"
    data = (predicted / "A.nii.gz").read_bytes()
    (predicted / "A.nii.gz").write_bytes(data[: len(data) // 2])
    return "A", "cut short"


BROKEN = ["other grid", "label 3", "NaN in NRRD", "NaN in NIfTI", "no delineation", "no truth", "double name"]
BROKEN += ["empty folder", "two label maps", "cut-off file"]


@pytest.mark.parametrize("kind", BROKEN)
def test_a_bad_case_is_named_and_the_rest_goes_on(folders, capsys, kind):
    name, words = break_case(kind, folders)
    assert run(folders, "--quiet") == 2
    said = capsys.readouterr().err
    assert re.search(rf"^hntumorseg: {name}: .*{words}", said, re.MULTILINE), said
    assert len(said.splitlines()) == 1
    listed = rows(folders / "out" / "problems.csv")
    assert [row["case"] for row in listed] == [name]
    assert words in listed[0]["problem"]
    page = (folders / "out" / "evaluation.html").read_text(encoding="utf-8")
    assert page.index("1 case or structure could not be compared") < page.index("Table 1") < page.rindex(words)
    kept = [row["case"] for row in rows(folders / "out" / "cases.csv")]
    assert kept == [case for case in ("A", "B", "C") if case != name]


@pytest.mark.parametrize(
    "kind", ["missing folder", "file", "empty", "same folder", "nothing in common", "bad tolerances"]
)
def test_nothing_to_compare_is_one_line_and_leaves_nothing(folders, capsys, kind):
    options = []
    if kind == "missing folder":
        shutil.rmtree(folders / "truth")
    elif kind == "file":
        shutil.rmtree(folders / "truth")
        (folders / "truth").write_text("x")
    elif kind == "empty":
        shutil.rmtree(folders / "truth")
        (folders / "truth").mkdir()
    elif kind == "same folder":
        shutil.rmtree(folders / "truth")
        (folders / "truth").symlink_to(folders / "predicted")
    elif kind == "nothing in common":
        for path in list((folders / "truth").iterdir()):
            path.rename(path.with_name(f"other_{path.name}"))
    else:
        (folders / "t.csv").write_text("primary,far")
        options = ["--tolerances", str(folders / "t.csv")]
    assert run(folders, "--quiet", *options) == 2
    said = capsys.readouterr().err.splitlines()
    assert len(said) == (7 if kind == "nothing in common" else 1)
    assert not (folders / "out").exists()


def test_tolerances_from_a_file_reach_the_tables_and_an_unused_one_is_said(folders, capsys):
    (folders / "t.csv").write_text("primary,1.0\nprimry,3\n")
    assert run(folders, "--tolerances", str(folders / "t.csv")) == 0
    primary, node, _ = rows(folders / "out" / "surface.csv")
    assert (primary["tolerance_mm"], node["tolerance_mm"]) == ("1", "2.5")
    assert float(primary["surface_dsc_mean"]) < 0.95
    assert "'primry' fits no structure" in capsys.readouterr().out


def test_images_are_let_go_one_after_another():
    """Memory stays flat: when a case is asked for, none of those before is still alive."""
    alive: list[weakref.ref] = []

    def cases():
        for number in range(6):
            assert not any(ref() for ref in alive)
            case = EvaluationCase(f"P{number}", image(), image(labels(number % 2)))
            alive.append(weakref.ref(case))
            yield case
            del case

    assert len(evaluate_cases(cases()).cases) == 6


def test_organs_in_folders(tmp_path, capsys):
    """One mask an organ; an organ that is on one side only is named, and so is one with a strange value."""
    for side, shift in (("truth", 0), ("predicted", 1)):
        for patient in ("P1", "P2"):
            folder = tmp_path / side / patient / "segmentations"
            folder.mkdir(parents=True)
            for organ in ("Brain", "Parotid-Lt"):
                array = (labels(shift) == 1).astype(np.uint8)
                sitk.WriteImage(image(array), folder / f"{organ}.nrrd")
    (tmp_path / "predicted" / "P2" / "segmentations" / "Brain.nrrd").unlink()
    sitk.WriteImage(image(labels()), tmp_path / "truth" / "P2" / "segmentations" / "Parotid-Lt.nrrd")
    assert run(tmp_path) == 2
    said = capsys.readouterr()
    assert re.search(r"P2 Brain: the structure is missing in the prediction", said.err)
    assert re.search(r"P2 Parotid-Lt: .*value 2; only 0 and 1", said.err)
    brain, parotid = rows(tmp_path / "out" / "structures.csv")
    assert (brain["tolerance_mm"], parotid["tolerance_mm"]) == ("1.01", "2.85")
    assert float(parotid["surface_dsc_mean"]) == 1
    assert float(brain["surface_dsc_mean"]) < 0.9
    assert (brain["n"], parotid["n"]) == ("1", "1")


def test_two_annotators_of_real_organs(shared_data, tmp_path):
    """HD95 and the voxel NSD from distance transforms of the whole image, DSC from plain counts."""
    organs = ("Cochlea-Lt", "Lens-Rt", "Submandibular-Lt")
    patient = "0522c0519"
    for side, annotator in (("truth", "oncologist"), ("predicted", "radiographer")):
        folder = tmp_path / side / patient
        folder.mkdir(parents=True)
        for organ in organs:
            source = shared_data / "oar_labels" / "validation" / annotator / patient / "segmentations" / f"{organ}.nrrd"
            (folder / source.name).symlink_to(source)
    assert run(tmp_path, "--quiet") == 0
    for row in rows(tmp_path / "out" / "structure_cases.csv"):
        masks, edges, distances = [], [], []
        for side in ("predicted", "truth"):
            read = sitk.ReadImage(tmp_path / side / patient / f"{row['structure']}.nrrd")
            masks.append(sitk.GetArrayFromImage(read) > 0)
        box = ndimage.find_objects((masks[0] | masks[1]).astype(int))[0]
        box = tuple(slice(s.start - 2, s.stop + 2) for s in box)
        masks = [mask[box] for mask in masks]
        for mask in masks:
            edges.append(mask & ~ndimage.binary_erosion(mask))
        for one, other in (edges, edges[::-1]):
            distances.append(ndimage.distance_transform_edt(~other, sampling=read.GetSpacing()[::-1])[one])
        dsc = 2 * np.count_nonzero(masks[0] & masks[1]) / sum(np.count_nonzero(mask) for mask in masks)
        assert float(row["dsc"]) == pytest.approx(dsc, rel=1e-5)
        assert float(row["hd95_mm"]) == pytest.approx(max(np.percentile(d, 95) for d in distances), rel=1e-5)
        assert float(row["hd_mm"]) == pytest.approx(max(d.max() for d in distances), rel=1e-5)
        assert float(row["asd_mm"]) == pytest.approx(np.concatenate(distances).mean(), rel=1e-5)
        within = np.concatenate(distances) <= float(row["tolerance_mm"]) + 1e-4
        assert float(row["nsd"]) == pytest.approx(within.mean(), rel=1e-5)


def test_the_layout_of_the_two_annotators_is_understood(shared_data):
    folder = shared_data / "oar_labels" / "validation"
    pairing = pair_folders(folder / "oncologist", folder / "radiographer")
    assert pairing.has_structures
    assert pairing.problems == ()
    assert len(pairing.pairs) == 7 * 21
