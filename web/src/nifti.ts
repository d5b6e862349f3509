/** NIfTI files: as stroke_nets/scans/reader.py reads them, with sentences for what cannot be used. */
import { type Matrix, type Triple, determinant, inverse, multiply, sizes } from "./matrix";
import type { Volume } from "./volume";

/** What a person reads who opened a file that cannot be used. */
export class Refusal extends Error {}

export interface Scan extends Volume {
  /** The header as stored, little or big endian, which a mask gets with other voxels. */
  header: Uint8Array;
  little: boolean;
}

const MOST_VOXELS = 2 ** 26; // 400^3, as registration/volume.py
const UNIT_MM: Record<number, number> = { 1: 1000, 3: 0.001 };
const FORM_TOLERANCE_MM = 0.1; // at the volume's corners, as scans/geometry.py
const SHEAR_TOLERANCE = 1e-3;

type Getter = (view: DataView, at: number, little: boolean) => number;
const TYPES: Record<number, [number, Getter]> = {
  2: [1, (v, at) => v.getUint8(at)],
  4: [2, (v, at, little) => v.getInt16(at, little)],
  8: [4, (v, at, little) => v.getInt32(at, little)],
  16: [4, (v, at, little) => v.getFloat32(at, little)],
  64: [8, (v, at, little) => v.getFloat64(at, little)],
  256: [1, (v, at) => v.getInt8(at)],
  512: [2, (v, at, little) => v.getUint16(at, little)],
  768: [4, (v, at, little) => v.getUint32(at, little)],
};

export async function unpacked(bytes: Uint8Array): Promise<Uint8Array> {
  if (bytes[0] !== 0x1f || bytes[1] !== 0x8b) return bytes;
  try {
    const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new DecompressionStream("gzip"));
    return new Uint8Array(await new Response(stream).arrayBuffer());
  } catch {
    throw new Refusal("The file is cut short or damaged: it cannot be decompressed. Copy it again.");
  }
}

export async function packed(bytes: Uint8Array): Promise<Uint8Array> {
  const stream = new Blob([bytes as BlobPart]).stream().pipeThrough(new CompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** A NIfTI-1 or -2 file, packed or not, of one volume. */
export async function read(file: Uint8Array): Promise<Scan> {
  const bytes = await unpacked(file);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  if (bytes.length < 348) throw new Refusal("This is no NIfTI file. Give a .nii or .nii.gz file, or a folder of DICOM files.");
  const little = [348, 540].includes(view.getInt32(0, true));
  const size = view.getInt32(0, little);
  const second = size === 540;
  if (!little && ![348, 540].includes(size)) throw new Refusal("This is no NIfTI file. Give a .nii or .nii.gz file, or a folder of DICOM files.");
  if (!second && String.fromCharCode(bytes[344], bytes[345], bytes[346]) === "ni1")
    throw new Refusal("This is the header of a pair of files. Export the scan as one NIfTI file.");
  const long = (at: number) => Number(view.getBigInt64(at, little));
  const dim = Array.from({ length: 8 }, (_, k) => (second ? long(16 + 8 * k) : view.getInt16(40 + 2 * k, little)));
  const count = dim[0], lengths = dim.slice(1, 1 + count);
  if (count < 3 || count > 4 || lengths.some((n) => n < 1)) throw new Refusal("The file holds no volume. Give one T1-weighted scan of a whole head.");
  if (count === 4 && lengths[3] > 1) throw new Refusal(`The file holds ${lengths[3]} volumes. Save one T1-weighted volume as a file of its own.`);
  const shape = lengths.slice(0, 3) as Triple;
  const voxels = shape[0] * shape[1] * shape[2];
  if (Math.min(...shape) < 16) throw new Refusal(`The scan has ${shape.join(" x ")} voxels: too few for a whole head.`);
  if (voxels > MOST_VOXELS) throw new Refusal(`The scan is too large: ${shape.join(" x ")} voxels, and this page takes 400 x 400 x 400. Resample it to about 1 mm.`);
  const code = view.getInt16(second ? 12 : 70, little);
  if (!(code in TYPES)) throw new Refusal("The voxels are no real numbers (colours, or complex numbers). Export the scan itself.");
  const start = second ? long(168) : view.getFloat32(108, little);
  const [width, get] = TYPES[code];
  if (bytes.length < start + voxels * width) throw new Refusal(`The file is cut short: ${bytes.length} of ${start + voxels * width} bytes. Copy it again.`);
  let slope = second ? view.getFloat64(176, little) : view.getFloat32(112, little);
  let inter = second ? view.getFloat64(184, little) : view.getFloat32(116, little);
  if (!Number.isFinite(slope) || slope === 0) [slope, inter] = [1, 0];
  const data = new Float32Array(voxels);
  for (let i = 0, at = start; i < voxels; i++, at += width) data[i] = slope * get(view, at, little) + inter;
  const affine = affineOf(view, little, second, shape);
  return { data, shape, affine, header: bytes.slice(0, second ? 540 : 348), little };
}

/** Refuse values that are no scan's; as stroke_nets/scans/voxels.py. */
export function requireImage({ data }: Volume): void {
  let low = Infinity, high = -Infinity;
  for (const value of data) {
    if (!Number.isFinite(value)) throw new Refusal("Some voxels are no finite numbers. Export the scan again.");
    if (value < low) low = value;
    if (value > high) high = value;
  }
  if (low === high) throw new Refusal("The image is empty: all its voxels are equal. Export the scan again.");
  if (data.every((value) => value === low || value === high)) throw new Refusal("This is a mask, not a scan: it holds two values only.");
}

function affineOf(view: DataView, little: boolean, second: boolean, shape: Triple): Matrix {
  const number = (first: number, later: number, k = 0) =>
    second ? view.getFloat64(later + 8 * k, little) : view.getFloat32(first + 4 * k, little);
  const whole = (first: number, later: number) => (second ? view.getInt32(later, little) : view.getInt16(first, little));
  const unit = UNIT_MM[(second ? view.getInt32(500, little) : view.getUint8(123)) & 7] ?? 1;
  const forms: Matrix[] = [];
  if (whole(254, 348) > 0)
    forms.push([...Array.from({ length: 12 }, (_, k) => number(280, 400, k)), 0, 0, 0, 1]);
  if (whole(252, 344) > 0) {
    const [b, c, d] = [0, 1, 2].map((k) => number(256, 352, k));
    const a = Math.sqrt(Math.max(0, 1 - b * b - c * c - d * d));
    const pixdim = [0, 1, 2, 3].map((k) => Math.abs(number(76, 104, k)) || 1);
    const handed = number(76, 104) === -1 ? -1 : 1;
    const turn = [
      [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
      [2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)],
      [2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c],
    ];
    const steps = [pixdim[1], pixdim[2], handed * pixdim[3]];
    forms.push([...turn.flatMap((row, r) => [...row.map((value, k) => value * steps[k]), number(268, 376, r)]), 0, 0, 0, 1]);
  }
  if (!forms.length) throw new Refusal("The file does not say how the head lies (neither sform nor qform). Export it again from the scanner's files.");
  for (const form of forms) {
    for (let k = 0; k < 12; k++) form[k] *= unit;
    const [x, y, z] = sizes(form);
    const bad = form.some((value) => !Number.isFinite(value)) || !(Math.abs(determinant(form)) > 1e-6 * x * y * z);
    if (bad) throw new Refusal("The file's orientation cannot be used: its affine is singular. Export it again.");
    for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) {
      const cosine = (form[p] * form[q] + form[4 + p] * form[4 + q] + form[8 + p] * form[8 + q]) / (sizes(form)[p] * sizes(form)[q]);
      if (Math.abs(cosine) > SHEAR_TOLERANCE) throw new Refusal("The voxels' axes are not at right angles. Resample the scan onto a grid that has such axes.");
    }
  }
  if (forms.length === 2) {
    let gap = 0;
    for (let corner = 0; corner < 8; corner++) {
      const place = shape.map((n, axis) => ((corner >> axis) & 1) * (n - 1));
      gap = Math.max(gap, Math.hypot(...[0, 1, 2].map((r) => forms[0].slice(4 * r, 4 * r + 4).reduce((sum, value, k) => sum + (value - forms[1][4 * r + k]) * (place[k] ?? 1), 0))));
    }
    if (gap > FORM_TOLERANCE_MM) throw new Refusal(`The file contradicts itself: its sform and qform lie ${gap.toPrecision(2)} mm apart. Export it again.`);
  }
  return forms[0];
}

/** A file of another volume on a scan's grid: its header, without texts, and other voxels. */
export function onGrid(scan: Scan, voxels: Uint8Array | Float32Array): Uint8Array {
  const second = scan.header.length === 540, start = second ? 544 : 352;
  const bytes = new Uint8Array(start + voxels.byteLength);
  bytes.set(scan.header);
  const view = new DataView(bytes.buffer), { little } = scan;
  const [code, bits] = voxels instanceof Uint8Array ? [2, 8] : [16, 32];
  view.setInt16(second ? 12 : 70, code, little);
  view.setInt16(second ? 14 : 72, bits, little);
  if (second) {
    view.setBigInt64(16, 3n, little);
    view.setBigInt64(48, 1n, little);
    view.setBigInt64(168, BigInt(start), little);
    view.setFloat64(176, 1, little);
    view.setFloat64(184, 0, little);
    for (const at of [192, 200]) view.setFloat64(at, 0, little); // cal_max, cal_min
    bytes.fill(0, 240, 344); // descrip, aux_file
  } else {
    view.setInt16(40, 3, little);
    view.setInt16(48, 1, little);
    view.setFloat32(108, start, little);
    view.setFloat32(112, 1, little);
    view.setFloat32(116, 0, little);
    for (const at of [124, 128]) view.setFloat32(at, 0, little);
    bytes.fill(0, 4, 39); // data_type, db_name
    bytes.fill(0, 148, 252);
    bytes.fill(0, 328, 344); // intent_name
    bytes.set([0x6e, 0x2b, 0x31, 0], 344);
  }
  if (voxels instanceof Uint8Array) bytes.set(voxels, start);
  else for (let i = 0; i < voxels.length; i++) view.setFloat32(start + 4 * i, voxels[i], little);
  return bytes;
}

/** A small file of whole numbers, as registration/allineate.py gives to niimath. */
export function whole(volume: Volume): Uint8Array {
  const bytes = new Uint8Array(352 + 2 * volume.data.length), view = new DataView(bytes.buffer);
  view.setInt32(0, 348, true);
  [3, ...volume.shape, 1, 1, 1, 1].forEach((n, k) => view.setInt16(40 + 2 * k, n, true));
  view.setInt16(70, 4, true);
  view.setInt16(72, 16, true);
  [1, ...sizes(volume.affine), 1, 1, 1, 1].forEach((size, k) => view.setFloat32(76 + 4 * k, size, true));
  view.setFloat32(108, 352, true);
  view.setFloat32(112, 1, true);
  view.setInt16(254, 2, true);
  volume.affine.slice(0, 12).forEach((value, k) => view.setFloat32(280 + 4 * k, value, true));
  bytes.set([0x6e, 0x2b, 0x31, 0], 344);
  const start = 352;
  for (let i = 0; i < volume.data.length; i++) view.setInt16(start + 2 * i, volume.data[i], true);
  return bytes;
}

/** The scan with its axes about right, anterior, superior, and the map from its voxels to the scan's. */
export function closest(scan: Volume): Volume {
  const axes = order(scan.affine);
  if (axes.every(({ from, flip }, k) => from === k && !flip)) return scan;
  const shape = axes.map(({ from }) => scan.shape[from]) as Triple;
  const turn = new Array<number>(16).fill(0);
  turn[15] = 1;
  axes.forEach(({ from, flip }, k) => {
    turn[4 * from + k] = flip ? -1 : 1;
    turn[4 * from + 3] = flip ? scan.shape[from] - 1 : 0;
  });
  const strides = [1, scan.shape[0], scan.shape[0] * scan.shape[1]];
  const [sx, sy, sz] = axes.map(({ from, flip }) => (flip ? -1 : 1) * strides[from]);
  const first = axes.reduce((sum, { from, flip }) => sum + (flip ? (scan.shape[from] - 1) * strides[from] : 0), 0);
  const data = new Float32Array(scan.data.length);
  for (let z = 0, i = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0, at = first + y * sy + z * sz; x < shape[0]; x++, at += sx) data[i++] = scan.data[at];
  return { data, shape, affine: multiply(scan.affine, turn) };
}

/** For each world axis, the voxel axis nearest to it: the largest cosine first. */
function order(affine: Matrix): { from: number; flip: boolean }[] {
  const length = sizes(affine), left = [0, 1, 2];
  const cosine = (world: number, from: number) => affine[4 * world + from] / length[from];
  const found = new Array<{ from: number; flip: boolean }>(3);
  // NiBabel's io_orientation takes the voxel axes in turn of the polar decomposition; without shear
  // this is the largest cosine.
  const open = [0, 1, 2];
  while (left.length) {
    let best = { world: -1, from: -1, value: -1 };
    for (const world of open) for (const from of left) {
      const value = Math.abs(cosine(world, from));
      if (value > best.value) best = { world, from, value };
    }
    found[best.world] = { from: best.from, flip: cosine(best.world, best.from) < 0 };
    open.splice(open.indexOf(best.world), 1);
    left.splice(left.indexOf(best.from), 1);
  }
  return found;
}

export const toVoxels = (affine: Matrix): Matrix => inverse(affine);
