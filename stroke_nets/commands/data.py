"""Commands that make, describe and check data sets."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from stroke_nets.commands.app import (
    Folds,
    Json,
    OldOut,
    Out,
    Overwrite,
    Panel,
    Quiet,
    Segment,
    app,
    chosen_out,
    tell,
)
from stroke_nets.errors import UsageError

if TYPE_CHECKING:
    from stroke_nets.scans.check import Look

PANEL: Panel = "Data"
Contrast = Literal["t1w", "random"]
DataSet = Literal["atlas_r12", "atlas_v20", "isles2015", "isles2022", "arc"]
Workers = Annotated[int, typer.Option(help="Number of files or cases read at once.", min=1)]
Published = Annotated[
    Path | None,
    typer.Option(help="Take the folds from the authors' list (.pkl, .json or .csv)."),
]
SkipRegistration = Annotated[
    bool,
    typer.Option(
        "--skip-registration",
        help="Do not look for another contrast than T1w and missing skulls (some 3 s per scan).",
    ),
]
Seed = Annotated[int, typer.Option(help="Random seed; the same seed gives the same result.")]


@app.command(rich_help_panel=PANEL)
def prepare(
    dataset: Annotated[DataSet, typer.Argument(help="Which data set it is.")],
    source: Annotated[
        Path, typer.Argument(help="The folder of the unpacked download; it is only read.")
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write: links, masks and the manifest.")],
    published: Published = None,
    workers: Workers = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Turn a downloaded data set into the form that training reads.

    After an interruption, give the same command again to continue.

    Example: stroke-nets prepare atlas_v20 ATLAS_2 data/atlas_v20
    """
    from stroke_nets.datasets.prepare import prepare as convert

    done = convert(dataset, source, out, workers, published)
    lines, path = list(done.summary()), out / "manifest.json"
    content = {"manifest": path, "cases": len(done.records), "left_out": done.left_out}
    tell("\n".join([*lines, f"wrote {path}"]), content | {"summary": lines}, as_json, quiet)


@app.command("from-dicom", rich_help_panel=PANEL)
def from_dicom(
    series: Annotated[Path, typer.Argument(help="Folder or zip of DICOM; it is only read.")],
    out: Annotated[Path, typer.Argument(help="Scan to write, *.nii.gz.")],
    overwrite: Overwrite = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Convert a DICOM series to a scan; a series with missing slices is refused (exit code 3).

    Of several series the T1w is taken, by its description. Nothing of the patient but the voxels
    and their place is in the scan. Needs the extra [dicom].

    Example: stroke-nets from-dicom DICOM/series3 sub-1_T1w.nii.gz
    """
    from stroke_nets.scans.dicom import from_dicom as convert

    path = convert(series, out, overwrite)
    tell(f"wrote {path}", {"scan": path}, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def manifest(
    root: Annotated[Path, typer.Argument(help="Data root; paths in the manifest start there.")],
    out: Out = None,
    *,
    image: Annotated[str, typer.Option(help="Glob pattern of the scans below the root.")],
    label: Annotated[
        str,
        typer.Option(
            help="Ending of a mask's name, which replaces its scan's ending; or, with *, the path "
            "of the mask, such as 'labelsTr/*.nii.gz'."
        ),
    ],
    folds: Annotated[
        int, typer.Option(help="Number of folds with similar lesion sizes, by subject; 0: none.")
    ] = 5,
    seed: Seed = 0,
    skip_registration: SkipRegistration = False,
    old_out: OldOut = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write the manifest of a folder's scans and masks, which are checked first.

    Example: stroke-nets manifest DATA m.json --image '**/*_T1w.nii.gz' --label _mask.nii.gz
    """
    from stroke_nets.datasets.from_folder import from_folder

    path = chosen_out(out, old_out)
    count = from_folder(
        root,
        image=image,
        label=label,
        out=path,
        folds=folds or None,
        seed=seed,
        look=_look(skip_registration),
    )
    tell(f"wrote {path}: {count} cases", {"manifest": path, "cases": count}, as_json, quiet)


def _look(skipped: bool) -> "Look | None":
    """What looks at the contrast and the skull of scans."""
    if skipped:
        return None
    from stroke_nets.monai_import import import_monai

    import_monai()
    from stroke_nets.registration.appearance import appearance

    return appearance


@app.command(rich_help_panel=PANEL)
def folds(
    manifest: Annotated[Path, typer.Argument(help="The manifest whose subjects are split.")],
    out: Out = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Replace the manifest instead of writing OUT.")
    ] = False,
    count: Folds = 5,
    seed: Seed = 0,
    published: Published = None,
    old_out: OldOut = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Split the subjects of a manifest into folds, or take over published folds.

    Example: stroke-nets folds DATA/manifest.json DATA/seed1.json --seed 1
    """
    path = manifest if in_place and not (out or old_out) else _new_file(out, old_out, in_place)
    from stroke_nets.datasets.manifest import refold

    sizes = refold(manifest, path, folds=count, seed=seed, published=published)
    text = f"wrote {path}: folds of {', '.join(map(str, sizes))} subjects"
    tell(text, {"manifest": path, "subjects": sizes}, as_json, quiet)


def _new_file(out: Path | None, old: Path | None, in_place: bool) -> Path:
    """The file to write, which must not exist yet."""
    if in_place or not (out or old):
        raise UsageError("folds: give either OUT, a new manifest to write, or --in-place")
    path = chosen_out(out, old)
    if path.exists():
        raise UsageError(f"OUT {path}: exists already; give another name, or --in-place")
    if not path.parent.is_dir():
        raise UsageError(f"OUT {path}: its folder is missing; create it first")
    return path


@app.command(rich_help_panel=PANEL)
def check(
    path: Annotated[Path, typer.Argument(help="A scan, a folder, a BIDS tree or a manifest.")],
    root: Annotated[
        Path | None,
        typer.Option(help="Data root of a manifest. Default: the folder the manifest is in."),
    ] = None,
    bids: Annotated[
        bool, typer.Option("--bids", help="Report it if PATH is not a BIDS tree.")
    ] = False,
    lesion_free: Annotated[
        bool, typer.Option("--lesion-free", help="Accept masks without any lesion.")
    ] = False,
    orientation: Annotated[
        str | None,
        typer.Option(help="Axis codes, such as RAS, for files that do not store them."),
    ] = None,
    segment: Segment = None,
    phi: Annotated[
        bool, typer.Option("--phi", help="Also look for personally identifying data.")
    ] = False,
    skip_registration: SkipRegistration = False,
    workers: Workers = 2,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List everything that makes scans, masks or a manifest unfit for use.

    Rows of the list: F files, G geometry, L intensities and labels, D data sets; with --phi also
    P personal data. With problems, the exit code is 3.

    Example: stroke-nets check DATA
    """
    from stroke_nets.scans.check import Rules, as_table
    from stroke_nets.scans.check import check as find

    rules = Rules(
        empty_masks=lesion_free,
        orientation=orientation,
        segment=segment,
        look=_look(skip_registration),
    )
    findings = find(path, root=root, bids=bids, rules=rules, workers=workers)
    if phi:
        from stroke_nets.scans.phi import find_personal

        findings += find_personal(root or (path.parent if path.suffix == ".json" else path))
    problems = [f for f in findings if not f.notice]
    lines = [*([as_table(findings)] if findings else []), f"{len(problems)} problems"]
    content = [f.as_json() for f in findings]
    tell("\n".join(lines), content, as_json, quiet and not problems)
    raise typer.Exit(3 if problems else 0)


@app.command(rich_help_panel=PANEL)
def simulate(
    out: Annotated[Path, typer.Argument(help="Folder to write, as BIDS.")],
    subjects: Annotated[int, typer.Option(help="Number of patients.", min=1)] = 20,
    seed: Seed = 0,
    workers: Annotated[int, typer.Option(help="Number of processes.", min=1)] = 2,
    folds: Folds = 5,
    plain: Annotated[
        bool, typer.Option("--plain", help="Simple patients without a skull, quick to learn.")
    ] = False,
    skull: Annotated[bool, typer.Option(help="Add dura, skull and scalp.")] = True,
    contrast: Annotated[
        Contrast, typer.Option(help="Tissue intensities as in T1w scans, or random ones.")
    ] = "t1w",
    masks: Annotated[
        Path | None,
        typer.Option(help="Folder of real lesion masks in MNI space to take the lesions from."),
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write simulated stroke patients with masks and a manifest; nothing is downloaded.

    Example: stroke-nets simulate data/simulated --subjects 20 --seed 0
    """
    from stroke_nets.synthesis import Design
    from stroke_nets.synthesis import simulate as write_patients

    design = Design(plain=plain, skull=skull, contrast=contrast, masks=masks)
    path = write_patients(out, subjects, seed, workers, folds, design)
    tell(f"wrote {path}", {"manifest": path}, as_json, quiet)
