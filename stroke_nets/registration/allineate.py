"""Affine registration by niimath's ``-allineate``.

https://github.com/rordenlab/niimath, after AFNI's 3dAllineate (Saad et al., NeuroImage 2009).
"""

import json
from functools import cache
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import wasmtime

from stroke_nets.errors import UsageError
from stroke_nets.files import temporary_folder
from stroke_nets.registration.volume import Array, Volume, brain

FINEST_MM = 2  # of niimath's levels
PROGRAM = Path(__file__).parent / "niimath" / "niimath.wasm"
COMMAND = "niimath scan.nii -allineate template.nii -com -savemat map.json unused.nii"


def allineate(scan: Volume) -> Array:
    """Fit a scan to the template by an affine map.

    Samples are the template's voxels above 5 % of its range, so a skull is never compared with the
    template's empty surroundings. Angles within 30 degrees and sizes from 0.78 to 1.3 are searched.
    The search follows rounding, so niimath runs as WebAssembly, whose arithmetic is the same on
    every processor and in a browser.

    Args:
        scan: in canonical form.

    Returns:
        The map from the template's mm to the scan's mm, (4, 4).

    Raises:
        UsageError: niimath finds no map.
    """
    template = brain(FINEST_MM)
    with temporary_folder() as folder:
        _write(folder / "template.nii", Volume(1000 * template.voxels, template.affine))
        _write(folder / "scan.nii", scan)
        code = _run(folder)
        found = folder / "map.json"
        if not found.is_file():
            said = (folder / "said.txt").read_text(errors="replace").strip()
            raise UsageError(f"niimath failed with code {code} ({said[-200:]})")
        return np.array(json.loads(found.read_text())["fixed_to_moving"], dtype=float)


def _run(folder: Path) -> int:
    """Run `COMMAND` in a folder, all of the disk that it sees; return its exit code."""
    engine, program = _program()
    store, system, linker = wasmtime.Store(engine), wasmtime.WasiConfig(), wasmtime.Linker(engine)
    system.preopen_dir(str(folder), "/")
    system.stderr_file = folder / "said.txt"
    store.set_wasi(system)
    linker.define_wasi()
    exports: Any = linker.instantiate(store, program).exports(store)
    exports["_initialize"](store)
    line = COMMAND.replace(" ", "\0").encode() + b"\0"
    at = exports["malloc"](store, len(line))
    exports["memory"].write(store, line, at)
    return int(exports["nii_run"](store, at, len(line)))


@cache
def _program() -> tuple[wasmtime.Engine, wasmtime.Module]:
    """niimath, compiled for this processor in half a second."""
    engine = wasmtime.Engine()
    return engine, wasmtime.Module.from_file(engine, str(PROGRAM))


def _write(path: Path, volume: Volume) -> None:
    nib.save(nib.Nifti1Image(volume.voxels.astype(np.int16), volume.affine), path)
