"""Reproduce the shipped weights: simulate patients, train the narrow variants, publish them.

    python examples/train_weights.py data OUT MASKS...  # patients and manifests
    python examples/train_weights.py train agmr_net OUT [KEY=VALUE...]
    python examples/train_weights.py publish agmr_net TRIED
    python examples/train_weights.py prepare SOURCES ANATOMIES MASKS...  # for the next two
    python examples/train_weights.py train mscsa_default:whole_brain SOURCES [KEY=VALUE...]
    python examples/train_weights.py train mscsa_default:diffusion SOURCES [KEY=VALUE...]
    python examples/train_weights.py publish mscsa_default:whole_brain TRIED [RUN]
    python examples/train_weights.py publish mscsa_default:diffusion TRIED [RUN]

TRIED of the last two is the output of ``try_whole_brain.py``, of the others that of
``try_weights.py``; RUN is the folder of the training, by default the bundle's own. ``publish``
again after the published weights were tried on real scans tells what was found there.
``make weights`` runs all steps. MASKS are folders of real lesion masks in MNI space. A hash of its
name assigns a mask to training, validation or reporting, so the splits share no lesion shape.
"""

import datetime
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from monai.bundle import ConfigParser
from nibabel.affines import voxel_sizes
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from stroke_nets.datasets import manifest
from stroke_nets.runs.bundle_run import bundle_command, read_settings
from stroke_nets.scans.reader import open_scan
from stroke_nets.synthesis import Design, simulate
from stroke_nets.synthesis.t1w import prepare
from stroke_nets.training.publish import publish

BUNDLES = Path(__file__).parents[1] / "bundles"
SETS: dict[str, dict[str, Any]] = {  # number of patients, seed, and design
    "masks_t1w": {"subjects": 140, "seed": 1, "masks": "masks"},
    "drawn_t1w": {"subjects": 60, "seed": 2},
    "large_t1w": {"subjects": 40, "seed": 3, "masks": "masks_large"},
    "masks_random": {
        "subjects": 140,
        "seed": 4,
        "masks": "masks",
        "skull": False,
        "contrast": "random",
    },
    "report_t1w": {"subjects": 12, "seed": 5, "masks": "masks_report"},
}
MANIFESTS = {  # name -> sets, and the split of each of their parts
    "manifest": (("masks_t1w", "drawn_t1w", "large_t1w"), {"train": "train", "validate": "test"}),
    "random": (("masks_random",), {"train": "train", "validate": "test", "report": "test"}),
    "report": (("masks_t1w", "drawn_t1w", "report_t1w"), {"report": "test"}),
}
LARGE_ML = 25.0  # real chronic lesions are large, so some patients get such a mask
REAL = "real.json"  # what try_whole_brain.py found in real scans
VARIANTS = {"narrow": "manifest.json", "narrow_random": "random.json"}


def part(name: str) -> str:
    """The part to which the lesion of a mask's or patient's name belongs."""
    tenth = int(hashlib.sha256(name.encode()).hexdigest(), 16) % 10
    return "train" if tenth < 7 else "validate" if tenth < 8 else "report"


def ml(mask: Path) -> float:
    """The volume of a mask's lesion, in ml."""
    image = open_scan(mask)
    voxels = np.count_nonzero(np.asanyarray(image.dataobj) > 0)
    return float(voxels * voxel_sizes(image.affine).prod() / 1000)


def make_data(out: Path, folders: list[Path]) -> None:
    """Link the masks, simulate every set, and write the manifests over them."""
    for file in sorted(f for masks in folders for f in masks.glob("*.nii*")):
        wanted = {
            "masks": True,
            "masks_report": part(file.name) == "report",
            "masks_large": part(file.name) == "train" and ml(file) > LARGE_ML,
        }
        for folder in (name for name, here in wanted.items() if here):
            link = out / folder / file.name
            link.parent.mkdir(parents=True, exist_ok=True)
            if not link.is_symlink():
                link.symlink_to(file.resolve())
    for name, options in SETS.items():
        asked = dict(options)
        subjects, seed, masks = asked.pop("subjects"), asked.pop("seed"), asked.pop("masks", None)
        design = Design(masks=out / masks if masks else None, **asked)
        simulate(out / name, subjects, seed, workers=os.cpu_count() or 1, design=design)
    for name in MANIFESTS:
        write_manifest(out, name)


def write_manifest(out: Path, name: str) -> None:
    """Write one manifest over several simulated data sets; paths are relative to ``out``."""
    sets, splits = MANIFESTS[name]
    records = []
    for one in sets:
        content = manifest.content(out / one / manifest.MANIFEST)
        for record in content["records"]:
            subject = f"{record['subject']}{one.replace('_', '')}"
            split = splits.get(part(record.get("lesion_source", subject)))
            if split:
                files = {key: f"{one}/{record[key]}" for key in ("image", "label")}
                records.append(record | files | {"subject": subject, "split": split})
                del records[-1]["fold"]
    about = {"sets": {one: SETS[one] for one in sets}, "made_by": "examples/train_weights.py"}
    licence, file = content["licence"], out / f"{name}.json"
    manifest.write(file, name="weights", licence=licence, records=records, provenance=about)


def train(bundle: str, variant: str, out: Path, options: list[str]) -> None:
    """Run a bundle's training with its overlay."""
    overlays, where = ["whole_brain_train", variant], {"sources": out}
    if variant in VARIANTS:
        overlays, where = ["narrow"], {"dataset_dir": out, "manifest": out / VARIANTS[variant]}
        where |= {"overlay": variant, "cache_dir": out / ".cache"}
    command = bundle_command(BUNDLES / bundle, "train", overlays, where | read_settings(options))
    subprocess.run(command, check=True)


def publish_run(bundle: str, variant: str, tried: Path, run: Path | None = None) -> None:
    """Publish the best weights of a training, with what was measured of them.

    Args:
        bundle: its name.
        variant: the overlay of the training.
        tried: output folder of ``try_weights.py``, or of ``try_whole_brain.py`` for the overlays of
            the whole brain; of these, the threshold and minimum size go into the overlay.
        run: folder of the training; by default the bundle's own.
    """
    parser, folder = ConfigParser(), BUNDLES / bundle
    run = run or Path("runs") / bundle / variant / "fold0"
    is_narrow = variant in VARIANTS
    overlay = "narrow" if is_narrow else variant
    parser.read_config([folder / "configs" / f"{name}.yaml" for name in ("train", overlay)])
    files = {"dice_simulated": "simulated.json", "dice_real": "arc.json" if is_narrow else REAL}
    files = {name: tried / file for name, file in files.items()}
    found = {name: json.loads(f.read_text()) for name, f in files.items() if f.is_file()}
    sets = MANIFESTS[VARIANTS[variant].removesuffix(".json")][0] if is_narrow else ()
    about = {name: content.get(bundle, content)["dice"] for name, content in found.items()}
    if not is_narrow:
        simulated, real = found["dice_simulated"], found.get("dice_real")
        about["volume_ratio"] = simulated["volume_ratio"]
        about["limits"] = [*limits(simulated), *limits_on_real(real or {})]
        set_mask(folder / "configs" / f"{variant}.yaml", simulated)
    if "contrast" in parser.config:
        about["contrast"] = parser["contrast"]
    entry = publish(
        run / "checkpoints" / "best.pt",
        parser.get_parsed_content("network_def"),
        folder / "models",
        variant,
        trained_on=f"simulated patients: {' and '.join(sets)}" if sets else "simulated patients",
        date=datetime.date.today().isoformat(),
        **about,
    )
    draw_curves(run / "events", folder / "docs" / f"training_{variant}.png")
    if not is_narrow:
        shutil.copyfile(tried / "failures.png", folder / "docs" / f"failures_{variant}.png")
    if variant == "diffusion":
        card = folder / "docs" / "README.md"
        card.write_text(with_table(card.read_text(), diffusion_table(simulated, real)))
    print(f"published {entry['file']} of {bundle}")


def diffusion_table(simulated: dict[str, Any], real: dict[str, Any] | None) -> str:
    """What was measured of weights for diffusion, with the ADC map and without, in Markdown."""
    both, alone = simulated, simulated["dwi_alone"]
    healthy = len(both["false_ml_in_healthy"])

    def found(one: dict[str, Any]) -> str:
        return ", ".join(f"{hit} of {of}" for hit, of in reversed(one["lesions_found"].values()))

    def false_ml(one: dict[str, Any]) -> str:
        ml = one["false_ml_in_healthy"]
        return f"{np.median(ml):.1f}, {min(ml):.1f} to {max(ml):.1f}"

    def error(one: dict[str, Any]) -> str:
        volume = one["volume_error_10_ml_and_more"]
        low, high = volume["limits_of_agreement"]
        return f"{volume['median']:+.0%}; {low:+.0%} to {high:+.0%}"

    rows: dict[str, Callable[[dict[str, Any]], str]] = {
        f"{both['patients']} held-out simulated patients: mean Dice; with 10 ml and more": (
            lambda one: f"{one['dice']:.3f}; {one['dice_10_ml_and_more']:.3f}"
        ),
        "- found: 10 ml and more, 1 to 10 ml, below": found,
        "- false lesions a patient": lambda one: f"{one['false_lesions_a_patient']:.2f}",
        f"- false ml in {healthy} healthy brains: median, range": false_ml,
        "- volume error with 10 ml and more: median; 95 % limits of agreement": error,
    }
    lines = [
        f"Shipped: `models/diffusion.safetensors`. The threshold ({both['threshold']}) and the "
        f"smallest lesion ({both['minimum_ml']:g} ml) were",
        "chosen on 40 other held-out simulated patients, half of them without an ADC map. Curves: "
        "`training_diffusion.png`. The four worst",
        "held-out patients: `failures_diffusion.png`.",
        "",
        "| Measured | DWI and ADC | DWI alone |",
        "|---|---|---|",
    ]
    lines += [f"| {name} | {tell(both)} | {tell(alone)} |" for name, tell in rows.items()]
    if real:
        ways = [real[way] for way in ("dwi_and_adc", "dwi_alone")]
        cells = [f"{way['dice']:.3f}" for way in ways]
        lines.append(f"| ISLES 2022, mean Dice (goal 0.55) | {cells[0]} | {cells[1]} |")
        for name in ways[0]["patients"]:
            cells = [isles_cell(way["patients"][name]) for way in ways]
            lines.append(f"| - {name}: Dice; found ml; touched lesions | {' | '.join(cells)} |")
    return "\n".join(lines)


def isles_cell(one: dict[str, Any]) -> str:
    """What was found in one real patient."""
    hit, there = one["lesions_found"]
    volumes = f"{one['predicted_ml']:.1f} of {one['truth_ml']:.1f}"
    return f"{one['dice']:.2f}; {volumes}; {hit} of {there}, {one['false_lesions']} false"


def with_table(card: str, table: str) -> str:
    """A model card with another table between its marks."""
    begin, end = "<!-- measured: diffusion -->\n", "\n<!-- end -->"
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
        prepare(Path(rest[1]), [Path(folder) for folder in rest[2:]], Path(rest[0]))
        return
    if what == "data":
        make_data(Path(rest[0]), [Path(folder) for folder in rest[1:]])
        return
    bundle, _, variant = rest[0].partition(":")
    steps = {"train": lambda: train(bundle, variant or "narrow", Path(rest[1]), list(rest[2:]))}
    folders = [Path(folder) for folder in rest[1:]]
    steps |= {"publish": lambda: publish_run(bundle, variant or "narrow", *folders)}
    steps[what]()


if __name__ == "__main__":
    main(*sys.argv[1:])
