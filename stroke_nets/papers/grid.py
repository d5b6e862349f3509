"""Expand tables into jobs: which command makes which file, and what it needs first.

Self-training's two rows share their pseudo labels. Who labels is one of `RULES`.
"""

import shlex
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stroke_nets.errors import UsageError
from stroke_nets.papers import self_training
from stroke_nets.papers.figures import published_figures
from stroke_nets.papers.settings import scale, settings
from stroke_nets.papers.tables import published

PROGRAM = ("-m", "stroke_nets")
LAYERS = "agmr_table02"  # printed from the network; needs no run
RULES = {
    "paper": "the best of the first three approaches labels once for all folds",
    "code": "the models of the first three approaches, of all folds, label once for all folds",
    "leak-free": "the first three approaches' models of a fold label for that fold",
}
STEPS = {
    "data": "make the simulated data sets",
    "run": "train each method in each fold, predict its held-out cases, evaluate",
    "choose": "choose the best of the first three approaches, by mean Dice over all held-out cases",
    "label": "label the unlabelled scans",
    "self-training": "train a generic U-Net, with and without MSCSA, on both kinds of scans",
    "ensemble": "average the schemes of each fold, predict, evaluate",
}
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
        step: of the plan, a key of `STEPS`.
    """

    name: str
    output: Path
    command: Sequence[str]
    needs: Sequence[Path] = field(default_factory=tuple)
    run: str = ""
    bundle: Path | None = None
    step: str = "run"

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
        scale: ``demo``, ``bench`` or ``full``.
        bundles: the folder of all bundles.
        runs: the folder of all runs.
        datasets: data root by the name that the published tables have for it.
        rule: who makes the pseudo labels, a key of `RULES`.
        sources: prepared anatomies and masks of the benchmark's patients; None: the template.

    Raises:
        UsageError: an unknown rule.
    """

    scale: str
    bundles: Path
    runs: Path
    datasets: dict[str, Path]
    rule: str = "paper"
    sources: Path | None = None

    def __post_init__(self) -> None:
        """Refuse an unknown rule."""
        if self.rule not in RULES:
            raise UsageError(f"--self-training {self.rule}: choose one of {', '.join(RULES)}")


def all_tables() -> list[str]:
    """The papers' twelve tables: those with published figures, and AGMR-Net's layers."""
    with_figures = (name for name, table in published().items() if _has_figures(table))
    return [LAYERS, *with_figures]


def _has_figures(table: dict[str, Any]) -> bool:
    return any(row["published"] for row in table["rows"])


def expand(tables: Sequence[str], places: Places) -> list[Job]:
    """The jobs of tables, step by step, so that each comes after those it needs.

    Args:
        tables: names; a run that two tables share is one job.
        places: where everything is.

    Raises:
        UsageError: an unknown table, or a bundle that is not there.
    """
    jobs: dict[str, Job] = {}
    wanted = [name for name in tables if name != LAYERS]
    for table, content in published(wanted).items() if wanted else ():
        references = [content.get("reference"), *(row.get("reference") for row in content["rows"])]
        names = [row["run"] for row in content["rows"]] + [name for name in references if name]
        folds = range(folds_of(table, content, places.scale))
        for fold in folds:
            for name in dict.fromkeys(names):
                for job in _with_needed(name, fold, folds, content["dataset"], places):
                    jobs.setdefault(job.name, job)
    order = list(STEPS)
    return sorted(jobs.values(), key=lambda job: order.index(job.step))


def folds_of(table: str, content: dict[str, Any], scale_name: str) -> int:
    """How many folds of a table's rows are run: at bench scale, repetitions with another seed."""
    chosen = scale(scale_name)
    return int(chosen.get("repeats", {}).get(table) or chosen["folds"] or content["folds"])


def _with_needed(
    run: str, fold: int, folds: Sequence[int], dataset: str, places: Places
) -> Iterator[Job]:
    """A run after everything that it needs."""
    bundle, overlay = run.split("/")
    data = places.datasets[dataset]
    needs = [data / "manifest.json"]
    options: list[str] = []
    if scale(places.scale).get("seeds"):
        yield _data(dataset, data, places)
    if sources := settings()["sources"].get(bundle):
        labelling = [fold] if places.rule == "leak-free" else folds
        for source in sources:
            for k in labelling:
                yield from _with_needed(source, k, folds, dataset, places)
        labels = list(_pseudo_labels(sources, labelling, data, places))
        yield from labels
        needs.append(labels[-1].output)
        options = ["--manifest", str(labels[-1].output)]
    members = settings()["members"].get(bundle, ())
    for member in members:
        yield from _with_needed(f"{member}/{overlay}", fold, folds, dataset, places)
        needs.append(_summary(f"{member}/{overlay}", fold, places))
    step = "self-training" if sources else "ensemble" if members else "run"
    yield _run(run, fold, data, needs, places, options, step)


def _summary(run: str, fold: int, places: Places) -> Path:
    return places.runs / run / f"fold{fold}" / "summary.json"


def _run(
    run: str,
    fold: int,
    data: Path,
    needs: Sequence[Path],
    places: Places,
    options: Sequence[str],
    step: str,
) -> Job:
    bundle, overlay = run.split("/")
    folder = places.bundles / bundle
    if not folder.is_dir():
        raise UsageError(f"--bundles {places.bundles}: no bundle {bundle}; give their folder")
    command = [*PROGRAM, "run-method", str(folder), "--overlay", overlay]
    command += ["--fold", str(fold), "--data", str(data), "--runs", str(places.runs)]
    command += ["--scale", places.scale, *options]
    command += ["--stage-maps"] if run in _runs_with_stage_maps() else []
    name = f"{bundle}_{overlay}_fold{fold}"
    return Job(name, _summary(run, fold, places), command, tuple(needs), run, folder, step)


def _pseudo_labels(
    sources: Sequence[str], folds: Sequence[int], data: Path, places: Places
) -> Iterator[Job]:
    """The jobs that make a set of pseudo labels, the labels last."""
    device = ["--device", scale(places.scale).get("device", "cpu")]
    evaluated = tuple(_summary(source, k, places) for source in sources for k in folds)
    root, runs = data / "pseudo_labels", ["--runs", str(places.runs)]
    if places.rule == "paper":
        best = places.runs / "self_training" / data.name / "best.json"
        choose = [*PROGRAM, "choose-approach", str(best), *runs, *sources]
        yield Job(f"choose_{data.name}", best, choose, evaluated, step="choose")
        label = [*PROGRAM, "label-by-best", str(best), *runs, "--data", str(data), *device]
        output = root / self_training.FOLDER / "manifest.json"
        yield Job(f"pseudo_labels_{data.name}", output, label, (best,), step="label")
        return
    once = places.rule == "code"
    label = [*PROGRAM, "pseudo-label", str(data)]
    label += ["--published"] if once else ["--fold", str(folds[0])]
    for source in sources:
        for k in folds:
            label += ["--run", str(places.runs / source / f"fold{k}")]
    name = "published" if once else f"fold{folds[0]}"
    output = root / name / "manifest.json"
    yield Job(
        f"pseudo_labels_{data.name}_{name}", output, [*label, *device], evaluated, step="label"
    )


def _data(dataset: str, data: Path, places: Places) -> Job:
    """A simulated data set of the demo or of the benchmark."""
    chosen = scale(places.scale)
    seed = chosen["seeds"].get(chosen["datasets"][dataset], 0)
    if "parts" in chosen:
        options = {"seed": seed, **chosen["parts"][dataset]}
        options |= {"sources": places.sources} if places.sources else {}
        command = [*PROGRAM, "bench-data", str(data)]
    else:
        options = {name: chosen[name] for name in ("patients", "unlabelled", "step", "folds")}
        options["seed"] = seed
        command = [*PROGRAM, "demo-data", str(data)]
    command += [text for key, value in options.items() for text in (f"--{key}", str(value))]
    return Job(f"data_{data.name}", data / "manifest.json", command, step="data")


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
