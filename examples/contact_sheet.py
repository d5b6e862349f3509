"""Draw docs/simulated_patients.png: simulated patients, with the real ARC patient below.

Run: python examples/contact_sheet.py FOLDER, with arc/sub-M2051, soop_masks/ and lesymap/ in it
"""

import sys
from pathlib import Path

import matplotlib
import nibabel as nib
import numpy as np

from stroke_nets.synthesis import Design, simulate_patient

OUT = Path(__file__).parents[1] / "docs" / "simulated_patients.png"


def rows(folder: Path) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """Title, scan and mask of each row."""
    designs = {
        "default, large": (7, Design()),
        "default": (15, Design()),
        "default, small": (3, Design()),
        "chronic masks\n(LESYMAP)": (9, Design(masks=folder / "lesymap")),
        "acute masks\n(SOOP)": (11, Design(masks=folder / "soop_masks")),
        "random\ncontrast": (8, Design(contrast="random")),
        "no skull": (21, Design(skull=False)),
        "plain": (8, Design(plain=True)),
    }
    found = [(title, *simulate_patient(2, i, design)) for title, (i, design) in designs.items()]
    anat = folder / "arc" / "sub-M2051" / "anat"
    real = [
        nib.as_closest_canonical(nib.load(anat / f"sub-M2051_{name}.nii.gz")).get_fdata()
        for name in ("T1w", "label-lesion_mask")
    ]
    return [*found, ("REAL: ARC", real[0], real[1])]


def draw(folder: Path) -> None:
    """Three planes through the middle of the lesion, without and with its outline."""
    matplotlib.use("Agg")
    from matplotlib import pyplot

    patients = rows(folder)
    figure, axes = pyplot.subplots(len(patients), 6, figsize=(12, 2.1 * len(patients)))
    for panels, (title, scan, mask) in zip(axes, patients, strict=True):
        middle = np.argwhere(mask).mean(axis=0) if mask.any() else np.array(mask.shape) / 2
        for axis, at in enumerate(middle.round().astype(int)):
            plane, lesion = scan.take(at, axis).T, mask.take(at, axis).T
            for panel in panels[[axis, axis + 3]]:
                top = np.percentile(scan, 99.7)
                panel.imshow(plane, origin="lower", cmap="gray", vmin=0, vmax=top)
                panel.axis("off")
            if lesion.any():
                panels[axis + 3].contour(lesion, [0.5], colors="red", linewidths=0.6)
        panels[0].text(-0.05, 0.5, title, transform=panels[0].transAxes, ha="right", va="center")
    figure.subplots_adjust(left=0.12, right=1, bottom=0, top=1, wspace=0, hspace=0.02)
    figure.savefig(OUT, dpi=70)


if __name__ == "__main__":
    draw(Path(sys.argv[1]))
