"""Imaging formats other than NIfTI: read as NIfTI, or named with the way to convert them.

| Ending | Library |
|---|---|
| ``.voi`` | MRIcron's: NIfTI compressed with gzip |
| ``.mgz``, ``.mgh`` | NiBabel |
| ``.nrrd``, ``.seg.nrrd`` | pynrrd; segments as 3D Slicer describes them |
| ``.mha``, ``.mhd`` | SimpleITK (the extra ``metaimage``) |
| ``.mif``, ``.mif.gz`` | `stroke_nets.scans.mrtrix` |

Segmentations: https://slicer.readthedocs.io, "Segmentations", file format ``.seg.nrrd``.
"""

import bz2
import functools
import gzip
import io
import math
import re
import zlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
from nibabel.spatialimages import HeaderDataError
from numpy.typing import NDArray

from stroke_nets.errors import StrokeNetsError
from stroke_nets.runs.requirements import require_extra
from stroke_nets.scans.dicom_series import RAS, is_dicom
from stroke_nets.scans.finding import Finding, Refusal
from stroke_nets.scans.mrtrix import read_mif, write_mif

AGAIN = "copy or download it again"
ENDINGS = (".nii.gz", ".nii")
ZIPPED = (".nii.gz", ".voi")
LESION = re.compile(r"lesion|stroke|infarct", re.IGNORECASE)
SPACES = {"left-posterior-superior": (-1, -1, 1), "right-anterior-superior": (1, 1, 1)}
SPACES |= {"left-anterior-superior": (-1, 1, 1)}
SPACES |= {"lps": (-1, -1, 1), "ras": (1, 1, 1), "las": (-1, 1, 1)}
REFERENCE = re.compile(r"Reference image geometry\|([^|]+)\|")
GZIP = zlib.MAX_WBITS | 16
MGH_HEAD, MGH_TAGS = 284, 1 << 20  # bytes before the voxels, and after them
DENSEST = 1032  # the maximum compression ratio of deflate
MOST_VOXELS = 1 << 31
LONGEST_LINE = 400  # characters of a MetaImage's header; ITK cuts longer ones
FIELD = re.compile(r"(\w+) *= *([^\r\0]*?) *\r?")
PLACED = [  # each by one of its names
    {"TransformMatrix", "Rotation", "Orientation"},
    {"Offset", "Position", "Origin"},
    {"ElementSpacing", "ElementSize"},
]
DETACHED = {"data file", "datafile", "line skip", "lineskip"}  # of a NRRD file
UNPACKED: dict[str, Callable[[], Any]] = {
    **dict.fromkeys(("gzip", "gz"), functools.partial(zlib.decompressobj, GZIP)),
    **dict.fromkeys(("bzip2", "bz2"), bz2.BZ2Decompressor),
}
BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}
# of DICOM files; some end in the last number of a UID
NO_ENDING = re.compile(r"|\.dcm|\.ima|\.\d+")
RESULTS = ("_seg.dcm", "_sr.dcm")  # of `predict`
UNREAD = {  # how to convert a format that is not read
    ".mih": "mrconvert {name} {stem}.nii.gz (MRtrix3)",
    ".mnc": "mnc2nii {name} {stem}.nii (MINC)",
    ".nhdr": "open it in 3D Slicer and save it as {stem}.nii.gz",
    ".hdr": "nib-convert {stem}.img {stem}.nii.gz (NiBabel)",
    ".img": "nib-convert {name} {stem}.nii.gz (NiBabel)",
    ".par": "parrec2nii {name} (NiBabel)",
    ".head": "3dAFNItoNIFTI {name} (AFNI)",
    ".nii.bz2": "bunzip2 {name}",
    ".nii.xz": "unxz {name}",
    ".nii.zst": "unzstd {name}",
    ".gipl": "c3d {name} -o {stem}.nii.gz (Convert3D)",
}


def ending(path: Path | str) -> str:
    """The ending of a file that is read, as it is spelled; empty for other files."""
    name = Path(path).name
    found = next((one for one in READ if name.lower().endswith(one)), "")
    return name[len(name) - len(found) :]


def is_scan(path: Path | str) -> bool:
    """Whether a file's name has the ending of a format that is read."""
    return bool(ending(path))


def bare(name: str) -> str:
    """A file's name without the ending of its format."""
    return name.removesuffix(ending(name))


def unread(paths: Iterable[Path]) -> list[Finding]:
    """Images of formats that are not read (row F13); DICOM files once for each folder."""
    found, folders = [], set()
    for path in paths:
        if any(path.name.lower().endswith(one) for one in UNREAD):
            found.append(not_read(path))
        elif NO_ENDING.fullmatch(path.suffix.lower()) and path.parent not in folders:
            if is_dicom(path) and not path.name.endswith(RESULTS):
                folders.add(path.parent)
                found.append(not_read(path.parent))
    return found


def not_read(path: Path) -> Finding:
    """That a file is not read, and how to convert it (row F13)."""
    name = path.name
    other = next((one for one in UNREAD if name.lower().endswith(one)), None)
    if other is not None:
        fix = UNREAD[other].format(name=name, stem=name[: -len(other)])
        return Finding(str(path), "F13", f"the format {other} is not read", f"convert it: {fix}")
    if path.is_dir() or is_dicom(path):
        fix = f"convert it: stroke-nets from-dicom {path} {path.name}_T1w.nii.gz"
        return Finding(str(path), "F13", "DICOM", fix)
    fix = f"give a file that ends in {', '.join(READ)}"
    return Finding(str(path), "F13", "not named as a scan", fix)


def converted(path: Path, segment: str | None) -> NDArray[np.uint8] | None:
    """The bytes of a plain NIfTI file with a file's voxels, in mm; None if it is NIfTI itself.

    Args:
        path: the file.
        segment: the name of the segment to read, of a segmentation with several.

    Raises:
        Refusal: the file is damaged, or does not define its voxels' positions.
        UsageError: the extra that reads it is missing.
    """
    read = READERS.get(ending(path).lower())
    if read is None:
        return None
    try:
        voxels, affine = read(path, segment)
    except (StrokeNetsError, MemoryError):
        raise
    except Exception as error:  # the libraries raise many kinds for a damaged file
        reason = " ".join(str(error).split())[:200]
        raise _refusal(path, "F5", f"damaged ({reason})", AGAIN) from error
    if voxels.dtype == bool:
        voxels = voxels.astype(np.uint8)
    try:
        image = _as_nifti(voxels, affine)
    except (HeaderDataError, ValueError) as error:
        raise _refusal(path, "F18", f"voxels of type {voxels.dtype}", "export numbers") from error
    return np.frombuffer(bytearray(image.to_bytes()), np.uint8)


def _as_nifti(voxels: NDArray[Any], affine: NDArray[Any]) -> Any:
    image = nib.Nifti1Image(voxels, affine, dtype=voxels.dtype)
    image.set_sform(affine, code=1)
    image.set_qform(affine, code=1)
    image.header.set_xyzt_units("mm")
    return image


def _read_mgh(path: Path, segment: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    content = path.read_bytes()
    if ending(path).lower() == ".mgz":
        head = zlib.decompressobj(GZIP).decompress(content, MGH_HEAD)
        count = _count(path, np.frombuffer(head[4:20], ">i4").tolist(), len(content))
        most = MGH_HEAD + count * 8 + MGH_TAGS
        content = _unpacked(path, zlib.decompressobj(GZIP), content, most)
    image: Any = nib.freesurfer.MGHImage.from_bytes(content)
    return np.asanyarray(image.dataobj), image.affine


def _read_metaimage(path: Path, segment: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    require_extra("SimpleITK", "metaimage", f"{path}: a MetaImage")
    import SimpleITK as sitk

    require_whole_metaimage(path)
    image = sitk.ReadImage(str(path), imageIO="MetaImageIO")
    if image.GetDimension() != 3 or image.GetNumberOfComponentsPerPixel() != 1:
        what = f"{image.GetDimension()}D with {image.GetNumberOfComponentsPerPixel()} values each"
        raise _refusal(path, "F18", f"its voxels are {what}", "export one number per voxel")
    axes = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    affine = RAS @ nib.affines.from_matvec(axes, image.GetOrigin())
    return sitk.GetArrayFromImage(image).transpose(2, 1, 0), affine


def require_whole_metaimage(path: Path) -> None:
    """Refuse a MetaImage with missing voxels, which ITK would fill with zeros.

    Its voxels may lie in the file itself or in one of the same folder.
    """
    content = path.read_bytes()
    fields: dict[str, str] = {}
    start = 0
    while "ElementDataFile" not in fields:
        end = content.find(b"\n", start, start + LONGEST_LINE)
        end = len(content) if end < 0 else end
        found = FIELD.fullmatch(content[start:end].decode("ascii"))
        if found is None or found[1] in fields:  # ITK could find other values in it
            raise _refusal(path, "F5", "damaged (its header is no list of fields)", AGAIN)
        fields[found[1]] = found[2]
        start = end + 1
    name, local = fields["ElementDataFile"], content[start:]
    if name != "LOCAL":
        data = path.parent / name
        if Path(name).name != name or not data.is_file():
            raise _refusal(path, "F12", f"its voxels in {name!r} are missing beside it", AGAIN)
        local = data.read_bytes()
    kind = fields["ElementType"].removeprefix("MET_").removeprefix("U")
    shape = [int(n) for n in fields["DimSize"].split()]
    need = _count(path, shape, len(local)) * BYTES[kind]
    packed = _is_true(fields.get("CompressedData", ""))
    size = int(fields.get("CompressedDataSize", 0)) if packed else len(local)
    binary = _is_true(fields["BinaryData"]) and "HeaderSize" not in fields
    if not binary or size != len(local) or not fields["NDims"] == "3" == str(len(shape)):
        # ITK 5.4 would take other memory for voxels, or end the process
        what = "BinaryData, NDims, DimSize, HeaderSize or CompressedDataSize is not its voxels'"
        raise _refusal(path, "F5", what, "write it with SimpleITK again")
    if not all(names & fields.keys() for names in PLACED):
        what = "it does not say where its voxels lie (TransformMatrix, Offset, ElementSpacing)"
        raise _refusal(path, "G9", what, "write it with SimpleITK again")
    have = len(_unpacked(path, zlib.decompressobj(), local, need) if packed else local)
    if have < need:
        raise _refusal(path, "F2", f"cut short: it has {have} of {need} bytes", AGAIN)


def _is_true(text: str) -> bool:
    return text[:1] in ("T", "t", "1")  # as ITK


def _count(path: Path, shape: Iterable[int], stored: int) -> int:
    """The number of voxels, before anything of that size is allocated (rows F14, F15)."""
    shape = [int(n) for n in shape]
    count = math.prod(shape)
    if not shape or min(shape) < 1:
        raise _refusal(path, "F15", f"impossible dimensions {shape}", AGAIN)
    if count > min(stored * DENSEST, MOST_VOXELS):
        what = f"its header announces {count} voxels; the file has {stored} bytes"
        raise _refusal(path, "F14", what, "export it again")
    return count


def _unpacked(path: Path, unpacker: Any, content: bytes, most: int) -> bytes:
    """A stream's bytes, of which there are at most so many."""
    found: bytes = unpacker.decompress(content, most + 1)
    if not unpacker.eof:
        what = "its stream is cut short, or longer than its header announces"
        raise _refusal(path, "F5", what, AGAIN)
    return found


def _read_nrrd(path: Path, segment: str | None) -> tuple[NDArray[Any], NDArray[Any]]:
    import nrrd

    with path.open("rb") as stream:
        header = nrrd.read_header(stream)
        detached = sorted(key for key in DETACHED & header.keys() if header[key] != 0)
        if detached:
            what = f"its voxels lie elsewhere ({', '.join(detached)})"
            raise _refusal(path, "F12", what, "save it as one file in 3D Slicer")
        content = stream.read()
    count = _count(path, header["sizes"], len(content))
    if header["encoding"] in UNPACKED:
        content = _unpacked(path, UNPACKED[header["encoding"]](), content, count * 8)
        header["encoding"] = "raw"
    voxels = nrrd.read_data(header, io.BytesIO(content))
    skip = header.get("byte skip", header.get("byteskip", 0))
    if header["encoding"] == "raw" and skip >= 0 and len(content) > skip + voxels.nbytes:
        what = f"{len(content)} bytes of voxels, more than its header announces"
        raise _refusal(path, "F7", what, "export it again")
    signs = SPACES.get(str(header.get("space", "")).lower())
    directions = np.atleast_2d(np.asarray(header.get("space directions", np.nan), float))
    spatial = np.flatnonzero(np.isfinite(directions).all(axis=1))
    if signs is None or len(spatial) != 3 or "space origin" not in header:
        what = "it does not say where its voxels lie (space, space directions, space origin)"
        raise _refusal(path, "G9", what, "export it from 3D Slicer again")
    units = {str(unit).strip('"') for unit in header.get("space units", ["mm"])}
    if units != {"mm"}:
        raise _refusal(path, "G15", f"in {', '.join(sorted(units))}", "export it in mm")
    matrix = nib.affines.from_matvec(directions[spatial].T, header["space origin"])
    affine = np.diag([*signs, 1]) @ matrix
    others = [axis for axis in range(voxels.ndim) if axis not in spatial]
    if "Segment0_LabelValue" in header:
        layers = voxels.transpose([*others, *spatial]) if others else voxels[None]
        return _in_reference(path, _segment(path, layers, header, segment), affine, header)
    return voxels.transpose([*spatial, *others]), affine


def _segment(
    path: Path, layers: NDArray[Any], header: Mapping[str, Any], wanted: str | None
) -> NDArray[Any]:
    """The voxels of one segment (row F24): named, or the only one, or the only lesion by name."""
    count = 0
    found: dict[str, tuple[int, int]] = {}
    while f"Segment{count}_LabelValue" in header:
        name = str(header.get(f"Segment{count}_Name", f"Segment {count}"))
        layer = int(header.get(f"Segment{count}_Layer", 0))
        found[name] = layer, int(header[f"Segment{count}_LabelValue"])
        count += 1
    lesions = [name for name in found if LESION.search(name)]
    names = [wanted] if wanted else [*found] if len(found) == 1 else lesions
    if count != len(found) or len(names) != 1 or names[0] not in found:
        what = f"it has {count} segments ({', '.join(found)})"
        fix = "name one with --segment, or call only the lesion's 'lesion'"
        raise _refusal(path, "F24", what, fix)
    layer, value = found[names[0]]
    return np.asarray(layers[layer] == value)


def _in_reference(
    path: Path, mask: NDArray[Any], affine: NDArray[Any], header: Mapping[str, Any]
) -> tuple[NDArray[Any], NDArray[Any]]:
    """A mask that was cut to its segments, in the whole grid it was drawn on, if that is known."""
    told = REFERENCE.search(str(header.get("Segmentation_ConversionParameters", "")))
    numbers = [float(one) for one in told[1].split(";") if one.strip()] if told else []
    if len(numbers) != 22:
        return mask, affine
    reference = np.array(numbers[:16]).reshape(4, 4)  # to RAS
    first, last = np.array(numbers[16::2], int), np.array(numbers[17::2], int)
    reference[:3, 3] = nib.affines.apply_affine(reference, first)
    step = np.linalg.inv(reference) @ affine
    offset = np.rint(step[:3, 3]).astype(int)
    shape = last - first + 1
    if math.prod(shape.tolist()) > MOST_VOXELS:
        raise _refusal(
            path, "F14", f"it was drawn on a grid of {shape.tolist()}", "export it again"
        )
    fits = (offset >= 0).all() and (offset + mask.shape <= shape).all()
    if not fits or not np.allclose(step, nib.affines.from_matvec(np.eye(3), offset), atol=1e-3):
        return mask, affine
    whole = np.zeros(shape, bool)
    whole[tuple(slice(a, a + n) for a, n in zip(offset, mask.shape, strict=True))] = mask
    return whole, reference


Reader = Callable[[Path, str | None], tuple[NDArray[Any], NDArray[Any]]]
READERS: dict[str, Reader] = {
    ".seg.nrrd": _read_nrrd,
    ".nrrd": _read_nrrd,
    ".mha": _read_metaimage,
    ".mhd": _read_metaimage,
    ".mgz": _read_mgh,
    ".mgh": _read_mgh,
    ".mif.gz": read_mif,
    ".mif": read_mif,
}
# which format `write_like` writes, by the scan's ending
LIKE = {".nrrd": ".seg.nrrd", ".seg.nrrd": ".seg.nrrd", ".mha": ".mha", ".mhd": ".mha"}
LIKE |= {".mgz": ".mgz", ".mgh": ".mgz", ".mif": ".mif", ".mif.gz": ".mif.gz", ".voi": ".voi"}
READ = (*ENDINGS, ".voi", *READERS)
SPELLED = (*READ, *map(str.upper, READ))  # of names that are looked for


def write_like(path: Path, mask: NDArray[Any], affine: NDArray[Any]) -> None:
    """Write a mask in the format of its name, one of the values of `LIKE`.

    Args:
        path: the file to write.
        mask: X x Y x Z, bool.
        affine: to RAS mm.
    """
    voxels, lps = mask.astype(np.uint8), RAS @ affine
    kind = ending(path).lower()
    if kind == ".mgz":
        nib.save(nib.freesurfer.MGHImage(voxels, affine), path)
    elif kind == ".voi":
        path.write_bytes(gzip.compress(_as_nifti(voxels, affine).to_bytes(), mtime=0))
    elif kind in (".mif", ".mif.gz"):
        write_mif(path, voxels, affine)
    elif kind == ".seg.nrrd":
        import nrrd

        header = {
            "space": "left-posterior-superior",
            "kinds": ["domain"] * 3,
            "space directions": lps[:3, :3].T,
            "space origin": lps[:3, 3],
            "Segment0_ID": "Segment_1",
            "Segment0_Name": "Stroke lesion",
            "Segment0_NameAutoGenerated": "0",
            "Segment0_Color": "1 0 0",
            "Segment0_ColorAutoGenerated": "0",
            "Segment0_LabelValue": "1",
            "Segment0_Layer": "0",
            "Segment0_Extent": " ".join(f"0 {n - 1}" for n in mask.shape),
            "Segmentation_MasterRepresentation": "Binary labelmap",
            "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        }
        nrrd.write(str(path), voxels, header)
    else:
        import SimpleITK as sitk

        image = sitk.GetImageFromArray(voxels.transpose(2, 1, 0))
        sizes = nib.affines.voxel_sizes(lps)
        image.SetSpacing(sizes.tolist())
        image.SetDirection((lps[:3, :3] / sizes).ravel().tolist())
        image.SetOrigin(lps[:3, 3].tolist())
        sitk.WriteImage(image, str(path), useCompression=True)


def _refusal(path: Path, row: str, what: str, fix: str) -> Refusal:
    return Refusal(Finding(str(path), row, what, fix))
