"""Run under torchrun: train bundles one after another, and note what each process ended with.

train_each.py JOBS OUT, where JOBS is JSON: a list of {name, files, port, options}.
"""

import hashlib
import json
import os
import sys
from pathlib import Path

from monai.bundle import ConfigWorkflow


def main(jobs: Path, out: Path) -> None:
    os.environ["TORCHELASTIC_USE_AGENT_STORE"] = "False"  # each training meets at its own port
    for job in json.loads(jobs.read_text()):
        os.environ["MASTER_PORT"] = str(job["port"])
        flow = ConfigWorkflow(job["files"], logging_file=False, **job["options"])
        flow.initialize()
        flow.run()
        digest = hashlib.sha256()
        for parameter in flow.network_def.parameters():
            digest.update(parameter.detach().numpy().tobytes())
        loss = flow.trainer.state.metrics["train_loss"]
        result = {"weights": digest.hexdigest(), "loss": loss}
        (out / f"{job['name']}.{os.environ['RANK']}.json").write_text(json.dumps(result))
        flow.finalize()


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
