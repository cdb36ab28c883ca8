"""Makes a tiny nnU-Net v2 result folder and its own labels for it; runs in an environment that has nnunetv2.

    python nnunet_maker.py DIR [--planner nnUNetPlannerResEncM]

DIR then holds ``raw`` (two cases, CT and PET), ``results`` (the model folder of a very short training, two folds) and
``nnunet_labels`` (what nnU-Net's predictor answers for the cases, mirroring off).
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

NAME = "Dataset901_Tiny"
SWITCH_AT = 1.0


def write_raw(raw: Path, spacing_mm: tuple[float, float, float]) -> None:
    """Two cases with a hot primary and a warm node; CT and PET on one grid."""
    import SimpleITK as sitk

    (raw / "imagesTr").mkdir(parents=True)
    (raw / "labelsTr").mkdir()
    for number in range(2):
        rng = np.random.default_rng(number)
        z, y, x = np.mgrid[:26, :44, :40]
        body = ((y - 22) / 20) ** 2 + ((x - 20) / 17) ** 2 < 1
        ct = np.where(body, 40 + rng.normal(0, 20, body.shape), 0.0)
        pet = np.where(body, 1 + 0.2 * rng.normal(0, 1, body.shape), 0.0)
        labels = np.zeros(body.shape, np.uint8)
        for label, center, radius, suv in ((1, (12 + number, 20, 18), 5, 12), (2, (18, 28 - number, 26), 3.5, 7)):
            ball = (z - center[0]) ** 2 + (y - center[1]) ** 2 + (x - center[2]) ** 2 < radius**2
            labels[ball], pet[ball] = label, suv + rng.normal(0, 0.5, int(ball.sum()))
        arrays = {"imagesTr/case{}_0000": ct, "imagesTr/case{}_0001": pet, "labelsTr/case{}": labels}
        for pattern, array in arrays.items():
            image = sitk.GetImageFromArray(array.astype(np.uint8 if array is labels else np.float32))
            image.SetSpacing(spacing_mm)
            image.SetOrigin((-40.0 + number, -30.0, 100.0))
            sitk.WriteImage(image, str(raw / f"{pattern.format(number)}.nii.gz"))
    about = {
        "channel_names": {"0": "CT", "1": "PET"},
        "labels": {"background": 0, "GTVp": 1, "GTVn": 2},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    (raw / "dataset.json").write_text(json.dumps(about))


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--planner", default="ExperimentPlanner")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--thick", action="store_true", help="slices four times as thick as pixels are wide")
    options = parser.parse_args()
    base = options.folder.resolve()
    for name in ("raw", "preprocessed", "results"):
        os.environ[f"nnUNet_{name}"] = str(base / name)
    os.environ.update(nnUNet_n_proc_DA="1", nnUNet_compile="0", nnUNet_def_n_proc="1", OMP_NUM_THREADS="1")
    write_raw(base / "raw" / NAME, (1.5, 1.5, 6.0) if options.thick else (2.0, 2.0, 3.0))
    target_mm = [5.0, 1.7, 1.7] if options.thick else [3.4, 2.3, 2.3]
    train_and_predict(base, options.planner, options.steps, target_mm)


def train_and_predict(base: Path, planner: str, steps: int, target_mm: list[float]) -> None:
    import torch
    from nnunetv2.experiment_planning.plan_and_preprocess_api import extract_fingerprints, plan_experiments, preprocess
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer

    torch.set_num_threads(1)
    extract_fingerprints([901], num_processes=1, verbose=False)
    plans_name = plan_experiments([901], experiment_planner_class_name=planner)
    plans_file = base / "preprocessed" / NAME / f"{plans_name}.json"
    plans = json.loads(plans_file.read_text())
    plan = plans["configurations"]["3d_fullres"]
    plan.update(patch_size=[16, 32, 32], batch_size=2, spacing=target_mm)
    network = plan["architecture"]["arch_kwargs"]
    kept = 3  # stages: enough of the architecture, little to compute
    network["n_stages"] = kept
    network["features_per_stage"] = [8, 16, 24]
    for key in ("kernel_sizes", "strides", "n_conv_per_stage", "n_blocks_per_stage"):
        if key in network:
            network[key] = network[key][:kept]
    network["n_conv_per_stage_decoder"] = network["n_conv_per_stage_decoder"][: kept - 1]
    network["strides"] = [[1, 1, 1], [1, 2, 2], [2, 2, 2]]
    plans_file.write_text(json.dumps(plans))
    preprocess([901], plans_name, configurations=["3d_fullres"], num_processes=[1])
    splits = [{"train": ["case0", "case1"], "val": ["case1"]}, {"train": ["case1", "case0"], "val": ["case0"]}]
    (base / "preprocessed" / NAME / "splits_final.json").write_text(json.dumps(splits))
    about = json.loads((base / "raw" / NAME / "dataset.json").read_text())
    os.environ.update(nnUNet_n_proc_DA="0")  # planning wants one process at least
    for fold in (0, 1):
        torch.manual_seed(fold)
        trainer = nnUNetTrainer(
            {**plans, "continue_training": False}, "3d_fullres", fold, about, device=torch.device("cpu")
        )
        trainer.num_epochs, trainer.num_iterations_per_epoch, trainer.num_val_iterations_per_epoch = 1, steps, 1
        trainer.initial_lr = 5e-2
        trainer.perform_actual_validation = lambda *args, **kwargs: None
        trainer.run_training()
    model = next((base / "results" / NAME).iterdir())
    show_nodes(model)
    predict(base, model)
    print(model)


def show_nodes(model: Path) -> None:
    """So short a training does not learn the rare class; where the primary's output is high it is made to win.

    Node's output becomes twice the primary's minus :data:`SWITCH_AT`, so it is the higher one above that value.
    """
    import torch

    for path in model.glob("fold_*/checkpoint_final.pth"):
        checkpoint = torch.load(path, map_location="cpu", weights_only=False)
        weights = checkpoint["network_weights"]
        last = max(key for key in weights if key.startswith("decoder.seg_layers.") and key.endswith(".bias"))
        for key, shift in ((last, SWITCH_AT), (last.replace(".bias", ".weight"), 0.0)):
            weights[key][2] = 2 * weights[key][1] - shift
        torch.save(checkpoint, path)


def predict(base: Path, model: Path) -> None:
    """nnU-Net's own labels for both cases."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(model), (0, 1), "checkpoint_final.pth")
    raw = base / "raw" / NAME / "imagesTr"
    (base / "nnunet_labels").mkdir()
    for number in range(2):
        files = [[str(raw / f"case{number}_{channel:04d}.nii.gz") for channel in range(2)]]
        predictor.predict_from_files_sequential(files, [str(base / "nnunet_labels" / f"case{number}")])


if __name__ == "__main__":
    sys.exit(main())
