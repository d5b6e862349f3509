"""The ``stroke-nets`` command."""

import contextlib
import json
import os
import sys
from pathlib import Path
from typing import Annotated, Literal

import typer

from stroke_nets import __version__
from stroke_nets.errors import StrokeNetsError, UsageError

Contrast = Literal["t1w", "random"]
Space = Literal["native", "mni"]
Json = Annotated[bool, typer.Option("--json", help="Print JSON, for scripts.")]

app = typer.Typer(
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)


def main() -> None:
    """Run the command; errors that a user can fix are one line, not a traceback."""
    try:
        app()
    except StrokeNetsError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(error.exit_code) from None


def _print_version(wanted: bool) -> None:
    if wanted:
        print(__version__)
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Stroke-lesion segmentation in MRI. Research use only; not a medical device.

    Exit codes: 0 done, 2 usage, 3 problems in the data, 75 interrupted and resumable, 130 Ctrl-C.

    Example: stroke-nets predict sub-1_T1w.nii.gz predictions
    """


def _silence(quiet: bool) -> bool:
    """Take the progress bars away as well; typer calls this before any command loads tqdm."""
    if quiet:
        os.environ["TQDM_DISABLE"] = "1"
    return quiet


Trust = Annotated[
    bool, typer.Option("--trust", help="Run code from elsewhere; 'inspect' it before.")
]
Quiet = Annotated[
    bool, typer.Option("--quiet", callback=_silence, help="Nothing but warnings and errors.")
]


def _tell(text: str, content: object, as_json: bool, quiet: bool) -> None:
    """Say what a command did, for people or for scripts."""
    if as_json:
        print(json.dumps(content, indent=1, default=str))
    elif not quiet:
        print(text)


@app.command()
def predict(
    given: Annotated[Path, typer.Argument(metavar="INPUT", help="A scan, a folder, a BIDS tree.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: BIDS derivatives.")],
    method: Annotated[
        str | None, typer.Option(help="Bundles, as A,B: an ensemble. Default: with weights.")
    ] = None,
    checkpoint: Annotated[
        list[Path] | None, typer.Option(help="Of a training, in place of published weights.")
    ] = None,
    overlay: Annotated[
        str | None, typer.Option(help="Of the training; default: as published or run.")
    ] = None,
    fast: Annotated[bool, typer.Option("--fast", help="No flips, fewer patches.")] = False,
    tta: Annotated[bool, typer.Option("--tta", help="Flips averaged; gives uncertainty.")] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    space: Annotated[Space, typer.Option(help="Where the results lie.")] = "native",
    skip_registration: Annotated[
        bool, typer.Option("--skip-registration", help="The scans lie in MNI space already.")
    ] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Results that differ.")] = False,
    trust: Trust = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment the stroke lesions of T1w scans; masks come back on each scan's own grid.

    What is there already is kept. Of many scans, one that fails is listed (exit 3), the others are
    written.

    Example: stroke-nets predict sub-1_T1w.nii.gz predictions

    Example: stroke-nets predict BIDS derivatives/stroke-nets --method agmr_net,mscsa_default
    """
    from stroke_nets.monai_import import import_monai

    import_monai()
    from stroke_nets.inference.pipeline import predict as segment

    summary = segment(
        given,
        out,
        method=method,
        checkpoint=checkpoint or (),
        overlay=overlay,
        device=device,
        quiet=quiet or as_json,
        trust=trust,
        fast=fast,
        tta=tta,
        space=space,
        skip_registration=skip_registration,
        overwrite=overwrite,
    )
    lines = []
    for case in summary["cases"]:
        name, found = f"{case['subject']} {case['method']}", f"{case['lesions']} lesions"
        lines.append(f"{name}: {found}, {case['total_ml']:.2f} ml")
        for warning in case["warnings"]:
            print(f"{name}: warning: {warning}", file=sys.stderr)
    _tell("\n".join([*lines, f"wrote {out}; {summary['notice']}"]), summary, as_json, quiet)


@app.command()
def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Look whether everything is in place: versions, device, memory, weights, seconds per scan.

    Exit code 3 if something is wrong; each problem is listed with its fix.

    Example: stroke-nets doctor
    """
    from stroke_nets.doctor import as_text, examine

    findings = examine()
    problems = [one for one in findings if one.problem]
    _tell(as_text(findings), [one.as_json() for one in findings], as_json, quiet and not problems)
    raise typer.Exit(3 if problems else 0)


@app.command()
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write, as BIDS.")],
    subjects: Annotated[int, typer.Option(help="Number of patients.")] = 20,
    seed: Annotated[int, typer.Option(help="Same seed, same patients.")] = 0,
    workers: Annotated[int, typer.Option(help="Processes.")] = 2,
    folds: Annotated[int, typer.Option(help="Size-balanced folds in the manifest.")] = 5,
    plain: Annotated[bool, typer.Option("--plain", help="Easy to learn; no skull.")] = False,
    skull: Annotated[bool, typer.Option(help="Dura, skull and scalp around the brain.")] = True,
    contrast: Annotated[Contrast, typer.Option(help="Intensities of the tissues.")] = "t1w",
    masks: Annotated[Path | None, typer.Option(help="Folder of real lesion masks, MNI.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write simulated stroke patients with masks and a manifest; no download.

    Example: stroke-nets simulate data/simulated --subjects 20 --seed 0
    """
    from stroke_nets.synthesis import Design
    from stroke_nets.synthesis import simulate as write_patients

    design = Design(plain=plain, skull=skull, contrast=contrast, masks=masks)
    path = write_patients(out, subjects, seed, workers, folds, design)
    _tell(f"wrote {path}", {"manifest": path}, as_json, quiet)


@app.command()
def normalize(
    paths: Annotated[list[Path], typer.Argument(help="T1 OUT_DIR; with --back: the mask OUT.")],
    deformable: Annotated[bool, typer.Option("--deformable", help="Splines as well.")] = False,
    back: Annotated[Path | None, typer.Option(help="Mask on the MNI grid to return.")] = None,
    transform: Annotated[Path | None, typer.Option(help="With --back: a .json from here.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring a T1w scan with skull to the MNI grid of ATLAS v2.0, or a mask back to the scan.

    Example: stroke-nets normalize sub-1_T1w.nii.gz mni

    Example: stroke-nets normalize --back pred.nii.gz --transform mni/sub-1_..._transform.json OUT
    """
    if (back is None) != (transform is None) or len(paths) != (2 if back is None else 1):
        raise UsageError("normalize: give T1 OUT_DIR, or --back MASK --transform T OUT")
    from stroke_nets.registration.pipeline import bring_back
    from stroke_nets.registration.pipeline import normalize as bring

    if back is not None and transform is not None:
        bring_back(back, transform, paths[0])
        _tell(f"wrote {paths[0]}", {"mask": paths[0]}, as_json, quiet)
    else:
        files = bring(paths[0], paths[1], deformable)
        text = f"wrote {files.image}\nwrote {files.transform}\nlook at {files.picture}"
        written = {name: getattr(files, name) for name in ("image", "transform", "picture")}
        _tell(text, written, as_json, quiet)


@app.command()
def manifest(
    root: Annotated[Path, typer.Argument(help="Data root; paths are relative to it.")],
    image: Annotated[str, typer.Option(help="Glob of the scans.")],
    label: Annotated[str, typer.Option(help="Ending of a mask, in place of its scan's.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="The manifest to write.")],
    folds: Annotated[int, typer.Option(help="Size-balanced, grouped by subject; 0: none.")] = 5,
    seed: Annotated[int, typer.Option(help="Seed of the folds.")] = 0,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the manifest of scans and masks that lie in a folder.

    Example: stroke-nets manifest DATA --image '**/*_T1w.nii.gz' --label '_mask.nii.gz' -o m.json
    """
    from stroke_nets.datasets.manifest import from_folder

    count = from_folder(root, image=image, label=label, out=out, folds=folds or None, seed=seed)
    _tell(f"wrote {out}: {count} cases", {"manifest": out, "cases": count}, as_json, quiet)


@app.command()
def folds(
    manifest: Annotated[Path, typer.Argument(help="The manifest to deal into folds.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="The manifest to write.")] = None,
    in_place: Annotated[bool, typer.Option("--in-place", help="Replace the manifest.")] = False,
    count: Annotated[int, typer.Option("--folds", help="Size-balanced, by subject.")] = 5,
    seed: Annotated[int, typer.Option(help="Same seed, same folds.")] = 0,
    published: Annotated[
        Path | None,
        typer.Option(help="Authors' list (.pkl, .json, .csv) to take over; nothing is dealt."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Deal the subjects of a manifest into folds, or take over published ones.

    Example: stroke-nets folds DATA/manifest.json --seed 1 --out DATA/seed1.json
    """
    if in_place == (out is not None):
        raise UsageError(f"{manifest}: give either --out FILE or --in-place")
    if out is not None and out.exists():
        raise UsageError(f"--out {out}: is there already; give another name, or --in-place")
    if out is not None and not out.parent.is_dir():
        raise UsageError(f"--out {out}: its folder is missing; make it first")
    from stroke_nets.datasets.manifest import refold

    sizes = refold(manifest, out or manifest, folds=count, seed=seed, published=published)
    text = f"wrote {out or manifest}: folds of {', '.join(map(str, sizes))} subjects"
    _tell(text, {"manifest": out or manifest, "subjects": sizes}, as_json, quiet)


@app.command("pseudo-label")
def pseudo_label(
    dataset_dir: Annotated[Path, typer.Argument(help="Data root, with its manifest.")],
    run: Annotated[list[Path], typer.Option(help="Run folder of a training; give several.")],
    image: Annotated[
        str | None, typer.Option(help="Glob of scans without masks; default: the manifest's.")
    ] = None,
    fold: Annotated[int | None, typer.Option(help="The fold that will train on them.")] = None,
    published: Annotated[
        bool, typer.Option("--published", help="One set for all folds, by any run: it leaks.")
    ] = False,
    manifest: Annotated[Path | None, typer.Option(help="Of the labelled scans.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    trust: Trust = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Label scans without masks by trained networks, for self-training.

    Example: stroke-nets pseudo-label DATA --fold 0 --run runs/BUNDLE/default/fold0
    """
    if published == (fold is not None):
        raise UsageError("pseudo-label: give either --fold K or --published")
    if not dataset_dir.is_dir():
        raise UsageError(f"{dataset_dir}: no such folder; give the data root")
    from stroke_nets.inference import pseudo_label as engine

    path = engine.pseudo_label(
        dataset_dir, run, fold=fold, image=image, source=manifest, device=device, trust=trust
    )
    _tell(f"wrote {path}", {"manifest": path}, as_json, quiet)


@app.command()
def evaluate(
    predictions: Annotated[Path, typer.Argument(help="Folder of masks, or a run folder.")],
    truth: Annotated[Path, typer.Argument(help="Folder of masks, or a manifest beside its data.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    part: Annotated[str, typer.Option(help="Of a manifest: heldout, train or all.")] = "all",
    fold: Annotated[int, typer.Option(help="Of a manifest: the held-out fold.")] = 0,
    policy: Annotated[str, typer.Option(help="Distances to an empty mask: paper, penalty.")] = (
        "paper"
    ),
    connectivity: Annotated[int, typer.Option(help="Of a lesion's voxels: 6, 18, 26.")] = 6,
    workers: Annotated[int, typer.Option(help="Processes, where there are many cases.")] = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Compare masks with the truth: cases.csv, summary.json.

    A prediction is named as its truth, or as its scan with _pred before the ending. Any that is
    missing, misplaced, damaged or on another grid is listed, and nothing is written (exit 3).

    Example: stroke-nets evaluate masks DATA/manifest.json -o evaluation
    """
    from stroke_nets.evaluation.evaluate import evaluate_folder

    with contextlib.redirect_stdout(None if as_json or quiet else sys.stdout):
        evaluate_folder(
            predictions,
            truth,
            out,
            part=part,
            fold=fold,
            policy=policy,
            connectivity=connectivity,
            workers=workers,
        )
    if as_json:
        print((out / "summary.json").read_text(), end="")


@app.command()
def prepare(
    dataset: Annotated[
        str, typer.Argument(help="atlas_r12, atlas_v20, isles2015, isles2022 or arc.")
    ],
    source: Annotated[Path, typer.Argument(help="The folder that was unpacked; only read.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: links, masks, the manifest.")],
    published: Annotated[
        Path | None, typer.Option(help="Authors' list of folds (.pkl, .json, .csv) to take over.")
    ] = None,
    workers: Annotated[int, typer.Option(help="Cases at once.", min=1)] = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring a downloaded data set into the form that training reads; a stopped run goes on.

    Example: stroke-nets prepare atlas_v20 ATLAS_2 data/atlas_v20
    """
    from stroke_nets.datasets.prepare import prepare as bring

    done = bring(dataset, source, out, workers, published)
    lines, path = list(done.summary()), out / "manifest.json"
    content = {"manifest": path, "cases": len(done.records), "left_out": done.left_out}
    _tell("\n".join([*lines, f"wrote {path}"]), content | {"summary": lines}, as_json, quiet)


@app.command()
def check(
    path: Annotated[Path, typer.Argument(help="A scan, a folder, a BIDS tree or a manifest.")],
    root: Annotated[Path | None, typer.Option(help="A manifest's data root.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
    bids: Annotated[bool, typer.Option("--bids", help="PATH must be a BIDS tree.")] = False,
    lesion_free: Annotated[bool, typer.Option(help="Empty masks are meant.")] = False,
    orientation: Annotated[str | None, typer.Option(help="Of files that give none: RAS.")] = None,
    phi: Annotated[bool, typer.Option("--phi", help="Look for personal data as well.")] = False,
    workers: Annotated[int, typer.Option(help="Files read at once.", min=1)] = 2,
) -> None:
    """List everything that makes scans, masks or a manifest unfit for use.

    Rows: F files, G geometry, L intensities and labels, D data sets; with --phi P personal data.

    Example: stroke-nets check DATA
    """
    from stroke_nets.scans.check import Rules, as_table
    from stroke_nets.scans.check import check as find

    rules = Rules(empty_masks=lesion_free, orientation=orientation)
    findings = find(path, root=root, bids=bids, rules=rules, workers=workers)
    if phi:
        from stroke_nets.scans.phi import find_personal

        findings += find_personal(root or (path.parent if path.suffix == ".json" else path))
    problems = [f for f in findings if not f.notice]
    lines = [*([as_table(findings)] if findings else []), f"{len(problems)} problems"]
    content = [f.as_json() for f in findings]
    _tell("\n".join(lines), content, as_json, quiet and not problems)
    raise typer.Exit(3 if problems else 0)


@app.command()
def report(
    run: Annotated[Path, typer.Argument(help="Run folder, after evaluation.")],
    dataset_dir: Annotated[Path, typer.Option(help="Data root that was evaluated.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write report.html into a run folder and print the held-out Dice.

    Example: stroke-nets report runs/agmr_net/demo/fold0 --dataset-dir data/simulated
    """
    if not dataset_dir.is_dir():
        raise UsageError(f"--dataset-dir {dataset_dir}: no such folder; give the data root")
    from stroke_nets.pages.run_report import write_report

    page = write_report(run, dataset_dir)
    summary = json.loads((run / "summary.json").read_text())
    large = summary["dice_above_1ml"]
    lines = [f"wrote {page}"]
    if large["mean"] is not None:
        lines.append(f"mean held-out Dice on {large['n']} lesions above 1 ml: {large['mean']:.3f}")
    _tell("\n".join(lines), {"report": page, "dice_above_1ml": large}, as_json, quiet)


@app.command()
def tables(
    names: Annotated[list[str] | None, typer.Argument(help="Tables; default: all.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path(
        "tables"
    ),
    policy: Annotated[str, typer.Option(help="Distances to an empty mask: paper, penalty.")] = (
        "paper"
    ),
    note: Annotated[str, typer.Option(help="A line above each table.")] = "",
) -> None:
    """Write the papers' tables, ours beside theirs, as Markdown, LaTeX and CSV.

    Example: stroke-nets tables agmr_table03 mscsa_table1_small --runs runs --out tables
    """
    if not runs.is_dir():
        raise UsageError(f"--runs {runs}: no such folder; give the folder of all runs")
    from stroke_nets.papers.table_files import write_table
    from stroke_nets.papers.tables import build_table, published

    for name, content in published(names or ()).items():
        table = build_table(name, content, runs, policy)
        done = sum(bool(row.folds) for row in table.rows)
        page, *_ = write_table(table, out, content["folds"], note)
        print(f"wrote {page}, .tex and .csv: {done} of {len(table.rows)} rows run")


@app.command()
def figures(
    names: Annotated[list[str] | None, typer.Argument(help="Figures; default: all.")] = None,
    runs: Annotated[Path, typer.Option(help="Folder of all runs.")] = Path("runs"),
    dataset_dir: Annotated[
        Path | None, typer.Option(help="Data root, for figures that show scans.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")] = Path(
        "figures"
    ),
    case: Annotated[list[str] | None, typer.Option(help="Subject to show; repeatable.")] = None,
    note: Annotated[str, typer.Option(help="A line above each figure.")] = "",
) -> None:
    """Draw the papers' figures as PNG and SVG; those that cannot be drawn yet are named.

    Example: stroke-nets figures agmr_figure07 --dataset-dir DATA --out figures
    """
    from stroke_nets.papers.figure_style import Source
    from stroke_nets.papers.figures import published_figures, write_figure

    source, drawn = Source(runs, dataset_dir, case or (), note), False
    for name, content in published_figures(names or ()).items():
        try:
            print(f"wrote {write_figure(name, content, source, out)[0]} and .svg")
            drawn = True
        except UsageError as error:
            print(f"not drawn: {name}: {error}")
    if not drawn:
        raise UsageError(f"--runs {runs}: no figure could be drawn; see the lines above")


@app.command()
def reproduce(
    table: Annotated[str, typer.Argument(help="agmr_table02 ... mscsa_table1_small, or all.")],
    scale: Annotated[str, typer.Option(help="demo: simulated and tiny; full: the papers'.")] = (
        "demo"
    ),
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of tables and figures.")] = Path(
        "tables"
    ),
    executor: Annotated[str, typer.Option(help="local or slurm (tried as a dry run only).")] = (
        "local"
    ),
    parallel: Annotated[int, typer.Option("--parallel", "-j", help="Runs at once.", min=1)] = 2,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped grid.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Print every command.")] = False,
    bundles: Annotated[Path, typer.Option(help="Folder of all bundles.")] = Path("bundles"),
    runs: Annotated[Path | None, typer.Option(help="Folder of all runs.")] = None,
    dataset: Annotated[
        list[str] | None, typer.Option(help="NAME=FOLDER: atlas_r12, isles2015, atlas_v20.")
    ] = None,
    slurm: Annotated[
        list[str] | None, typer.Option(help="A resource of each Slurm job, such as gpu=1.")
    ] = None,
    snakemake: Annotated[Path | None, typer.Option(help="The program, if elsewhere.")] = None,
    self_training: Annotated[
        str, typer.Option(help="Who makes the pseudo labels: paper, code or leak-free.")
    ] = "paper",
    trust: Trust = False,
) -> None:
    """Run every training that a table needs, go on after failures, and write it with its figures.

    What is done is skipped. Needs 'make reproduce-env' once. With failed runs, exit code 3.

    Example: stroke-nets reproduce agmr_table06 --scale demo --out tables
    """
    from stroke_nets.papers import reproduce as grid
    from stroke_nets.papers.snakemake import How

    where = grid.places(scale, bundles, runs, dataset or (), trust, self_training)
    how = How(executor, parallel, resume, slurm or ("gpu=1",), snakemake)
    grid.reproduce(grid.Request(grid.table_names(table), where, how, out), dry_run)


@app.command()
def label(
    studies: Annotated[str, typer.Option(help="Folder of NIfTI files, or a DICOMweb URL.")],
    bundles: Annotated[str, typer.Option(help="Names, a,b; default: all with weights.")] = "",
    weights: Annotated[
        list[str] | None, typer.Option(help="BUNDLE=FILE; default: the published.")
    ] = None,
    overlay: Annotated[str | None, typer.Option(help="What the weights were trained with.")] = None,
    random_weights: Annotated[bool, typer.Option("--random-weights", help="For tests.")] = False,
    folder: Annotated[Path, typer.Option("--app", help="App folder to make or go on with.")] = Path(
        "runs/label"
    ),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on.", min=1, max=65535)] = 8000,
    public: Annotated[bool, typer.Option("--public", help="Others may reach it.")] = False,
    python: Annotated[Path | None, typer.Option(help="MONAI Label's, if elsewhere.")] = None,
) -> None:
    """Serve bundles to 3D Slicer and OHIF by MONAI Label, on this machine only.

    Needs 'make label-env' once. Trainings there write into the app folder.

    Example: stroke-nets label --studies DATA --bundles agmr_net
    """
    from stroke_nets.monai_label.server import Server, serve

    files = dict(text.partition("=")[::2] for text in weights or ())
    if not all(files.values()):
        raise UsageError(f"--weights {' '.join(weights or ())}: give BUNDLE=FILE")
    serve(
        Server(
            studies=studies,
            app=folder,
            bundles=[name for name in bundles.split(",") if name],
            weights={name: Path(file) for name, file in files.items()},
            overlay=overlay,
            random_weights=random_weights,
            host=host,
            port=port,
            public=public,
            python=python,
        )
    )


@app.command()
def inspect(
    bundle: Annotated[str, typer.Argument(help="Name of a bundle, a folder or a zip.")],
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List every expression and class that a bundle would run; run none. Findings: exit 3.

    outside: neither this package's nor MONAI's nor PyTorch's. DANGER: could run anything.
    DAMAGED: not the file that SHA256SUMS or models/weights.json lists.

    Example: stroke-nets inspect DOWNLOADED_BUNDLE
    """
    from stroke_nets.inspection import bundle as inspection

    items = inspection.inspect_bundle(bundle)
    found = inspection.findings(items)
    if as_json:
        print(json.dumps(inspection.as_json(items), indent=1))
    else:
        print(inspection.as_table(items), f"{len(found)} findings", sep="\n")
    raise typer.Exit(3 if found else 0)


@app.command()
def pack(
    bundle: Annotated[str, typer.Argument(help="Name of the bundle.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder to write into.")],
    weights: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint; default: the published one. An ensemble: each member's."),
    ] = None,
    overlay: Annotated[str | None, typer.Option(help="The overlay it was trained with.")] = None,
) -> None:
    """Write a bundle with its weights as one zip for MONAI and MONAI Label, and as a folder.

    Equal input gives equal bytes. The zip lists the SHA-256 of every file in it.

    Example: stroke-nets pack BUNDLE --weights runs/BUNDLE/default/fold0/checkpoints/last.pt -o dist
    """
    from stroke_nets.packing.pack import pack as write

    packed = write(bundle, out, weights or (), overlay)
    print(f"wrote {packed.folder}\nwrote {packed.archive}\nsha256 {packed.sha256}")


@app.command()
def unpack(
    archive: Annotated[Path, typer.Argument(help="A zip that pack wrote.")],
    out: Annotated[Path, typer.Argument(help="Gets the bundle's folder.")],
    sha256: Annotated[str | None, typer.Option(help="Of the zip, as published.")] = None,
) -> None:
    """Write a packed bundle's folder, if every file in it is what its list says.

    Example: stroke-nets unpack dist/BUNDLE_v0.1.0.zip bundles
    """
    from stroke_nets.packing.archive import unpack as write

    print(f"wrote {write(archive, out, sha256)}")
