"""Read one MR series from DICOM files as NIfTI, by dcm2niix and pydicom (the extra ``dicom``).

dcm2niix (https://github.com/rordenlab/dcm2niix, 1.0.20260724) does not fail if a slice is missing
or the spacing varies: it writes a volume with misplaced slices and exits with 0. The positions of
all slices (DICOM PS3.3, C.7.6.2) are therefore compared with a regular grid first, and the volume's
grid with theirs afterwards. Header texts, which contain the time of day, are removed.
"""

import lzma
import re
import shutil
import subprocess
import warnings
import zipfile
import zlib
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from numpy.typing import NDArray

from stroke_nets.errors import StrokeNetsError
from stroke_nets.files import paths_below, temporary_folder
from stroke_nets.runs.requirements import require_extra
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.geometry import Grid, compare_grids

MAGIC = b"DICM"  # after a preamble of 128 bytes
WORDS = ("db_name", "descrip", "aux_file", "intent_name")  # text fields of a NIfTI header
RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes point to L, P and S
DEFLATED = "1.2.840.10008.1.2.1.99"  # transfer syntax
MOST_FILES, MOST_GROWTH = 100_000, 100  # of a zip archive; background compresses well
BROKEN = (OSError, EOFError, RuntimeError, ValueError)
EVEN_MM = 0.1  # ours: the largest distance of a slice from its place on a regular grid
T1W = re.compile(r"t1|mp-?2?-?rage|spgr|bravo|tfe", re.IGNORECASE)
NOT_T1W = re.compile(r"t1rho|t2|flair|tirm|dwi|diff|adc|swi|perf|loc|scout|survey", re.IGNORECASE)


def is_dicom(path: Path) -> bool:
    """Whether a file starts like a DICOM file."""
    try:
        if not path.is_file():  # to open a pipe could wait for ever
            return False
        with path.open("rb") as file:
            return file.read(132)[128:] == MAGIC
    except OSError:  # a folder, or not readable: whoever opens it says so
        return False


def is_series(path: Path) -> bool:
    """Whether a path is a zip archive, a DICOM file, or a folder with a DICOM file below it."""
    if path.is_dir():
        return any(map(is_dicom, paths_below(path)))
    return path.suffix.lower() == ".zip" or is_dicom(path)


@contextmanager
def without_warnings() -> Iterator[None]:
    """Keep pydicom and highdicom from printing names and other values that they find unusual."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        yield


@dataclass(frozen=True)
class Series:
    """The images of one series.

    Attributes:
        name: what the user gave, for messages.
        headers: pydicom data sets without pixels, sorted along the slices' normal.
    """

    name: str
    headers: Sequence[Any]

    @property
    def number(self) -> str:
        """The series number."""
        return str(self.headers[0].get("SeriesNumber", "?"))

    @cached_property
    def planes(self) -> NDArray[Any]:
        """Position, row and column direction of each slice in file order, S x 3 x 3, LPS mm."""
        return np.array([plane for header in self.headers for plane in _planes(self.name, header)])

    @cached_property
    def grid(self) -> Grid:
        """Columns x rows x slices, and the affine to RAS mm.

        Raises:
            Refusal: slices are missing, unevenly spaced, not parallel, or several lie in one place.
        """
        order = np.argsort(self.planes[:, 0] @ self._normal)
        places = self.planes[order, 0]
        if len(places) < 2:
            raise _refusal(self.name, "F23", "a single slice", "give a whole series")
        step = float(np.median(np.diff(places @ self._normal)))
        if step < 1e-3:
            what = "several images lie in one place (echoes, phases or volumes)"
            raise _refusal(self.name, "F23", what, "give the files of one of them")
        if np.abs(self.planes[:, 1:] - self.planes[0, 1:]).max() > 1e-3:
            raise _refusal(self.name, "F23", "its slices are not parallel", "give one orientation")
        regular = places[0] + np.outer(np.arange(len(places)) * step, self._normal)
        if np.linalg.norm(places - regular, axis=1).max() > EVEN_MM:
            steps = np.linalg.norm(np.diff(places, axis=0), axis=1)
            what = "slices are missing or unevenly spaced, so that voxels would be misplaced: "
            what += f"{step:.3g} mm apart, but {steps.min():.3g} to {steps.max():.3g} mm in places"
            raise _refusal(self.name, "F23", what, "export the series again")
        header = self.headers[0]
        down, right = map(float, _functional(header, "PixelMeasuresSequence").PixelSpacing)
        axes = np.stack([self.planes[0, 1] * right, self.planes[0, 2] * down, self._normal * step])
        shape = (int(header.Columns), int(header.Rows), len(places))
        return Grid(shape, RAS @ nib.affines.from_matvec(axes.T, places[0]))

    @property
    def _normal(self) -> NDArray[Any]:
        return np.cross(self.planes[0, 1], self.planes[0, 2])


def read_series(path: Path) -> tuple[NDArray[np.uint8], Series, list[Finding]]:
    """Convert the only series of a file, folder or zip archive, or the T1w of several.

    Args:
        path: it is only read.

    Returns:
        The bytes of a plain NIfTI-1 file without header texts; the series; notices.

    Raises:
        UsageError: a package of the extra ``dicom`` is missing.
        Refusal: there is no T1w series, or several, or it is not a single regular volume.
    """
    for package in ("dcm2niix", "highdicom"):
        require_extra(package, "dicom", f"{path}: DICOM")
    with without_warnings(), _unpacked(path) as folder:
        try:
            found = _find(str(path), folder)
            series, notices = choose(str(path), [one for one, _ in found])
            grid = series.grid
            if not np.isfinite(grid.affine).all():
                raise ValueError("places that are not finite")
        except (StrokeNetsError, MemoryError):
            raise
        except Exception as error:  # an element is missing, or of another type
            what = f"its headers are not those of a series ({' '.join(str(error).split())[:100]})"
            raise _refusal(str(path), "F5", what, "export it again") from error
        files = next(files for one, files in found if one is series)
        content = _convert(str(path), files)
    image = nib.Nifti1Image.from_bytes(content)
    gap = compare_grids(str(path), grid, Grid(image.shape, image.affine))
    if gap is not None:
        what = f"dcm2niix misplaces its voxels ({gap.what})"
        raise _refusal(str(path), "F23", what, "export the series again")
    return np.frombuffer(bytearray(without_words(content)), np.uint8), series, notices


def choose(name: str, found: Sequence[Series]) -> tuple[Series, list[Finding]]:
    """The only series, or the T1w of several and a notice that says so.

    The rule: of the original MR series whose description or protocol names a T1w sequence and no
    other, those without a contrast agent, if there are any, and of these the one with most slices.

    Raises:
        Refusal: none is left, or two with the same number of slices.
    """
    if len(found) == 1:
        return found[0], []
    fit = [one for one in found if _is_t1w(one.headers[0])]
    fit = [one for one in fit if not one.headers[0].get("ContrastBolusAgent")] or fit
    most = max((len(one.planes) for one in fit), default=0)
    best = [one for one in fit if len(one.planes) == most]
    if len(best) == 1:
        what = f"series {best[0].number} of {len(found)} series is used: T1w by its description"
        fix = "give the folder of another series if that is wrong"
        return best[0], [Finding(name, "F22", what, fix, True)]
    listed = ", ".join(f"{one.number} ({len(one.planes)} slices)" for one in best or found)
    what = f"{len(best) or 'none'} of its {len(found)} series may be the T1w: {listed}"
    raise _refusal(name, "F22", what, "give the folder of one series")


def _is_t1w(header: Any) -> bool:
    words = f"{header.get('SeriesDescription', '')} {header.get('ProtocolName', '')}"
    derived = {"DERIVED", "LOCALIZER"} & {*header.get("ImageType", [])}
    named = T1W.search(words) and not NOT_T1W.search(words)
    return header.get("Modality") == "MR" and bool(named) and not derived


@contextmanager
def _unpacked(path: Path) -> Iterator[Path]:
    """A folder or file as it is; an archive in a temporary folder."""
    if path.suffix.lower() != ".zip" or path.is_dir():
        yield path
        return
    with temporary_folder() as folder:
        try:
            with zipfile.ZipFile(path) as archive:
                entries = archive.infolist()
                need = sum(one.file_size for one in entries)
                if len(entries) > MOST_FILES or need > MOST_GROWTH * path.stat().st_size:
                    what = f"it announces {len(entries)} files of {need} bytes"
                    raise _refusal(str(path), "F22", what, "give the folder of one series")
                if need > shutil.disk_usage(folder).free:
                    what = f"unpacked, it takes {need} bytes, more than are free in {folder.parent}"
                    raise _refusal(str(path), "F22", what, "unpack it elsewhere; give the folder")
                archive.extractall(folder)
        except (zipfile.BadZipFile, zlib.error, lzma.LZMAError, *BROKEN) as error:
            what = f"not a whole zip archive ({error})"
            raise _refusal(str(path), "F22", what, "copy or download it again") from error
        yield folder


def _find(name: str, folder: Path) -> list[tuple[Series, list[Path]]]:
    """The series of images below a folder with their files, by series number."""
    import pydicom

    groups: dict[str, list[tuple[Any, Path]]] = defaultdict(list)
    for path in paths_below(folder) if folder.is_dir() else [folder]:
        if is_dicom(path):
            try:
                meta = pydicom.filereader.read_file_meta_info(path)
                if meta.get("TransferSyntaxUID") == DEFLATED:  # pydicom unpacks all of it
                    raise ValueError("deflated")
                header = pydicom.dcmread(path, stop_before_pixels=True)
            except Exception as error:  # pydicom raises many kinds for a damaged file
                what = f"{path.name} is damaged ({type(error).__name__})"
                raise _refusal(name, "F5", what, "copy or download it again") from error
            if "Rows" in header and header.get("Modality") != "SEG":
                groups[header.SeriesInstanceUID].append((header, path))
    if not groups:
        raise _refusal(name, "F22", "no DICOM image in it", "give the folder of one DICOM series")
    found = []
    for group in groups.values():
        group.sort(key=lambda one: (int(one[0].get("InstanceNumber") or 0), one[1]))
        found.append((Series(name, [one for one, _ in group]), [path for _, path in group]))
    return sorted(found, key=lambda one: int(one[0].headers[0].get("SeriesNumber") or 0))


def _functional(header: Any, name: str, frame: int = 0) -> Any:
    """The data set with a functional group's attributes: of a frame, of all, or the header."""
    if "SharedFunctionalGroupsSequence" not in header:
        return header
    frames = header.PerFrameFunctionalGroupsSequence
    return next(
        group[name][0]
        for group in (frames[frame], header.SharedFunctionalGroupsSequence[0])
        if name in group
    )


def _planes(name: str, header: Any) -> Iterator[NDArray[Any]]:
    """Position, row and column direction of each frame of one file, 3 x 3."""
    try:
        frames = len(header.get("PerFrameFunctionalGroupsSequence", [header]))
        if int(header.get("NumberOfFrames") or 1) != frames:
            raise ValueError("another number of frames")
        for frame in range(frames):
            place = _functional(header, "PlanePositionSequence", frame).ImagePositionPatient
            turn = _functional(header, "PlaneOrientationSequence", frame).ImageOrientationPatient
            yield np.array([*place, *turn], float).reshape(3, 3)
    except (AttributeError, StopIteration, ValueError) as error:
        what = f"series {header.get('SeriesNumber', '?')} does not say where its slices lie"
        raise _refusal(name, "F23", what, "export it again") from error


def _convert(name: str, files: Sequence[Path]) -> bytes:
    """The only NIfTI file that dcm2niix makes of the files."""
    import dcm2niix

    with temporary_folder() as made, temporary_folder() as given:
        for number, file in enumerate(files):
            (given / f"{number}.dcm").symlink_to(file.resolve())
        options = ["-z", "n", "-b", "n", "-f", "scan", "-o", str(made)]
        command = [dcm2niix.bin, *options, str(given)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        scans = sorted(made.glob("*.nii"))
        if done.returncode or len(scans) != 1:
            what = f"dcm2niix makes {len(scans)} scans of it (exit code {done.returncode})"
            raise _refusal(name, "F23", what, "give the folder of one DICOM series")
        return scans[0].read_bytes()


def without_words(content: bytes) -> bytes:
    """A NIfTI-1 file without its header texts."""
    cleared = bytearray(content)
    fields: Any = nib.Nifti1Header.template_dtype.fields
    for name in WORDS:
        kind, offset = fields[name][:2]
        cleared[offset : offset + kind.itemsize] = bytes(kind.itemsize)
    return bytes(cleared)


def _refusal(name: str, row: str, what: str, fix: str) -> Refusal:
    return Refusal(Finding(name, row, what, fix))
