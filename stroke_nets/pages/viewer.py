"""The interactive page of a prediction: three planes, their sliders, an overlay.

Neither viewer that Python packages ship does this. nilearn's ``view_img`` (brainsprite) has no
slice controls and resamples to isotropic voxels; NiiVue comes inside ipyniivue as a widget of 5 MB
that needs Jupyter's side of it and WebGL2. A canvas, native sliders and the volume in the page do.
"""

import base64
import gzip
import hashlib
import json
from collections.abc import Sequence
from html import escape
from importlib import resources
from pathlib import Path
from typing import Any

import cc3d
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from stroke_nets.pages.case_figure import Array, gray_levels
from stroke_nets.pages.page import POLICY, write_page
from stroke_nets.pages.prediction_case import Volumes

LONGEST = 320  # voxels along an axis; a larger scan is thinned, to keep the page small
# plane: its axis, and the letters at the left and right of its picture
PLANES = {"axial": (2, "R", "L"), "coronal": (1, "R", "L"), "sagittal": (0, "A", "P")}
STYLE = """
.planes { display: grid; grid-template-columns: repeat(auto-fit, minmax(18rem, 1fr)); gap: 1rem; }
.planes figure { margin: 0; } .planes h2 { margin: 0; font-size: 1.1rem; }
.picture { position: relative; background: #000; } canvas { width: 100%; display: block;
  cursor: crosshair; touch-action: none; image-rendering: pixelated; }
.letter { position: absolute; top: .3rem; padding: 0 .3rem; background: #fff; font-weight: 700; }
.first { left: .3rem; } .last { right: .3rem; }
input[type=range] { width: 100%; } label { display: block; margin-top: .4rem; }
.controls { display: flex; flex-wrap: wrap; gap: 1.5rem; align-items: end; margin: 1rem 0; }
select, button { font: inherit; padding: .3rem .7rem; min-height: 2.4rem; }
#here { font-weight: 600; min-height: 3em; }
"""


def write_viewer(path: Path, title: str, case: Volumes, links: Sequence[str] = ()) -> Path:
    """Write the page; it needs no other file and asks nothing of a network.

    Args:
        path: of the page; an older one is replaced.
        title: plain text.
        case: what is shown.
        links: HTML, above the planes.

    Returns:
        The path.
    """
    step = -(-max(case.image.shape) // LONGEST)
    centres = lesion_places(case.mask)
    start = centres[0] if centres else [side // 2 for side in case.image.shape]
    given = {
        "shape": [-(-side // step) for side in case.image.shape],
        "affine": case.affine.tolist(),
        "spacing": np.linalg.norm(case.affine[:3, :3], axis=0).tolist(),
        "step": step,
        "start": [place // step for place in start],
        "layers": _layers(case, step),
    }
    script = (resources.files("stroke_nets.pages") / "viewer.js").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    parts = [
        *links,
        *([f"<p>Every voxel in {step} is shown along each axis.</p>"] if step > 1 else []),
        _controls(list(case.maps), [[place // step for place in centre] for centre in centres]),
        '<p id="here" role="status">Loading</p>',
        f'<div class="planes">{"".join(map(_plane, PLANES, given["shape"][::-1]))}</div>',
        "<p>Radiological convention: the left of an axial or coronal picture is the patient's "
        "right (R). Places are in mm to the right, to the front and up, as the scan's header has "
        "them. Click or drag in a picture, turn the wheel over it, or move a slider: with the "
        "arrow keys by one slice, with Page Up and Page Down by more.</p>",
        f'<script type="application/json" id="volumes">{_json(given)}</script>',
        f"<script>{script}</script>",
    ]
    return write_page(path, title, parts, STYLE, f"{POLICY}; script-src 'sha256-{digest}'")


def lesion_places(mask: NDArray[np.bool_], most: int = 20) -> list[list[int]]:
    """Of each lesion, the largest first, its voxel nearest to its centre.

    Args:
        mask: of shape (X, Y, Z).
        most: how many lesions at most.
    """
    lesions = cc3d.connected_components(mask, connectivity=6)
    sizes = np.bincount(lesions.ravel())[1:]
    boxes = ndimage.find_objects(lesions)
    places = []
    for label in np.argsort(-sizes, kind="stable")[:most]:
        first = [side.start for side in boxes[label]]
        voxels = np.argwhere(lesions[boxes[label]] == label + 1) + first
        away = ((voxels - voxels.mean(axis=0)) ** 2).sum(axis=1)
        places.append([int(place) for place in voxels[away.argmin()]])
    return places


def _layers(case: Volumes, step: int) -> dict[str, dict[str, Any]]:
    """The volumes by name: bytes, x fastest, and the value that 255 stands for."""
    thin = (slice(None, None, step),) * 3
    # The largest voxel of each block, lest a small lesion be lost.
    mask = ndimage.maximum_filter(case.mask.view(np.uint8), step, origin=-(step // 2))[thin]
    layers = {
        "scan": {"data": _packed(gray_levels(case.image[thin])), "top": 1},
        "mask": {"data": _packed(mask), "top": 1},
    }
    for name, values in case.maps.items():
        top = float(values.max()) or 1.0
        layers[name] = {"data": _packed(values[thin] / top), "top": top}
    return layers


def _packed(values: Array) -> str:
    """Values in [0, 1] as compressed bytes."""
    voxels = np.rint(255 * values).astype(np.uint8)
    return base64.b64encode(gzip.compress(voxels.tobytes(order="F"), 6, mtime=0)).decode()


def _json(content: Any) -> str:
    """JSON that can stand inside a script element."""
    return json.dumps(content).replace("<", r"\u003c")


def _controls(maps: Sequence[str], lesions: Sequence[Sequence[int]]) -> str:
    options = "".join(f"<option>{escape(name)}</option>" for name in ("mask", *maps, "none"))
    buttons = "".join(
        f'<button type="button" data-voxel="{list(place)}">Lesion {number}</button> '
        for number, place in enumerate(lesions, start=1)
    )
    return (
        '<div class="controls">'
        f'<div><label for="overlay">Overlay</label><select id="overlay">{options}</select></div>'
        '<div><label for="opacity">Opacity of the overlay (the outline stays)</label>'
        '<input type="range" id="opacity" min="0" max="100" value="30"></div>'
        '<div><label for="brightness">Brightness of the scan</label>'
        '<input type="range" id="brightness" min="50" max="250" value="100"></div></div>'
        f'<div role="group" aria-label="Go to a lesion">{buttons or "The mask is empty."}</div>'
    )


def _plane(name: str, count: int) -> str:
    _, first, last = PLANES[name]
    return (
        f'<figure aria-label="{name} plane"><h2>{name.capitalize()}</h2>'
        f'<div class="picture"><canvas id="{name}" role="img" aria-label="{name} slice"></canvas>'
        f'<span class="letter first">{first}</span><span class="letter last">{last}</span></div>'
        f'<label for="{name}-slice">{name.capitalize()} slice <span id="{name}-label"></span>'
        f'</label><input type="range" id="{name}-slice" min="0" max="{count - 1}" value="0">'
        "</figure>"
    )
