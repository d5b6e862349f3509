"""The first steps of a bundle's workflow: its options, device, seeds and run folder."""

from pathlib import Path
from typing import Any

import ignite.distributed as idist

from stroke_nets.runs.configuration import calling_parser, resolved
from stroke_nets.runs.interruption import stop_on_signals
from stroke_nets.runs.requirements import require_device, require_extra
from stroke_nets.runs.run_folder import RunFolder
from stroke_nets.training.randomness import seed_process


def start_training(
    output_dir: str, *, device: Any, seed: int, overwrite: bool = False, resume: bool = False
) -> RunFolder:
    """Check the device, install signal handlers, seed, and open the run folder.

    It is called from a training's configuration, which is saved in the run folder. The network is
    built here, so that its weights are the first random numbers after seeding.

    Args:
        output_dir: the run folder.
        device: a `torch.device`, or its name.
        seed: seed of the whole training.
        overwrite: replace an existing training.
        resume: continue it, or begin if there is none.

    Raises:
        UsageError: the device or TensorBoard is missing, or the run folder cannot be used.
    """
    require_device(device)
    require_extra("tensorboard", "train", "training")
    stop_on_signals()
    seed_process(seed)
    return RunFolder(
        Path(output_dir),
        resolved(calling_parser()),
        overwrite=overwrite,
        resume=resume,
        first_rank=idist.get_rank() == 0,
    )
