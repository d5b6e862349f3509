"""The report of a run: its training, during and after, and its evaluation."""

from pathlib import Path
from typing import Any

from stroke_nets.errors import UsageError
from stroke_nets.inspection.plain_config import read_config
from stroke_nets.pages.page import write_page
from stroke_nets.pages.run_evaluation import RESULTS, evaluation
from stroke_nets.pages.run_training import training


def write_report(run_dir: Path, dataset_dir: Path | None = None) -> Path:
    """Write ``run_dir/report.html``, a self-contained page.

    It shows the training if there is a log, and the evaluation if there is one.

    Args:
        run_dir: the run folder.
        dataset_dir: folder with the evaluated images and labels; by default the one in the run's
            ``config.yaml``.

    Returns:
        The path of the page.

    Raises:
        UsageError: the run was neither trained nor evaluated, or the data set does not exist.
        DataError: a result file or scan cannot be read, or a mask lies on another grid.
    """
    config = _config(run_dir)
    trained, evaluated = training(run_dir, config), None
    if any((run_dir / name).exists() for name in RESULTS):
        evaluated = evaluation(run_dir, _data(dataset_dir, config))
    elif trained is None:
        raise UsageError(f"{run_dir}: no finished epoch and no evaluation there; train first")
    title = f"{'Evaluation' if evaluated else 'Training'} of {_name(run_dir, config)}"
    page = run_dir / "report.html"
    return write_page(page, "run.html", title, training=trained, evaluation=evaluated)


def _config(run_dir: Path) -> dict[str, Any]:
    """The configuration written by a training; empty if there was none."""
    path = run_dir / "config.yaml"
    return read_config(path) if path.is_file() else {}


def _name(run_dir: Path, config: dict[str, Any]) -> str:
    """Method, overlay and fold; of an evaluation without a training, the folder's name."""
    if "bundle" not in config:
        return run_dir.resolve().name
    return f"{config['bundle']}, {config.get('overlay', 'default')}, fold {config.get('fold', 0)}"


def _data(dataset_dir: Path | None, config: dict[str, Any]) -> Path:
    found = dataset_dir or config.get("dataset_dir")
    if not found or not Path(found).is_dir():
        raise UsageError(f"--data {found or ''}: no such folder; give the data root")
    return Path(found)
