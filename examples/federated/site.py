"""The client at one hospital: each round trains one epoch and sends the weights.

NVFlare starts it for each site; scans, names and losses of single cases stay local.
"""

import sys
from pathlib import Path

import nvflare.client as flare
import torch
from workflow import training


def main(sites: str, runs: str) -> None:
    """Serve requests until the server is done."""
    flare.init()
    site = flare.get_site_name()
    while flare.is_running():
        received = flare.receive()
        torch.manual_seed(received.current_round)
        flow = training(
            dataset_dir=str(Path(sites) / site),
            output_dir=str(Path(runs) / site / f"round{received.current_round}"),
            cache_dir=str(Path(runs) / site / ".cache"),
            max_epochs=1,
            val_interval=1,
        )
        flow.initialize()
        network = flow.parser.get_parsed_content("network")
        network.load_state_dict({k: torch.as_tensor(v) for k, v in received.params.items()})
        flow.run()
        slices = len(flow.parser.get_parsed_content("train#dataset"))
        flare.send(
            flare.FLModel(
                params={k: v.detach().cpu() for k, v in network.state_dict().items()},
                meta={"NUM_STEPS_CURRENT_ROUND": slices},
            )
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
