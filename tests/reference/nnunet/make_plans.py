"""nnU-Net v2's own plans of made data sets: ``plans.json``.

Run it with nnunetv2 2.8.1 and torch 2.13.0 installed (no torchvision is needed)::

    python tests/reference/nnunet/make_plans.py
"""

import json
import os
import tempfile
from pathlib import Path

import numpy as np

HERE, NAME = Path(__file__).resolve(), "Dataset001_Made"
KEPT = ("spacing", "median_image_size_in_voxels", "patch_size", "batch_size", "batch_dice")
ARCHITECTURE = ("strides", "kernel_sizes", "features_per_stage")


def fingerprints() -> dict[str, dict]:
    """Spacings and cropped shapes (z, y, x) of made data sets."""
    rng = np.random.default_rng(0)

    def cases(spacing, shape, n, mm=0.0, voxels=0):
        spacings = np.array(spacing) + mm * rng.random((n, 3)).round(2)
        shapes = np.array(shape) - rng.integers(0, voxels + 1, (n, 3))
        return {"spacings": spacings.tolist(), "shapes_after_crop": shapes.tolist()}

    return {
        "atlas_at_1_mm": cases((1, 1, 1), (189, 233, 197), 40, voxels=30) | {"share": 0.8},
        "whole_atlas_at_1_mm": cases((1, 1, 1), (189, 233, 197), 655) | {"share": 1.0},
        "thick_slices": cases((6, 0.9, 0.9), (24, 256, 230), 25, 0.6, 6) | {"share": 0.6},
        "half_a_millimetre": cases((0.5, 0.45, 0.5), (400, 420, 380), 12, 0.1, 40) | {"share": 0.9},
        "small_and_few": cases((2, 2, 2), (60, 70, 50), 5, voxels=8) | {"share": 0.7},
    }


def plan(found: dict) -> dict:
    """nnU-Net's plan of a fingerprint, by its own planner in folders of its own."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner as own

    class Planner(own.ExperimentPlanner):
        def determine_reader_writer(self):
            return int  # there are no images to ask

        def save_plans(self, plans):
            """Nowhere: nnU-Net would add configurations of an earlier plan of the same name."""

    for folder, name, content in (
        (own.nnUNet_raw, "dataset.json", dataset(len(found["spacings"]))),
        (own.nnUNet_preprocessed, "dataset_fingerprint.json", fingerprint(found)),
    ):
        path = Path(folder, NAME, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
    plans = Planner(NAME).plan_experiment()
    kept = {"transpose": plans["transpose_forward"]}
    for name in ("3d_fullres", "3d_lowres"):
        if name in plans["configurations"]:
            config = plans["configurations"][name]
            kept["masked_zscore"] = config["use_mask_for_norm"][0]
            arch = config["architecture"]["arch_kwargs"]
            kept[name] = {k: config[k] for k in KEPT} | {k: arch[k] for k in ARCHITECTURE}
    return kept


def dataset(cases: int) -> dict:
    """A data set of one channel and one lesion class."""
    listed = {"case": {"images": ["case_0000.nii.gz"], "label": "case.nii.gz"}}
    names = {"channel_names": {"0": "T1"}, "labels": {"background": 0, "lesion": 1}}
    return names | {"numTraining": cases, "file_ending": ".nii.gz", "dataset": listed}


def fingerprint(found: dict) -> dict:
    """The content of nnU-Net's dataset_fingerprint.json."""
    more = {"foreground_intensity_properties_per_channel": {}}
    return found | more | {"median_relative_size_after_cropping": found["share"]}


def main() -> None:
    """Write fingerprints and plans."""
    os.environ.update({name: name for name in ("nnUNet_raw", "nnUNet_preprocessed")})
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        made = {name: {"fingerprint": f, "plan": plan(f)} for name, f in fingerprints().items()}
    text = json.dumps(made, default=lambda value: np.asarray(value).tolist())
    HERE.with_name("plans.json").write_text(text + "\n")


if __name__ == "__main__":
    main()
