"""Reproduce the shipped weights: train on simulated patients that are made meanwhile, publish.

    python examples/train_weights.py prepare SOURCES ANATOMIES MASKS...
    python examples/train_weights.py train BUNDLE:OVERLAY SOURCES [KEY=VALUE...]
    python examples/train_weights.py publish BUNDLE:OVERLAY TRIED [CHECKPOINT]

ANATOMIES is a folder of label maps, MASKS are folders of real lesion masks in MNI space; no anatomy
or mask is in two of the parts for training, for validation and for reporting. BUNDLE:OVERLAY are
mscsa_default:whole_brain, mscsa_default:diffusion and agmr_net:whole_brain. ``train`` runs the
stages of `STAGES` that are not done yet, all with the options KEY=VALUE; diffusion starts from the
published whole_brain. TRIED is the output of ``try_weights.py``, and CHECKPOINT the weights that
were tried there: by default those at the end of the last stage. ``publish`` again after the
published weights were tried on real scans tells what was found there. ``make weights`` runs all
steps.
"""

import datetime
import json
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from safetensors.torch import load_file, save_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from torch import Tensor

from stroke_nets.runs.bundle_run import bundle_command, read_settings
from stroke_nets.synthesis.t1w import prepare
from stroke_nets.text_table import markdown_table
from stroke_nets.training.checkpoint_file import LAST
from stroke_nets.training.publish import Calibration, publish

BUNDLES = Path(__file__).parents[1] / "bundles"
LOGITS = {"mscsa_default": "heads.3", "agmr_net": "head"}  # layers that give them
FIRST = "encoder.0.0.0.weight"  # of mscsa_default: (8, channels, 3, 3, 3)

# the model cards tell what each stage gave, and how those of the shipped weights differed
FAINT = {"plain": 0, "until": 1, "learning_rate": 1e-3}
HABIT = {"_target_": "stroke_nets.synthesis.t1w.Habit"}
STAGES: dict[str, list[dict[str, Any]]] = {
    "mscsa_default:whole_brain": [
        {"max_epochs": 138},
        {
            **FAINT,
            "least_lesion": 2e-3,
            "train::dataset::habit": {**HABIT, "small": 0.3},
            "max_epochs": 64,
            "seed": 8,
        },
        {
            **FAINT,
            "least_lesion": 2e-3,
            "lesion_power": 1.5,
            "smooth": 100,
            "train::dataset::habit": {**HABIT, "small": 0.4},
            "max_epochs": 30,
            "seed": 11,
        },
    ],
    "mscsa_default:diffusion": [
        {"batch_size": 1, "max_epochs": 47, "plain": 0.3, "until": 2, "seed": 11},
        {**FAINT, "batch_size": 1, "least_lesion": 1e-3, "max_epochs": 88, "seed": 13},
    ],
    "agmr_net:whole_brain": [
        {"batch_size": 1, "stacks": 16, "max_epochs": 22, "seed": 2},
        {"plain": 0, "until": 1, "max_epochs": 60, "seed": 3},
    ],
}


def train(bundle: str, overlay: str, sources: Path, options: list[str]) -> None:
    """Train in stages, each from the last weights of the one before; those that are done are kept.

    Args:
        bundle: its name.
        overlay: names the weights.
        sources: folder that ``prepare`` wrote.
        options: ``KEY=VALUE``, of every stage.
    """
    runs, stages = Path("runs") / bundle / overlay, STAGES[f"{bundle}:{overlay}"]
    given = {"sources": sources, "resume": True} | read_settings(options)
    if overlay == "diffusion":
        given["start"] = runs / "start.safetensors"
        runs.mkdir(parents=True, exist_ok=True)
        t1w_weights = load_file(BUNDLES / bundle / "models" / "whole_brain.safetensors")
        save_file(for_diffusion(t1w_weights), given["start"])
    for number, stage in enumerate(stages, 1):
        folder = runs / ("fold0" if number == len(stages) else f"stage{number}")
        settings = stage | given | {"output_dir": folder}
        overlays = ["whole_brain_train", overlay]
        command = bundle_command(BUNDLES / bundle, "train", overlays, settings)
        if code := subprocess.run(command, check=False).returncode:
            raise SystemExit(code)
        given["start"] = folder / "checkpoints" / LAST


def for_diffusion(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Weights for T1w as weights to start from: an infarct is bright in DWI and dark in the ADC.

    Args:
        weights: their first layer is (8, 2, 3, 3, 3), for the image and its mirror image.

    Returns:
        The first layer is (8, 4, 3, 3, 3), for DWI, ADC and their mirror images. With the ADC map
        x and the DWI -x, the network finds what it did in a T1w image x.
    """
    image, mirrored = (half / 2 for half in weights[FIRST].chunk(2, dim=1))
    return weights | {FIRST: torch.cat([-image, image, -mirrored, mirrored], dim=1)}


def publish_run(bundle: str, overlay: str, tried: Path, checkpoint: Path | None = None) -> None:
    """Publish weights of a training, with what was measured of them.

    Args:
        bundle: its name.
        overlay: of the training; the threshold and minimum size that were chosen go into it.
        tried: output folder of ``try_weights.py``.
        checkpoint: of a run's ``checkpoints``; by default the end of the last stage.
    """
    parser, folder = ConfigParser(), BUNDLES / bundle
    run = Path("runs") / bundle / overlay / "fold0"
    checkpoint = checkpoint or run / "checkpoints" / LAST
    simulated = json.loads((tried / "simulated.json").read_text())
    if "calibration" not in simulated:
        raise SystemExit(f"{tried}: published weights were tried there; try the checkpoint")
    file = tried / "real.json"
    real = json.loads(file.read_text()) if file.is_file() else None
    set_mask(folder / "configs" / f"{overlay}.yaml", simulated)
    parser.read_config([folder / "configs" / f"{name}.yaml" for name in ("train", overlay)])
    about = {"dice_simulated": simulated["dice"]} | ({"dice_real": real["dice"]} if real else {})
    about["volume_ratio"] = simulated["volume_ratio"]
    about["limits"] = [*limits(simulated), *limits_on_real(real or {})]
    if "contrast" in parser.config:
        about["contrast"] = parser["contrast"]
    entry = publish(
        checkpoint,
        parser.get_parsed_content("network_def"),
        folder / "models",
        overlay,
        Calibration(LOGITS[bundle], **simulated["calibration"]),
        trained_on="simulated patients",
        date=datetime.date.today().isoformat(),
        **about,
    )
    events = checkpoint.parents[1] / "events"
    if events.is_dir():  # else weights are published anew, of a training that is gone
        draw_curves(events, folder / "docs" / f"training_{overlay}.png")
    for picture in ("failures", "agreement"):
        shutil.copyfile(tried / f"{picture}.png", folder / "docs" / f"{picture}_{overlay}.png")
    card = folder / "docs" / "README.md"
    table = measured_table(overlay, simulated, real)
    card.write_text(with_table(card.read_text(), overlay, table))
    print(f"published {entry['file']} of {bundle}")


def measured_table(overlay: str, simulated: dict[str, Any], real: dict[str, Any] | None) -> str:
    """What was measured of weights, in Markdown: simulated patients first, then real ones."""
    columns = {"Measured": simulated}
    if "dwi_alone" in simulated:
        columns = {"DWI and ADC": simulated, "DWI alone": simulated["dwi_alone"]}
    rows: list[tuple[str, list[str], str]] = [
        (name, [tell(one) for one in columns.values()], goal)
        for name, tell, goal in simulated_rows(simulated)
    ]
    classes = simulated["volume_ratio"]
    ends = [f"{one['from_ml']:g} ml and more" for one in classes[-1:]]
    ends = [f"{a['from_ml']:g} to {b['from_ml']:g} ml" for a, b in pairwise(classes)] + ends
    for one, found in zip(classes, ends, strict=True):
        told = f"- true over found volume, 90 % interval, where {found} were found"
        cells = [f"{one['ratio'][0]:g} to {one['ratio'][1]:g} ({one['patients']} patients)"]
        rows.append((told, cells * len(columns), ""))
    rows += [] if real is None else isles_rows(real) if "dwi_and_adc" in real else t1w_rows(real)
    lines = [
        f"Shipped: `models/{overlay}.safetensors`. The threshold ({simulated['threshold']} of the "
        f"calibrated probabilities), the smallest lesion ({simulated['minimum_ml']:g} ml)",
        "and the calibration were chosen on 40 other held-out simulated patients. Curves: "
        f"`training_{overlay}.png`. The four worst held-out patients:",
        f"`failures_{overlay}.png`. Volumes and calibration: `agreement_{overlay}.png`.",
        "",
    ]
    cells_of = ((name, *cells, goal) for name, cells, goal in rows)
    head = ("", *columns, "Goal")
    return "\n".join([*lines, markdown_table(head, cells_of, "l" * len(head))])


def simulated_rows(
    simulated: dict[str, Any],
) -> list[tuple[str, Callable[[dict[str, Any]], str], str]]:
    """Names of the rows on held-out patients, what a row says of a result, and goals."""

    def found(one: dict[str, Any]) -> str:
        return ", ".join(f"{hit} of {of}" for hit, of in reversed(one["lesions_found"].values()))

    def false_ml(one: dict[str, Any]) -> str:
        ml = one["false_ml_in_healthy"]
        return f"{np.median(ml):.1f}, {min(ml):.1f} to {max(ml):.1f}"

    def error(one: dict[str, Any]) -> str:
        volume = one["volume_error_10_ml_and_more"]
        low, high = volume["limits_of_agreement"]
        return f"{volume['median']:+z.0%}; {low:+.0%} to {high:+.0%}"

    return [
        (
            f"{simulated['patients']} held-out simulated patients: mean Dice; with 10 ml and more",
            lambda one: f"{one['dice']:.3f}; {one['dice_10_ml_and_more']:.3f}",
            "0.60",
        ),
        ("- found: 10 ml and more, 1 to 10 ml, below", found, "-, 75 %, 40 %"),
        (
            "- false lesions a patient",
            lambda one: f"{one['false_lesions_a_patient']:.2f}",
            "0.5",
        ),
        (
            f"- false ml in {len(simulated['false_ml_in_healthy'])} healthy brains: median, range",
            false_ml,
            "",
        ),
        (
            "- volume error with 10 ml and more: median; 95 % limits of agreement",
            error,
            "within 15 %",
        ),
        (
            "- calibration: mean error of probabilities from 0.1 on; of the network's own",
            lambda one: f"{one['calibration_error']:.2f}; {one['calibration_error_before']:.2f}",
            "",
        ),
    ]


def t1w_rows(real: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    """The rows on real T1w scans."""
    changed, heads = real["dice_with_the_plain_scan"], real["false_ml_in_healthy_heads"]
    error = real["predicted_ml"] / real["truth_ml"] - 1
    return [
        ("ARC sub-M2051, native scan to native mask: Dice", [f"{real['dice']:.3f}"], "0.75"),
        (
            f"- volume, where the expert's mask has {real['truth_ml']:.0f} ml",
            [f"{real['predicted_ml']:.0f} ml ({error:+.0%})"],
            "within 15 %",
        ),
        (
            f"- Dice with the plain scan's mask: {'; '.join(changed)}",
            ["; ".join(f"{dice:.3f}" for dice in changed.values())],
            "0.9",
        ),
        (
            f"false ml in real heads without a lesion: {'; '.join(heads)}".replace(".nii.gz", ""),
            ["; ".join(f"{ml:.1f}" for ml in heads.values())],
            "0.5 each",
        ),
    ]


def isles_rows(real: dict[str, Any]) -> list[tuple[str, list[str], str]]:
    """The rows on real diffusion scans."""
    ways = [real[way] for way in ("dwi_and_adc", "dwi_alone")]
    rows = [("ISLES 2022, mean Dice", [f"{way['dice']:.3f}" for way in ways], "0.55")]
    for name in ways[0]["patients"]:
        cells = [isles_cell(way["patients"][name]) for way in ways]
        rows.append((f"- {name}: Dice; found ml; touched lesions", cells, ""))
    return rows


def isles_cell(one: dict[str, Any]) -> str:
    """What was found in one real patient."""
    hit, there = one["lesions_found"]
    volumes = f"{one['predicted_ml']:.1f} of {one['truth_ml']:.1f}"
    return f"{one['dice']:.2f}; {volumes}; {hit} of {there}, {one['false_lesions']} false"


def with_table(card: str, overlay: str, table: str) -> str:
    """A model card with another table between its marks."""
    begin, end = f"<!-- measured: {overlay} -->\n", "\n<!-- end -->"
    head, _, rest = card.partition(begin)
    _, found, tail = rest.partition(end)
    if not found:
        raise SystemExit(f"the card has no place for the table: add {begin.strip()} {end.strip()}")
    return f"{head}{begin}{table}{end}{tail}"


def set_mask(overlay: Path, simulated: dict[str, Any]) -> None:
    """Put the threshold and minimum size into the line ``to_mask`` of an overlay."""
    chosen = f"threshold: {simulated['threshold']}, minimum_ml: {simulated['minimum_ml']}"
    text, times = re.subn(r"threshold: [\d.]+, minimum_ml: [\d.]+", chosen, overlay.read_text())
    if times != 1:
        raise SystemExit(f"{overlay}: has no to_mask with threshold and minimum_ml; add it")
    overlay.write_text(text)


def limits(simulated: dict[str, Any]) -> list[str]:
    """What a reader of a mask has to know of held-out simulated patients, in sentences."""
    small, middle, _ = simulated["lesions_found"].values()
    low, high = simulated["volume_error_10_ml_and_more"]["limits_of_agreement"]
    told = [
        f"They found {small[0]} of {small[1]} lesions below 1 ml and {middle[0]} of {middle[1]} of "
        "1 to 10 ml in held-out simulated patients: expect to miss small lesions.",
        f"Over held-out simulated patients with at least 10 ml the volume was wrong by {low:+.0%} "
        f"to {high:+.0%} (95 % limits of agreement).",
    ]
    if "dwi_alone" in simulated:
        alone, both = simulated["dwi_alone"]["dice"], simulated["dice"]
        told.append(f"Without the ADC map their mean Dice was {alone:.2f} instead of {both:.2f}.")
    return told


def limits_on_real(real: dict[str, Any]) -> list[str]:
    """What a reader has to know of the real scans tried, in sentences."""
    if heads := real.get("false_ml_in_healthy_heads"):
        marked = ", ".join(f"{ml:.1f}" for ml in sorted(heads.values()))
        return [f"In {len(heads)} real heads without a lesion they marked {marked} ml."]
    if "dwi_and_adc" not in real:
        return []
    patients = real["dwi_and_adc"]["patients"].values()
    each = ", ".join(f"{one['dice']:.2f}" for one in patients)
    found, there = (sum(one["lesions_found"][k] for one in patients) for k in (0, 1))
    return [
        f"In {len(patients)} real patients with DWI and ADC their Dice was {each}; they touched "
        f"{found} of {there} lesions."
    ]


def draw_curves(events: Path, file: Path) -> None:
    """Draw the loss per batch and the Dice per epoch from the training's log."""
    found = EventAccumulator(str(events), size_guidance={"scalars": 0})
    found.Reload()
    figure = Figure(figsize=(8, 2.8), layout="constrained")
    loss, dice = figure.subplots(1, 2)
    batches: dict[int, float] = {}
    for point in found.Scalars("train_loss"):  # MONAI also writes epoch losses under this tag
        if point.step > max(batches, default=0):
            batches[point.step] = point.value
    middle = pd.Series(batches).rolling(31, min_periods=1).median()
    loss.plot(middle.index, middle, linewidth=0.8)
    for tag in ("train_dice", "val_dice"):
        points = found.Scalars(tag)
        dice.plot([p.step for p in points], [p.value for p in points], label=tag, linewidth=0.8)
    loss.set(xlabel="batch", ylabel="loss, median of 31 batches")
    dice.set(xlabel="epoch", ylabel="Dice", ylim=(0, 1))
    dice.legend(frameon=False)
    file.parent.mkdir(exist_ok=True)
    figure.savefig(file, dpi=90)


def main(what: str, *rest: str) -> None:
    """Run one step."""
    if what == "prepare":
        sources, *folders = (Path(folder) for folder in rest)
        prepare(folders[0], folders[1:], sources)
        return
    of, folder, *others = rest
    bundle, overlay = of.split(":")
    if what == "train":
        train(bundle, overlay, Path(folder), others)
    else:
        publish_run(bundle, overlay, Path(folder), *map(Path, others))


if __name__ == "__main__":
    main(*sys.argv[1:])
