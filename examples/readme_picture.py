"""Draw the picture of the README: a real scan with the expert's outline and the prediction.

    python examples/readme_picture.py SCAN TRUTH PICTURE

The scan is segmented by ``predict`` with the published weights; its three planes go through the
voxel deepest inside the true lesion.
"""

import sys
import tempfile
from pathlib import Path

import nibabel as nib
import numpy as np
from scipy import ndimage

import stroke_nets
from stroke_nets.evaluation.case import case_metrics
from stroke_nets.pages.prediction_case import Volumes
from stroke_nets.pages.prediction_figure import planes_png


def main(scan: str, truth: str, picture: str) -> None:
    """Predict, draw, and print how well it went."""
    with tempfile.TemporaryDirectory() as out:
        stroke_nets.predict(scan, out)
        found = next(Path(out).glob("**/*_desc-*_mask.nii.gz"))
        image, expert, mask = (
            nib.as_closest_canonical(nib.load(file)) for file in (scan, truth, found)
        )
        lesion, predicted = (np.asanyarray(one.dataobj) > 0 for one in (expert, mask))
    volumes = Volumes(image.get_fdata(dtype=np.float32), predicted, {}, image.affine, lesion)
    place = np.unravel_index(np.argmax(ndimage.distance_transform_edt(lesion)), lesion.shape)
    Path(picture).write_bytes(planes_png(volumes, [int(i) for i in place]))
    figures = case_metrics(predicted, lesion, nib.affines.voxel_sizes(image.affine))
    print({key: round(figures[key], 3) for key in ("dice", "truth_ml", "predicted_ml")})


if __name__ == "__main__":
    main(*sys.argv[1:])
