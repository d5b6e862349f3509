"""Make resampled.npz: what nnunetv2 2.8.1 (with batchgenerators 0.25.5) makes of three arrays."""

from pathlib import Path

import numpy as np
from nnunetv2.preprocessing.resampling.default_resampling import resample_data_or_seg_to_spacing

CASES = {  # spacing before and after, mm, and the shape
    "isotropic": ((1.0, 1.0, 1.0), (1.5, 0.8, 1.25), (9, 8, 7)),
    "thick_before": ((5.0, 1.0, 0.9), (3.0, 1.3, 0.7), (5, 9, 8)),
    "thick_after": ((1.0, 1.1, 1.0), (1.2, 1.0, 4.0), (8, 7, 9)),
}
rng = np.random.default_rng(0)
made = {}
for name, (before, after, shape) in CASES.items():
    image = rng.normal(size=shape).astype(np.float32)
    label = rng.integers(0, 3, size=shape).astype(np.int8)
    made |= {f"{name}_spacing": [before, after], f"{name}_image": image, f"{name}_label": label}
    for kind, volume, order in (("image", image, 3), ("label", label, 1)):
        made[f"{name}_{kind}_resampled"] = resample_data_or_seg_to_spacing(
            volume[None], before, after, kind == "label", order, 0, force_separate_z=None
        )[0]
np.savez_compressed(Path(__file__).with_name("resampled.npz"), **made)
