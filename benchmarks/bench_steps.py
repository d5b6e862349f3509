"""A training step of every network of `reproduce --scale bench`, and the share of time data take.

    OMP_NUM_THREADS=1 python benchmarks/bench_steps.py steps
    OMP_NUM_THREADS=1 python benchmarks/bench_steps.py waiting DATA

`steps` times a step on noise (forward, loss, backward, optimiser) as the benchmark makes it beside
the same step in float32 with PyTorch's default memory format, alternately in one process, and
writes the seconds to stroke_nets/papers/bench_seconds.json, from which `reproduce` tells how long a
grid takes. `waiting` trains on a data set of `bench-data` for two short epochs and compares the
processor's time between a batch being asked for and being there with the time of all iterations.
Writes results/bench_steps.json and results/bench_waiting.json.
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

import torch
from ignite.engine import Events
from monai.bundle.scripts import create_workflow
from record import comparison, cpu, write

from stroke_nets.bundle_folders import bundles_root, find_bundle
from stroke_nets.papers.bench_time import bench_config, step_seconds
from stroke_nets.papers.claims import papers_claims
from stroke_nets.papers.grid import Job, all_tables, expand
from stroke_nets.papers.reproduce import places
from stroke_nets.papers.run_method import overlays_of, overrides
from stroke_nets.runs.bundle_run import FILES, config_files
from stroke_nets.runs.options import read_options

TABLE = Path(__file__).parents[1] / "stroke_nets" / "papers" / "bench_seconds.json"
GOAL_STEP, GOAL_WAITING = 1.5, 1.0
LIMIT = 0.05  # share of time that data may take
WATCHED = ("agmr_net/default", "unet/default", "mscsa_default/default")
SHORT = {"max_epochs": 2, "sampler#num_samples": 160, "train_batches": 10, "val_interval": 2}


def networks() -> list[str]:
    """The runs of all claims whose networks are trained, each network once."""
    runs = {r for claim in papers_claims(all_tables()) for pair in claim["pairs"] for r in pair}
    trained = {r for r in runs if (find_bundle(r.split("/")[0]) / "configs/train.yaml").is_file()}
    return sorted(r for r in trained if not r.endswith("/isles2015"))


def grid() -> list[Job]:
    """All jobs of the benchmark."""
    return expand(all_tables(), places("bench", bundles_root(), None, ()))


def steps(repeats: int) -> None:
    """Time the step of every network, ours and in float32 in turn."""
    seconds: dict[str, float] = {}
    rows: dict[str, Any] = {}
    for run in networks():
        bundle, overlay = run.split("/")
        taken: dict[str, list[float]] = {"ours": [], "float32": []}
        for _ in range(repeats):
            for name, found in taken.items():
                config = bench_config(find_bundle(bundle), overlay)
                if name == "float32":
                    config["train::inferer"] = {"_target_": "monai.inferers.SimpleInferer"}
                found.append(step_seconds(config))
        seconds[run] = round(min(taken["ours"]), 4)
        rows[f"training step, {run}, float32"] = comparison(
            seconds[run], min(taken["float32"]), GOAL_STEP
        )
        print(run, taken, flush=True)
    jobs = Counter(job.run for job in grid() if job.run in seconds)
    ours = sum(count * seconds[run] for run, count in jobs.items())
    plain = sum(
        count * rows[f"training step, {run}, float32"]["peer"] for run, count in jobs.items()
    )
    rows["a step of each training of the grid, float32"] = comparison(ours, plain, GOAL_STEP)
    content = {"machine": f"{cpu()}, one thread, torch {torch.__version__}", "seconds": seconds}
    TABLE.write_text(json.dumps(content, indent=1) + "\n")
    write("bench_steps", rows)


def waiting(data: Path) -> None:
    """Train briefly and compare the time that batches take with that of the iterations."""
    rows: dict[str, Any] = {}
    for run in WATCHED:
        with tempfile.TemporaryDirectory() as folder:
            share, count = _share(run, data, Path(folder))
        rows[f"share of a training's time that data take, {run}, limit"] = comparison(
            share, LIMIT, GOAL_WAITING, unit="", note=f"{count} iterations"
        )
    write("bench_waiting", rows)


def _share(run: str, data: Path, folder: Path) -> tuple[float, int]:
    bundle, overlay = find_bundle(run.split("/")[0]), run.split("/")[1]
    files = config_files(bundle, "train", overlays_of(bundle, overlay, "bench"))
    text = (bundle / "configs" / FILES["train"]).read_text()
    options = overrides(text, "bench") | {"part": "validation"}
    options |= {key: value for key, value in SHORT.items() if key in options}
    options |= {"dataset_dir": str(data), "output_dir": str(folder), "patience": None}
    options |= {"cache_dir": str(folder / "cache"), "overwrite": True}
    given = {k: "$None" if v is None else v for k, v in read_options(files, options).items()}
    workflow = create_workflow(
        config_file=files, run_id="training", bundle_root=str(bundle), **given
    )
    trainer = workflow.parser.get_parsed_content("train::trainer")
    begun, spent = {}, {"data": 0.0, "all": 0.0}

    def begin(name: str) -> None:
        begun[name] = time.process_time()

    def end(name: str) -> None:
        spent[name] += time.process_time() - begun[name]

    trainer.add_event_handler(Events.GET_BATCH_STARTED, lambda: (begin("data"), begin("all")))
    trainer.add_event_handler(Events.GET_BATCH_COMPLETED, lambda: end("data"))
    trainer.add_event_handler(Events.ITERATION_COMPLETED, lambda: end("all"))
    workflow.run()
    workflow.finalize()
    return spent["data"] / spent["all"], trainer.state.iteration


def main() -> None:
    """Measure what is asked for."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    what = parser.add_subparsers(dest="what", required=True)
    what.add_parser("steps").add_argument("--repeats", type=int, default=2)
    what.add_parser("waiting").add_argument("data", type=Path)
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.what == "steps":
        steps(given.repeats)
    else:
        waiting(given.data)


if __name__ == "__main__":
    main()
