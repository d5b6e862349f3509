"""Train agmr_net at two hospitals without sharing scans: NVFlare's FedAvg, simulated locally.

    make federated
    python examples/federated/job.py SITES OUT [ROUNDS]

SITES contains a folder for each hospital, ``site-1``, ``site-2``, ..., made by ``stroke-nets
simulate`` or ``stroke-nets prepare``. In each round, every site trains one epoch from the global
weights and sends only tensors; their mean, weighted by the number of slices, is the next global
model. ``OUT/model.safetensors`` is the last one.
Source: McMahan et al. 2017 (https://arxiv.org/abs/1602.05629).
"""

import sys
from pathlib import Path

import torch
from nvflare.app_opt.pt.recipes.fedavg import FedAvgRecipe
from nvflare.recipe import SimEnv
from safetensors.torch import save_file
from workflow import network

HERE = Path(__file__).parent
NAME = "agmr_net"


def main(sites: str, out: str, rounds: str = "2") -> None:
    """Simulate server and sites, then save the global model."""
    folder, names = Path(out).resolve(), [site.name for site in sorted(Path(sites).glob("site-*"))]
    if len(names) < 2:
        sys.exit(f"{sites}: {len(names)} folders named site-1, site-2, ...; make at least two")
    model = folder / "model.safetensors"
    if model.exists():
        sys.exit(f"{model}: is there already; choose another folder")
    recipe = FedAvgRecipe(
        name=NAME,
        model=network(),
        min_clients=len(names),
        num_rounds=int(rounds),
        train_script=str(HERE / "site.py"),
        train_args=f"{Path(sites).resolve()} {folder / 'runs'}",
        server_expected_format="pytorch",
    )
    run = recipe.execute(SimEnv(clients=names, workspace_root=str(folder / "nvflare")))
    result = Path(run.get_result())
    (saved,) = result.rglob("FL_global_model.pt")
    common = torch.load(saved, map_location="cpu", weights_only=True)["model"]
    save_file(
        {name: torch.as_tensor(value) for name, value in common.items()},
        folder / "model.safetensors",
    )
    print(f"wrote {folder / 'model.safetensors'} ({rounds} rounds, {len(names)} sites)")


if __name__ == "__main__":
    main(*sys.argv[1:])
