"""Do the backends find the same lesions in whole scans? Published weights beside PyTorch's float32.

    python benchmarks/agreement_scans.py SCAN [SCAN ...]

Each scan is registered and preprocessed once per method, as `predict` does it. `backend: auto` and
`precision` of the bundles rest on this: a backend is taken where Dice is 0.995 or more and the
volume differs by 1 % or less. Writes results/agreement_scans.json.
"""

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

import torch
from record import comparison, write
from torch import Tensor

from stroke_nets.bundle_folders import with_weights
from stroke_nets.inference.backend import BackendInferer
from stroke_nets.inference.method import Method
from stroke_nets.inference.weights import choose
from stroke_nets.scans.reader import Scan

WAYS = [("torch", "bfloat16"), ("openvino", "float32"), ("openvino", "bfloat16")]
LEAST_DICE, MOST_VOLUME = 0.995, 0.01
NONE = 1e-9  # in place of a difference of 0


@torch.inference_mode()
def segmented(method: Method, data: dict[str, Any], scan: Scan, sweep: Any) -> tuple[Tensor, float]:
    """The mask on the scan's grid, and the processor seconds of the network's sweep."""
    volume = data["image"].as_tensor()[None]
    began = time.process_time()
    swept = sweep(volume, method.network)
    seconds = time.process_time() - began
    one = {"image": data["image"], "pred": swept[0].float()}
    found = method._inverted(data["image"], torch.as_tensor(method.activation(one)["pred"]))
    return method.mask(found, scan.grid.affine) > 0, seconds


def main() -> None:
    """Compare and write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("scans", type=Path, nargs="+")
    parser.add_argument("--methods", nargs="+", default=with_weights())
    options = parser.parse_args()
    rows: dict[str, Any] = {}
    measured: dict[str, Any] = {}
    for name in options.methods:
        method = Method(choose([name])[0], torch.device("cpu"))
        runs = {way: BackendInferer(method.inferer, *way) for way in WAYS}
        for path in options.scans:
            scan = Scan(path)
            run = partial(segmented, method, method.preprocessing({"image": scan}), scan)
            eager, seconds = run(method.inferer)
            what = f"{name}, {path.name.split('.')[0]}"
            measured[f"{what}, torch, float32"] = {"cpu_s": seconds, "voxels": int(eager.sum())}
            for way, sweep in runs.items():
                run(sweep)  # compiles
                mask, seconds = run(sweep)
                title = f"{what}, {', '.join(way)}"
                both = float(2 * (mask & eager).sum() / (mask.sum() + eager.sum()))
                volume = abs(float(mask.sum() / eager.sum()) - 1)
                measured[title] = {"cpu_s": seconds, "voxels": int(mask.sum())}
                rows[f"{title}: Dice, limit"] = comparison(
                    both, LEAST_DICE, 1.0, unit="", less=False
                )
                rows[f"{title}: difference of volume, limit"] = comparison(
                    max(volume, NONE), MOST_VOLUME, 1.0, unit=""
                )
                print(title, both, volume, flush=True)
    write("agreement_scans", rows, measured=measured)


if __name__ == "__main__":
    main()
