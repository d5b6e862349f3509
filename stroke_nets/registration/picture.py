"""The picture by which a registration is judged: the template's edges over the scan."""

from pathlib import Path

import numpy as np
from matplotlib.figure import Figure

from stroke_nets.registration.volume import Float32, Volume

SLICES = (0.3, 0.42, 0.58, 0.7)  # of each axis
LETTERS = ("AP", "RL", "RL")  # at the left and right of a slice across x, y and z


def draw(path: Path, brain: Volume, registered: Float32, title: str) -> None:
    """Write the picture, in the radiological convention: the patient's right is at the left.

    Args:
        path: PNG file.
        brain: the template.
        registered: the scan on the template's grid, (X, Y, Z).
        title: above it.
    """
    figure = Figure((12, 10), facecolor="black")
    close = {"left": 0.01, "right": 0.99, "bottom": 0.01, "top": 0.95, "wspace": 0.02}
    axes = figure.subplots(3, len(SLICES), gridspec_kw=close | {"hspace": 0.02})
    low, top = np.percentile(registered[brain.voxels > 0], (0.5, 99.5))  # of any unit and offset
    for axis, row in enumerate(axes):
        for share, panel in zip(SLICES, row, strict=True):
            at = round(share * brain.voxels.shape[axis])
            shown, edges = (volume.take(at, axis)[::-1].T for volume in (registered, brain.voxels))
            panel.imshow(shown, origin="lower", cmap="gray", vmin=low, vmax=top)
            panel.contour(edges, [0.05, 0.45], colors=["red", "orange"], linewidths=0.6)
            panel.axis("off")
            for x, letter in zip((0.04, 0.96), LETTERS[axis], strict=True):
                panel.text(x, 0.92, letter, transform=panel.transAxes, ha="center", color="white")
    figure.suptitle(title, color="white")
    figure.savefig(path, dpi=75)
