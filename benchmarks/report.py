"""Write docs/performance.md and its plot from results/*.json.

python benchmarks/report.py           # write
python benchmarks/report.py --check   # exit 3 if the page does not match the results
"""

import argparse
import json
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
PAGE = HERE.parent / "docs" / "performance.md"
PLOT = PAGE.with_name("performance_scaling.png")
ORDER = [
    "predict_one",
    "predict_many",
    "predict_cpu_bfloat16",
    "predict_cpu",
    "agreement_scans",
    "agreement",
    "gpu",
    "bench_steps",
    "bench_waiting",
    "data_path",
    "startup",
    "web",
    "metrics",
    "evaluate",
]
GPU_GOALS = {  # with the names in `gpu.py`
    "training step, U-Net, nnU-Net v2 (AMP, compile)": 1.3,
    "training step, U-Net + MSCSA, nnU-Net v2 (AMP, compile)": 1.3,
    "training step, U-Net + MSCSA, our U-Net": 1 / 1.08,
    "volume with 8 flips, U-Net, nnU-Net v2's predictor": 1.5,
    "training step, AGMR-Net, eager float32": 2.0,
}
BUSY = "the machine was shared with other work and the time ran out."
UNMEASURED = {  # command, why, goals
    "gpu": (
        "gpu.py",
        "no CUDA here. Narrow networks on a CPU only try the program (`--tiny`).",
        GPU_GOALS,
    ),
    "predict_one": (
        "predict_scan.py one SCAN --old OLD --old-python PYTHON",
        f"{BUSY} Ours alone, on the real ARC head (160 x 256 x 256), cold process, one thread, one "
        "round: 22.5 processor seconds and 1,011 MiB; 28.3 s and 1,182 MiB in the first run on a "
        "machine, which compiles the network. Its packages beyond PyTorch and MONAI take 474 MB "
        "(SciPy 143, pandas 81, scikit-learn 49, Matplotlib 36), where 100 was the goal; those of "
        "the earlier build 2,101 MB.",
        {
            "one scan: processor seconds, the build at 83b0283": 6.0,
            "one scan: memory, the build at 83b0283": 2.0,
            "installed beyond PyTorch and MONAI, limit of 100 MB": 1.0,
        },
    ),
    "predict_many": (
        "predict_scan.py many SCAN --copies 40",
        BUSY,
        {
            "40 scans in one command, one at a time: scans a processor hour": 1.5,
            "memory of 40 scans, of 10 scans": 0.95,
        },
    ),
    "predict_cpu_bfloat16": (
        "predict_cpu.py --threads 1 --result predict_cpu_bfloat16",
        f"{BUSY} Two tiles of the U-Net in one run and one round, on a processor with AVX512_BF16: "
        "4.46 processor seconds by OpenVINO in bfloat16, 21.5 by nnU-Net v2's predictor, a ratio "
        "of 4.8: the goal of 8 would be missed. Quantisation to 8 bits was not tried.",
        {
            "unet, nnU-Net v2's predictor, cpu_s": 8.0,
            "unet_mscsa, nnU-Net v2's predictor, cpu_s": 8.0,
            "agmr_net, eager float32, cpu_s": 8.0,
        },
    ),
    "agreement_scans": ("agreement_scans.py SCAN", BUSY, {}),
}
AXES = {
    "slices": "slices of a volume",
    "voxels": "side of a volume in voxels",
    "batch": "slices at once",
    "workers": "loader's workers",
    "processes": "training processes",
}
VERDICTS = {True: "reached", False: "**not reached**", None: ""}
HEAD = """# Performance

Written by `python benchmarks/report.py` from `benchmarks/results/*.json`; each part names the
command that measured it. In every line a larger ratio is better for us, and a goal is reached where
the ratio is no smaller; a dash stands where none was set. *clock* is seconds that passed, *cpu* the
processor's seconds of all threads, which other work on the machine does not touch; the load says
how much there was.
"""


def result(name: str) -> dict[str, Any] | None:
    """A result file, or None."""
    file = HERE / "results" / f"{name}.json"
    return json.loads(file.read_text()) if file.is_file() else None


def reached(row: dict[str, Any]) -> bool | None:
    """Whether a comparison reaches its goal; None if it has none."""
    return None if row["goal"] is None else bool(row["ratio"] >= row["goal"])


def section(name: str, found: dict[str, Any] | None) -> str:
    """One benchmark: its command, its machine and its table."""
    head = ["| What, beside what | ours | peer | ratio | goal | |", "|---|---|---|---|---|---|"]
    if found is None:
        command, why, goals = UNMEASURED[name]
        rows = [f"| {w} | - | - | - | {goal:.3g} | **not measured** |" for w, goal in goals.items()]
        told = f"`python benchmarks/{command}` has not been run to its end: {why}"
        return f"## {name}\n\n{told}\n" + "\n".join(["", *head, *rows, ""])
    machine = found["machine"]
    load = machine.get("load_average")
    where = f"{machine['cpu']}, {machine['cores']} cores" + (f", load {load[0]}" if load else "")
    made = f"`{found.get('command', f'python benchmarks/{name}.py')}` on {where}."
    if found.get("precision"):
        made += f" Backend {found['backend']}, {found['precision']}."
    rows = head
    for what, row in found["comparisons"].items():
        unit = f" {row.get('unit', 's')}".rstrip()
        goal = "-" if row["goal"] is None else f"{row['goal']:.4g}"
        verdict = VERDICTS[reached(row)]
        figures = f"{row['ours']:.4g}{unit} | {row['peer']:.4g}{unit} | {row['ratio']:.3g}"
        rows.append(f"| {what} | {figures} | {goal} | {verdict} |")
    notes = dict.fromkeys(
        row["note"]
        for row in found["comparisons"].values()
        if row.get("note") and reached(row) is False
    )
    tried = "".join(f"\nNot reached: {note}\n" for note in notes)
    return f"## {name}\n\n{made}\n\n" + "\n".join(rows) + f"\n{tried}"


def scaling(found: dict[str, Any]) -> str:
    """The scaling table."""
    machine = found["machine"]
    rows = ["| | at | clock, s | cpu, s | memory, MiB |", "|---|---|---|---|---|"]
    for kind, points in found["points"].items():
        for p in points:
            rows.append(
                f"| {AXES[kind]} | {p['at']} | {p['clock_s']} | {p['cpu_s']} | {p['mib']} |"
            )
    made = f"`{found['command']}` on {machine['cpu']}, load {machine['load_average'][0]}."
    made += " Memory is what the work took on top; for workers and processes, the largest process."
    picture = f"![Time and memory]({PLOT.name})"
    return f"## scaling\n\n{made}\n\n" + "\n".join(rows) + f"\n\n{picture}\n"


def page() -> str:
    """The whole page."""
    parts = [HEAD, *(section(name, result(name)) for name in ORDER)]
    if grown := result("scaling"):
        parts.append(scaling(grown))
    return "\n".join(parts)


def draw(found: dict[str, Any]) -> None:
    """Plot time and memory against each scaled quantity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 2.6), layout="constrained")
    axes = figure.subplots(1, len(found["points"]), squeeze=False)[0]
    for axis, (kind, points) in zip(axes, found["points"].items(), strict=True):
        at = [p["at"] for p in points]
        axis.set(xlabel=AXES[kind], xticks=at)
        drawn = ((axis, "clock_s", "seconds", "o-"), (axis.twinx(), "mib", "MiB", "s--"))
        for (side, key, unit, marks), colour in zip(drawn, ("#0072b2", "#d55e00"), strict=True):
            values = [p[key] for p in points]
            side.plot(at, values, marks, color=colour)
            side.set_ylim(0, 1.1 * max(values))
            side.set_ylabel(unit, color=colour)
    figure.savefig(PLOT, dpi=110)


def main() -> int:
    """Write or check the page; return 0, or 3 if it differs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    if parser.parse_args().check:
        same = PAGE.is_file() and PAGE.read_text() == page()
        print("" if same else f"{PAGE}: differs; run python benchmarks/report.py", end="")
        return 0 if same else 3
    PAGE.write_text(page())
    if grown := result("scaling"):
        draw(grown)
    print(f"wrote {PAGE}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
