"""Commands that segment scans, and what goes with that."""

import sys
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from stroke_nets.commands.app import Json, Overwrite, Panel, Quiet, Trust, app, tell

PANEL: Panel = "Predict"
Space = Literal["native", "mni"]
Backend = Literal["auto", "torch", "compile", "openvino"]
Precision = Literal["auto", "float32", "bfloat16"]


@app.command(rich_help_panel=PANEL)
def predict(
    given: Annotated[
        Path,
        typer.Argument(
            metavar="INPUT",
            help="A scan, a folder of scans, a BIDS tree, or DICOM.",
        ),
    ],
    out: Annotated[Path, typer.Argument(help="Folder to write, as BIDS derivatives.")],
    method: Annotated[
        str | None,
        typer.Option(
            help="Method to use, or several as A,B whose mean is taken. Default: the best one "
            "with published weights."
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(help="Checkpoint to use instead of the published weights, one per method."),
    ] = None,
    overlay: Annotated[
        str | None,
        typer.Option(
            help="Overlay that the weights were trained with. Default: as published, or as the "
            "checkpoint's run folder says."
        ),
    ] = None,
    fast: Annotated[
        bool, typer.Option("--fast", help="Save time: no flips and fewer patches.")
    ] = False,
    tta: Annotated[
        bool,
        typer.Option("--tta", help="Average over flipped copies, which also gives uncertainty."),
    ] = False,
    device: Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")] = "auto",
    space: Annotated[
        Space, typer.Option(help="Grid of the results: each scan's own, or the MNI template's.")
    ] = "native",
    skip_registration: Annotated[
        bool,
        typer.Option("--skip-registration", help="The scans are in MNI space already."),
    ] = False,
    backend: Annotated[
        Backend | None,
        typer.Option(
            help="What runs the network. auto: OpenVINO on a CPU where it is installed, else "
            "PyTorch. Default: as the method's inference.yaml says."
        ),
    ] = None,
    precision: Annotated[
        Precision | None,
        typer.Option(
            help="auto: bfloat16 where the processor multiplies it. Default: as the method's "
            "inference.yaml says."
        ),
    ] = None,
    threshold: Annotated[
        float | None,
        typer.Option(
            help="Probability from which on a voxel is lesion. Default: the method's own."
        ),
    ] = None,
    minimum_ml: Annotated[
        float | None,
        typer.Option(
            help="Volume (ml) below which a lesion is left out. Default: the method's own."
        ),
    ] = None,
    truth: Annotated[
        Path | None,
        typer.Option(help="A mask of the scan to show in the report and the viewer as well."),
    ] = None,
    adc: Annotated[
        Path | None,
        typer.Option(
            help="ADC map of the scan, which then is a DWI. Default: the file beside it "
            "whose name has adc in place of dwi."
        ),
    ] = None,
    like: Annotated[
        bool,
        typer.Option("--like", help="Also write the mask in the scan's format (NRRD, MHA, MGZ)."),
    ] = False,
    sr: Annotated[
        bool,
        typer.Option("--sr", help="Also write a DICOM report (TID 1500) with the volumes."),
    ] = False,
    overwrite: Overwrite = False,
    trust: Trust = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Segment the stroke lesions of T1w scans, or of DWI; masks lie on each scan's own grid.

    Results that are already there are kept. If one of many scans fails, it is listed (exit code 3)
    and the others are still written.

    Example: stroke-nets predict sub-1_T1w.nii.gz predictions

    Example: stroke-nets predict BIDS derivatives/stroke-nets --method agmr_net,mscsa_default

    Scans named dwi, or any with an overlay of diffusion, are DWI (b = 1000 s/mm2), with or without
    an ADC map.
    """
    segment_and_tell(
        given,
        out,
        as_json=as_json,
        quiet=quiet,
        method=method,
        checkpoint=checkpoint or (),
        overlay=overlay,
        device=device,
        trust=trust,
        fast=fast,
        tta=tta,
        space=space,
        skip_registration=skip_registration,
        overwrite=overwrite,
        backend=backend,
        precision=precision,
        threshold=threshold,
        minimum_ml=minimum_ml,
        truth=truth,
        adc=adc,
        sr=sr,
        like=like,
    )


def segment_and_tell(
    given: Path, out: Path, *, as_json: bool, quiet: bool, threads: int | None = None, **how: Any
) -> None:
    """Segment scans, with progress from the first second, and print what was found.

    Args:
        given: as of `stroke_nets.predict`, like ``out`` and ``how``.
        out: the output folder.
        as_json: print the summary as JSON.
        quiet: print nothing but warnings.
        threads: of PyTorch; None: its own choice.
        how: further arguments.
    """
    from stroke_nets.inference.progress import Steps
    from stroke_nets.monai_import import import_monai

    with Steps(0, quiet or as_json) as steps:
        steps.step("loading PyTorch and MONAI")
        import_monai()
        import torch

        from stroke_nets.inference.pipeline import predict as segment

    if threads:
        torch.set_num_threads(threads)
    summary = segment(given, out, quiet=quiet or as_json, **how)
    lines = []
    for case in summary["cases"]:
        name, found = f"{case['subject']} {case['method']}", f"{case['lesions']} lesions"
        lines.append(f"{name}: {found}, {case['total_ml']:.2f} ml")
        for warning in case["warnings"]:
            print(f"{name}: warning: {warning}", file=sys.stderr)
    tell("\n".join([*lines, f"wrote {out}; {summary['notice']}"]), summary, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def normalize(
    scan: Annotated[Path, typer.Argument(help="A T1w scan with its skull.")],
    out: Annotated[Path, typer.Argument(help="Folder to write: scan, transform and picture.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Register a T1w scan to the MNI template and resample it to the grid of ATLAS v2.0.

    Look at the picture that is written: it shows whether the fit is right.

    Example: stroke-nets normalize sub-1_T1w.nii.gz mni
    """
    from stroke_nets.registration.pipeline import normalize as register

    files = register(scan, out)
    text = f"wrote {files.image}\nwrote {files.transform}\nlook at {files.picture}"
    written = {name: getattr(files, name) for name in ("image", "transform", "picture")}
    tell(text, written, as_json, quiet)


@app.command("normalize-back", rich_help_panel=PANEL)
def normalize_back(
    mask: Annotated[Path, typer.Argument(help="A mask on the MNI grid.")],
    transform: Annotated[
        Path, typer.Argument(help="The transform (.json) that 'normalize' wrote for the scan.")
    ],
    out: Annotated[Path, typer.Argument(help="Mask to write, on the scan's own grid.")],
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Bring a mask from the MNI grid back to the grid of the scan it belongs to.

    Example: stroke-nets normalize-back mask.nii.gz mni/sub-1_..._transform.json native.nii.gz
    """
    from stroke_nets.registration.pipeline import bring_back

    bring_back(mask, transform, out)
    tell(f"wrote {out}", {"mask": out}, as_json, quiet)


@app.command(rich_help_panel=PANEL)
def doctor(as_json: Json = False, quiet: Quiet = False) -> None:
    """Check the installation: versions, device, memory, weights, seconds per scan.

    Each problem is listed with its fix, and the exit code is then 3.

    Example: stroke-nets doctor
    """
    from stroke_nets.doctor import as_text, examine

    findings = examine()
    problems = [one for one in findings if one.problem]
    tell(as_text(findings), [one.as_json() for one in findings], as_json, quiet and not problems)
    raise typer.Exit(3 if problems else 0)
