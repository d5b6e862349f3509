"""Expand tables into jobs: which command makes which file, and what it needs first.

Self-training's two rows share one set of pseudo labels for each fold, made by the schemes with
MSCSA, as in the paper's code.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stroke_nets.errors import UsageError
from stroke_nets.papers.figures import published_figures
from stroke_nets.papers.settings import scale, settings
from stroke_nets.papers.tables import published

LAYERS = "agmr_table02"  # printed from the network; needs no run
STAGES = ("attention_stages", "channel_weights")  # figures that need stage maps


@dataclass(frozen=True)
class Job:
    """One process of the grid.

    Attributes:
        name: unique, without a path.
        output: the file that is there when the job is done.
        command: arguments after the interpreter.
        needs: outputs of the jobs before it.
        run: ``<bundle>/<overlay>`` of a run; empty for data and pseudo labels.
        bundle: its folder, of a run.
    """

    name: str
    output: Path
    command: Sequence[str]
    needs: Sequence[Path] = field(default_factory=tuple)
    run: str = ""
    bundle: Path | None = None

    @property
    def line(self) -> str:
        """The command, as a shell takes it."""
        return shlex.join([sys.executable, *self.command])

    @property
    def log(self) -> Path:
        """Where its output goes."""
        return self.output.parent / f"{self.output.stem}.log"


@dataclass(frozen=True)
class Places:
    """Where a grid reads and writes.

    Attributes:
        scale: ``demo`` or ``full``.
        bundles: the folder of all bundles.
        runs: the folder of all runs.
        datasets: data root by the name that the published tables have for it.
    """

    scale: str
    bundles: Path
    runs: Path
    datasets: dict[str, Path]


def all_tables() -> list[str]:
    """The papers' twelve tables: those with published figures, and AGMR-Net's layers."""
    with_figures = (name for name, table in published().items() if _has_figures(table))
    return [LAYERS, *with_figures]


def _has_figures(table: dict[str, Any]) -> bool:
    return any(row["published"] for row in table["rows"])


def expand(tables: Sequence[str], places: Places) -> list[Job]:
    """The jobs of tables, in an order in which each comes after those it needs.

    Args:
        tables: names; a run that two tables share is one job.
        places: where everything is.

    Raises:
        UsageError: an unknown table, or a bundle that is not there.
    """
    jobs: dict[str, Job] = {}
    wanted = [name for name in tables if name != LAYERS]
    for content in published(wanted).values() if wanted else ():
        references = [content.get("reference"), *(row.get("reference") for row in content["rows"])]
        names = [row["run"] for row in content["rows"]] + [name for name in references if name]
        for fold in range(scale(places.scale)["folds"] or content["folds"]):
            for name in dict.fromkeys(names):
                for job in _with_needed(name, fold, content["dataset"], places):
                    jobs.setdefault(job.name, job)
    return list(jobs.values())


def _with_needed(run: str, fold: int, dataset: str, places: Places) -> Iterator[Job]:
    """A run after everything that it needs."""
    bundle, overlay = run.split("/")
    data = places.datasets[dataset]
    needs = [data / "manifest.json"]
    if scale(places.scale).get("seeds"):
        yield _data(data, places.scale)
    for source in settings()["sources"].get(bundle, ()):
        yield from _with_needed(source, fold, dataset, places)
    if sources := settings()["sources"].get(bundle):
        labels = _pseudo_labels(sources, fold, data, places)
        yield labels
        needs.append(labels.output)
    for member in settings()["members"].get(bundle, ()):
        yield from _with_needed(f"{member}/{overlay}", fold, dataset, places)
        needs.append(_summary(f"{member}/{overlay}", fold, places))
    yield _run(run, fold, data, needs, places)


def _summary(run: str, fold: int, places: Places) -> Path:
    return places.runs / run / f"fold{fold}" / "summary.json"


def _run(run: str, fold: int, data: Path, needs: Sequence[Path], places: Places) -> Job:
    bundle, overlay = run.split("/")
    folder = places.bundles / bundle
    if not folder.is_dir():
        raise UsageError(f"--bundles {places.bundles}: no bundle {bundle}; give their folder")
    command = ["-m", "stroke_nets.papers.run_bundle", str(folder), "--overlay", overlay]
    command += ["--fold", str(fold), "--dataset-dir", str(data), "--runs", str(places.runs)]
    command += ["--scale", places.scale]
    command += ["--stage-maps"] if run in _runs_with_stage_maps() else []
    name = f"{bundle}_{overlay}_fold{fold}"
    return Job(name, _summary(run, fold, places), command, tuple(needs), run, folder)


def _pseudo_labels(sources: Sequence[str], fold: int, data: Path, places: Places) -> Job:
    command = ["-m", "stroke_nets", "pseudo-label", str(data), "--fold", str(fold)]
    for source in sources:
        command += ["--run", str(places.runs / source / f"fold{fold}")]
    command += ["--device", scale(places.scale).get("device", "cpu")]
    output = data / "pseudo_labels" / f"fold{fold}" / "manifest.json"
    needs = tuple(_summary(source, fold, places) for source in sources)
    return Job(f"pseudo_labels_{data.name}_fold{fold}", output, command, needs)


def _data(data: Path, scale_name: str) -> Job:
    """A simulated data set of the demo."""
    chosen = scale(scale_name)
    options = {name: chosen[name] for name in ("patients", "unlabelled", "step", "folds")}
    options["seed"] = chosen["seeds"].get(str(data), 0)
    command = ["-m", "stroke_nets.papers.demo_data", str(data)]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return Job(f"data_{data.name}", data / "manifest.json", command)


def _runs_with_stage_maps() -> set[str]:
    """Runs that the figures of attention and fusion read stage maps of."""
    found = set()
    for content in published_figures().values():
        if content["kind"] in STAGES:
            found |= {row["run"] for row in content.get("rows", [content])}
    return found


def dataset_of(run: str) -> str | None:
    """The data set of a run, as the published tables name it."""
    for content in published().values():
        if any(row["run"] == run for row in content["rows"]):
            return str(content["dataset"])
    return None
