"""Models of others: the same labels as from their own programs, and nothing unsafe, unknown or half installed."""

from __future__ import annotations

import json
import os
import pickle
import shutil
import stat
import warnings
import zipfile

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from tiny_training import TINY
from training_folders import nnunet_raw, small_patient

from HNTumorSegLib.cli import main
from HNTumorSegLib.errors import ModelError
from HNTumorSegLib.inference.delineator import Delineator
from HNTumorSegLib.models.card import ModelCard
from HNTumorSegLib.models.importing import ImportOptions, import_model
from HNTumorSegLib.models.loading import load_networks, write_model
from HNTumorSegLib.models.safe_pickle import load_checkpoint_safely
from HNTumorSegLib.networks import build_network
from HNTumorSegLib.training.layouts import find_cases

WORDS = dict.fromkeys(("version", "intended_use", "limitations", "training_data", "licence"), "none")


@pytest.fixture
def home(tmp_path, monkeypatch):
    folder = tmp_path / "home"
    monkeypatch.setenv("HNTUMORSEG_MODELS", str(folder))
    yield folder
    if folder.exists():
        assert not [p.name for p in folder.iterdir() if p.name.startswith(".")], "something was left behind"


@pytest.fixture
def own(tmp_path):
    torch.manual_seed(0)
    network = build_network(TINY.network, 2, 3, **TINY.network_options)
    write_model(tmp_path / "own", TINY, [network], name="mine", **WORDS)
    return tmp_path / "own"


def test_an_own_model_travels_as_a_zip_file(own, home, tmp_path, capsys):
    assert main(["models", "export", str(own), "--out", str(tmp_path / "mine.zip")]) == 0
    assert main(["models", "import", str(tmp_path / "mine.zip"), "--name", "theirs"]) == 0
    for a, b in zip(load_networks(own), load_networks(home / "theirs"), strict=True):
        assert all(torch.equal(x, y) for x, y in zip(a.state_dict().values(), b.state_dict().values(), strict=True))
    assert main(["models", "import", str(own), "--name", "theirs"]) == 2
    assert "a model 'theirs'" in capsys.readouterr().err
    assert main(["models", "import", str(own), "--name", "theirs", "--replace"]) == 0
    assert main(["models", "import", str(own), "--name", "default"]) == 2
    assert "came with the package" in capsys.readouterr().err
    assert main(["models", "export", str(own), "--out", str(tmp_path / "mine.zip")]) == 2


def test_unknown_files_and_changed_weights_are_refused(own, home):
    (own / "run.py").write_text("print('hello')")
    with pytest.raises(ModelError, match=r"'run\.py', which its card does not name"):
        import_model(own)
    (own / "run.py").unlink()
    (own / "README.md").write_text("hello")
    weights = own / "weights_0.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"1234")
    with pytest.raises(ModelError, match="was changed or cut short"):
        import_model(own)
    assert not list(home.iterdir())


def zip_with(path, name, content=b"x", mode=0o644, info=None):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        entry = zipfile.ZipInfo(name)
        entry.external_attr = mode << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, content)
    return path


@pytest.mark.parametrize(
    ("name", "content", "mode", "message"),
    [
        ("../evil.json", b"x", 0o644, "leads out of it"),
        ("/etc/evil", b"x", 0o644, "leads out of it"),
        ("model/../../evil", b"x", 0o644, "leads out of it"),
        ("C:evil", b"x", 0o644, "leads out of it"),
        ("model/link", b"/etc/passwd", stat.S_IFLNK | 0o777, "holds a link"),
        ("model/weights", bytes(8 * 2**20), 0o644, "would grow to"),
        ("readme.txt", b"x", 0o644, "holds no model that is known"),
    ],
)
def test_dangerous_zip_files_are_refused(home, tmp_path, name, content, mode, message):
    before = sorted(p.name for p in tmp_path.iterdir())
    path = zip_with(tmp_path / "model.zip", name, content, mode)
    with pytest.raises(ModelError, match=message):
        import_model(path)
    assert sorted(p.name for p in tmp_path.iterdir() if p != home) == sorted({*before, "model.zip"})


def test_a_file_that_is_no_zip_and_one_that_is_not_there_are_refused(home, tmp_path):
    (tmp_path / "model.zip").write_bytes(b"PK\x03\x04 nothing")
    with pytest.raises(ModelError, match="neither a folder nor a zip"):
        import_model(tmp_path / "model.zip")
    with pytest.raises(ModelError, match="does not exist"):
        import_model(tmp_path / "gone")


class Evil:
    def __reduce__(self):
        return (os.mkdir, (Evil.path,))


def test_a_pickle_that_would_run_something_is_refused(tmp_path):
    Evil.path = str(tmp_path / "hacked")
    torch.save({"network_weights": {"a": torch.zeros(1)}, "logging": Evil()}, tmp_path / "a.pth")
    (tmp_path / "b.pth").write_bytes(pickle.dumps(Evil()))
    for name in ("a.pth", "b.pth"):
        with pytest.raises(ModelError, match="Nothing in the file was run"):
            load_checkpoint_safely(tmp_path / name)
    assert not (tmp_path / "hacked").exists()


def test_numpy_scalars_are_read(tmp_path):
    history = {"ema": [np.float64(0.5), np.float32(0.25)], "epoch": np.int64(3), "weights": {"a": torch.ones(2)}}
    torch.save(history, tmp_path / "a.pth")
    assert load_checkpoint_safely(tmp_path / "a.pth")["ema"] == [0.5, 0.25]


BUNDLE_NETWORK = {
    "_target_": "UNet",
    "spatial_dims": 3,
    "in_channels": 2,
    "out_channels": 3,
    "channels": [4, 8],
    "strides": [2],
    "num_res_units": 1,
    "norm": "batch",
}


def write_bundle(folder, stacked=False):
    """A MONAI bundle whose answers hold all three classes; ``stacked``: CT and PET are channels of one image."""
    torch.manual_seed(3)
    from monai.networks.nets import UNet

    network = UNet(**{k: v for k, v in BUNDLE_NETWORK.items() if k != "_target_"})
    keys = ["ct", "pet"]
    config = {
        "imports": ["$import glob"],
        "device": "$torch.device('cpu')",
        "patch": [16, 16, 16],
        "network_def": BUNDLE_NETWORK,
        "network": "$@network_def.to(@device)",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "LoadImaged", "keys": keys},
                {"_target_": "EnsureChannelFirstd", "keys": keys},
                {"_target_": "Orientationd", "keys": keys, "axcodes": "RAS", "labels": None},
                {"_target_": "Spacingd", "keys": keys, "pixdim": [3.0, 3.0, 3.0], "mode": "bilinear"},
                {
                    "_target_": "ScaleIntensityRanged",
                    "keys": "ct",
                    "a_min": -150,
                    "a_max": 150,
                    "b_min": 0,
                    "b_max": 1,
                    "clip": True,
                },
                {"_target_": "NormalizeIntensityd", "keys": "pet"},
                {"_target_": "ConcatItemsd", "keys": keys, "name": "image"},
                {"_target_": "EnsureTyped", "keys": "image", "device": "@device"},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer", "roi_size": "@patch", "overlap": 0.5, "mode": "gaussian"},
        "postprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": "Activationsd", "keys": "pred", "softmax": True},
                {
                    "_target_": "Invertd",
                    "keys": "pred",
                    "transform": "@preprocessing",
                    "orig_keys": "ct",
                    "nearest_interp": False,
                    "to_tensor": True,
                },
                {"_target_": "AsDiscreted", "keys": "pred", "argmax": True},
            ],
        },
    }
    if stacked:
        steps = config["preprocessing"]["transforms"]
        config["preprocessing"]["transforms"] = [{**step, "keys": "image"} for step in (*steps[:4], steps[5], steps[7])]
        config["preprocessing"]["transforms"][4]["channel_wise"] = True
        config["postprocessing"]["transforms"][1]["orig_keys"] = "image"
    channels = {"inputs": {"image": {"channel_def": {"0": "CT", "1": "PET"}}}}
    channels["outputs"] = {"pred": {"channel_def": {"0": "background", "1": "primary tumor", "2": "lymph nodes"}}}
    (folder / "configs").mkdir(parents=True)
    (folder / "models").mkdir()
    (folder / "configs" / "inference.json").write_text(json.dumps(config))
    about = {"version": "0.1.0", "name": "HN tumour bundle", "license": "CC0", "network_data_format": channels}
    (folder / "configs" / "metadata.json").write_text(json.dumps(about))
    with torch.no_grad():
        network.train()
        for seed in range(4):  # statistics of batch norm, so that the outputs differ from voxel to voxel
            network(torch.randn(2, 2, 16, 16, 16, generator=torch.Generator().manual_seed(seed)))
    torch.save(network.state_dict(), folder / "models" / "model.pt")
    return folder


def monai_labels(bundle, ct, pet):
    """The bundle's answer by MONAI itself: its parser, its loader, its transforms."""
    from monai.bundle import ConfigParser

    parser = ConfigParser()
    parser.read_config(str(bundle / "configs" / "inference.json"))
    parser["imports"] = ["$import torch"]
    network = parser.get_parsed_content("network_def")
    network.load_state_dict(torch.load(bundle / "models" / "model.pt", weights_only=True))
    files = {"ct": str(ct), "pet": str(pet), "image": [str(ct), str(pet)]}
    data = parser.get_parsed_content("preprocessing")(files)
    with torch.no_grad():
        data["pred"] = parser.get_parsed_content("inferer")(data["image"][None], network.eval())[0]
    return np.asarray(parser.get_parsed_content("postprocessing")(data)["pred"][0]).transpose(2, 1, 0)


@pytest.mark.parametrize("stacked", [False, True])
def test_a_monai_bundle_gives_the_labels_of_monai(home, tmp_path, stacked):
    bundle = write_bundle(tmp_path / "bundle", stacked)
    folder = nnunet_raw(tmp_path / "data", {"A-1": small_patient(0)})
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MONAI's loader tries readers that are not installed
        images = (folder / "imagesTr" / f"A-1_000{channel}.nii.gz" for channel in range(2))
        expected = monai_labels(bundle, *images)
    model = import_model(bundle)
    assert model == home / "HN_tumour_bundle"
    delineation = Delineator(model, "cpu").delineate(find_cases(folder)[0].study())
    found = sitk.GetArrayFromImage(delineation.labels)
    assert set(np.unique(expected)) == {0, 1, 2}
    assert np.array_equal(found, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["network_def"].update(_target_="os.system"), "'os.system', which is not MONAI's"),
        (lambda c: c["network_def"].update(channels="$__import__('os').getcwd()"), "which is not run"),
        (lambda c: c["network_def"].update(_target_="ResNet"), "network 'ResNet' is not known"),
        (lambda c: c["preprocessing"]["transforms"].append({"_target_": "Lambdad", "func": "x"}), "'Lambdad'"),
        (lambda c: c["inferer"].update(_target_="SimpleInferer"), "inferer 'SimpleInferer'"),
        (lambda c: c["postprocessing"]["transforms"].pop(1), "must hold softmax, Invertd and argmax"),
        (lambda c: c.update(patch="@patch"), "refers to itself"),
    ],
)
def test_bundles_that_would_run_code_or_are_unknown_are_refused(home, tmp_path, change, message):
    bundle = write_bundle(tmp_path / "bundle")
    path = bundle / "configs" / "inference.json"
    config = json.loads(path.read_text())
    change(config)
    path.write_text(json.dumps(config))
    with pytest.raises(ModelError, match=message):
        import_model(bundle)
    assert not list(home.iterdir())


def test_outputs_without_telling_names_are_named_by_the_user(home, tmp_path):
    bundle = write_bundle(tmp_path / "bundle")
    path = bundle / "configs" / "metadata.json"
    about = json.loads(path.read_text())
    about["network_data_format"]["outputs"]["pred"]["channel_def"] = {"0": "background", "1": "red", "2": "blue"}
    path.write_text(json.dumps(about))
    with pytest.raises(ModelError, match=r"'red'.*--classes"):
        import_model(bundle)
    model = import_model(bundle, ImportOptions(classes=("background", "node", "primary")))
    assert ModelCard.load(model).classes == ("background", "lymph-node metastasis", "primary tumour")
    shutil.rmtree(bundle / "models")
    with pytest.raises(ModelError, match="has none of"):
        import_model(bundle, ImportOptions(name="other", classes=("background", "node", "primary")))
