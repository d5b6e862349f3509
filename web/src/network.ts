/** From the template's grid through the network and back; docs/web.md says each step. */
import type * as ort from "onnxruntime-web";
import { type Matrix, type Triple, inverse, multiply, scaled, shifted } from "./matrix";
import { Refusal } from "./nifti";
import { type Box, type Volume, count, gaussianOfMonai, linear, rint, smoothed } from "./volume";

/** weights.json; docs/web.md defines it. */
export interface Settings {
  file: string;
  sha256: string;
  weights: { bundle: string; overlay: string; sha256: string; trained_on: string; limits?: string[] };
  preprocessing: string[];
  postprocessing: string[];
  spacing: Triple | null;
  masked_zscore: boolean;
  patch_size: Triple;
  step: number;
  flips: number[][];
  brain_margin_mm: number | null;
  threshold: number;
  minimum_ml: number;
}

/** A volume as the network takes it: channels, then D, H, W, the last fastest. */
interface Input {
  data: Float32Array;
  channels: number;
  shape: Triple;
}

/** The way to the network and back for one list of transforms. */
interface Way {
  /** The part of the template's grid that is needed. */
  box: Box;
  there(placed: Volume): Input;
  /** Probabilities D, H, W on the template's grid. */
  back(probability: Float32Array): Volume;
  /** Where the network's voxels lie, as a volume of that shape with the first axis fastest. */
  grid(): { shape: Triple; affine: Matrix };
}

export const GRID = { shape: [197, 233, 189] as Triple, affine: [1, 0, 0, -98, 0, 1, 0, -134, 0, 0, 1, -72, 0, 0, 0, 1] };

const BOX = { shape: [80, 96, 80] as Triple, affine: [2, 0, 0, -79, 0, 2, 0, -112, 0, 0, 2, -75, 0, 0, 0, 1] };
const SMOOTHING_MM = 0.6, DARKEST = 0.02, BRIGHT = 0.9, BRIGHTEST = 1.6;

const PATCHES = "LoadScand AsDiscreted RegisterToTemplated Orientationd CropForegroundd OwnSpacingd NormalizeIntensityd";
const WHOLE = "LoadScand AsDiscreted RegisterToTemplated BrainBoxd Resized";
const AFTER = "Lambdad BrainCutd Invertd LesionMaskd";

/** The way of a network; a list of transforms that this page does not know is refused. */
export function wayOf(settings: Settings, brain: Volume): Way {
  const before = settings.preprocessing.join(" ");
  if (settings.postprocessing.join(" ") !== AFTER || ![PATCHES, WHOLE].includes(before))
    throw new Refusal("The network was made for other steps than this page knows. Build page and network from one version.");
  return before === WHOLE ? new WholeBrain(brain) : new Cropped(settings);
}

/** The brain's box at 2 mm beside its mirror image; transforms/brain_box.py. */
class WholeBrain implements Way {
  box: Box = { low: [16, 19, 0], high: [181, 217, 162] };
  constructor(private brain: Volume) {}

  there(placed: Volume): Input {
    let now: { data: Float32Array; shape: Triple } = placed;
    for (let axis = 0; axis < 3; axis++) now = smoothed(now, axis, gaussianOfMonai(SMOOTHING_MM), 1, false);
    const boxed = linear(now, multiply(inverse(placed.affine), BOX.affine), BOX.shape), [nx, ny, nz] = BOX.shape;
    const voxels = new Float32Array(count(BOX.shape)), inside: number[] = [];
    let most = -Infinity;
    for (let x = 0, i = 0; x < nx; x++)
      for (let y = 0; y < ny; y++)
        for (let z = 0; z < nz; z++, i++) {
          const at = x + nx * (y + ny * z);
          voxels[i] = boxed[at];
          if (!this.brain.data[at]) continue;
          inside.push(voxels[i]);
          most = Math.max(most, voxels[i]);
        }
    const tissue = Float32Array.from(inside.filter((value) => value > Math.fround(DARKEST * most)).filter((_, i) => i % 3 === 0)).sort();
    const bright = tissue.length ? Math.max(tissue[Math.max(1, Math.floor(BRIGHT * tissue.length)) - 1], 1e-6) : 1;
    const plane = ny * nz, data = new Float32Array(2 * voxels.length);
    for (let x = 0, i = 0; x < nx; x++)
      for (let y = 0; y < ny; y++)
        for (let z = 0; z < nz; z++, i++) {
          if (!this.brain.data[x + nx * (y + ny * z)]) continue;
          data[i] = tissue.length ? Math.min(Math.max(voxels[i] / bright, 0), BRIGHTEST) : voxels[i];
        }
    for (let x = 0; x < nx; x++) data.set(data.subarray(x * plane, (x + 1) * plane), voxels.length + (nx - 1 - x) * plane);
    return { data, channels: 2, shape: BOX.shape };
  }

  back(probability: Float32Array): Volume {
    const data = linear({ data: firstFastest(probability, BOX.shape), shape: BOX.shape }, multiply(inverse(BOX.affine), GRID.affine), GRID.shape);
    return { data, ...GRID };
  }

  grid(): { shape: Triple; affine: Matrix } {
    return BOX;
  }
}

/** The box of what is not zero, at the network's spacing, z-scored; axes superior, anterior, right. */
class Cropped implements Way {
  box: Box = { low: [0, 0, 0], high: GRID.shape };
  private first: Triple = [0, 0, 0];
  private size: Triple = [0, 0, 0];
  private shape: Triple = [0, 0, 0];
  private steps: Triple;
  constructor(private settings: Settings) {
    this.steps = settings.spacing ? (settings.spacing.slice().reverse() as Triple) : [1, 1, 1]; // about right, anterior, superior
  }

  there(placed: Volume): Input {
    const [nx, ny, nz] = placed.shape, low = placed.shape.slice(), high = [-1, -1, -1];
    for (let z = 0, i = 0; z < nz; z++)
      for (let y = 0; y < ny; y++)
        for (let x = 0; x < nx; x++, i++)
          if (placed.data[i] !== 0)
            [x, y, z].forEach((at, axis) => {
              low[axis] = Math.min(low[axis], at);
              high[axis] = Math.max(high[axis], at);
            });
    if (high[0] < 0) throw new Refusal("No head is seen in the scan. Give a T1-weighted scan of a whole head.");
    this.first = low as Triple;
    this.size = high.map((at, axis) => at - low[axis] + 1) as Triple;
    this.shape = this.size.map((n, axis) => rint((n - 1) / this.steps[axis] + 1)) as Triple;
    const crop = new Float32Array(count(this.size));
    for (let z = 0, i = 0; z < this.size[2]; z++)
      for (let y = 0; y < this.size[1]; y++, i += this.size[0]) {
        const from = low[0] + nx * (low[1] + y + ny * (low[2] + z));
        crop.set(placed.data.subarray(from, from + this.size[0]), i);
      }
    const data = linear({ data: crop, shape: this.size }, scaled(...this.steps), this.shape, true);
    zScore(data, this.settings.masked_zscore);
    return { data, channels: 1, shape: this.shape.slice().reverse() as Triple };
  }

  back(probability: Float32Array): Volume {
    const [x, y, z] = this.steps;
    const crop = linear({ data: probability, shape: this.shape }, scaled(1 / x, 1 / y, 1 / z), this.size, true);
    const data = new Float32Array(count(GRID.shape)), [nx, ny] = GRID.shape;
    for (let k = 0, i = 0; k < this.size[2]; k++)
      for (let j = 0; j < this.size[1]; j++, i += this.size[0])
        data.set(crop.subarray(i, i + this.size[0]), this.first[0] + nx * (this.first[1] + j + ny * (this.first[2] + k)));
    return { data, ...GRID };
  }

  grid(): { shape: Triple; affine: Matrix } {
    return { shape: this.shape, affine: multiply(GRID.affine, multiply(shifted(...this.first), scaled(...this.steps))) };
  }
}

function zScore(data: Float32Array, masked: boolean): void {
  let n = 0, sum = 0, squares = 0;
  for (const value of data) if (!masked || value !== 0) {
    n++;
    sum += value;
  }
  const mean = sum / n;
  for (const value of data) if (!masked || value !== 0) squares += (value - mean) ** 2;
  const sd = Math.sqrt(squares / n) || 1;
  for (let i = 0; i < data.length; i++) if (!masked || data[i] !== 0) data[i] = (data[i] - mean) / sd;
}

/** D, H, W with the last axis fastest, as a volume with the first one fastest. */
function firstFastest(data: Float32Array, [nx, ny, nz]: Triple): Float32Array {
  const result = new Float32Array(data.length);
  for (let x = 0, i = 0; x < nx; x++) for (let y = 0; y < ny; y++) for (let z = 0; z < nz; z++) result[x + nx * (y + ny * z)] = data[i++];
  return result;
}

/** First voxels of the patches along one axis; inference/sliding_patch.py. */
export function starts(length: number, patch: number, step: number): number[] {
  if (length <= patch) return [0];
  const last = Math.ceil((length - patch) / (patch * step));
  return Array.from({ length: last + 1 }, (_, i) => rint((i * (length - patch)) / last));
}

/** Mean probability of lesion, D, H, W, of overlapping patches. */
export async function sweep(input: Input, settings: Settings, session: ort.InferenceSession, tensor: typeof ort.Tensor, told: (share: number) => void): Promise<Float32Array> {
  const patch = settings.patch_size, { channels } = input;
  const before = input.shape.map((n, axis) => Math.floor(Math.max(0, patch[axis] - n) / 2)) as Triple;
  const shape = input.shape.map((n, axis) => Math.max(n, patch[axis])) as Triple, size = count(shape), side = count(patch);
  const volume = new Float32Array(channels * size);
  const [d, h, w] = input.shape;
  for (let c = 0; c < channels; c++)
    for (let z = 0; z < d; z++)
      for (let y = 0; y < h; y++) {
        const from = ((c * d + z) * h + y) * w;
        volume.set(input.data.subarray(from, from + w), c * size + ((z + before[0]) * shape[1] + y + before[1]) * shape[2] + before[2]);
      }
  const profiles = patch.map((n) => Float64Array.from({ length: n }, (_, k) => Math.exp(-0.5 * ((k - Math.floor(n / 2)) / (n / 8)) ** 2)));
  const total = new Float32Array(size), weights = new Float32Array(size), empty = new Map<number, Float32Array>();
  const [zs, ys, xs] = shape.map((n, axis) => starts(n, patch[axis], settings.step));
  const tiles = zs.flatMap((z) => ys.flatMap((y) => xs.map((x) => [z, y, x])));
  for (const [number, [z0, y0, x0]] of tiles.entries()) {
    told(number / tiles.length);
    const tile = new Float32Array(channels * side);
    for (let c = 0; c < channels; c++)
      for (let z = 0; z < patch[0]; z++)
        for (let y = 0; y < patch[1]; y++) {
          const from = c * size + ((z0 + z) * shape[1] + y0 + y) * shape[2] + x0;
          tile.set(volume.subarray(from, from + patch[2]), ((c * patch[0] + z) * patch[1] + y) * patch[2]);
        }
    const plain = tile.every((value) => value === tile[0]);
    const known = plain ? empty.get(tile[0]) : undefined;
    const lesion = known ?? (await probability(tile, channels, settings, session, tensor));
    if (plain) empty.set(tile[0], lesion);
    for (let z = 0, i = 0; z < patch[0]; z++)
      for (let y = 0; y < patch[1]; y++) {
        let at = ((z0 + z) * shape[1] + y0 + y) * shape[2] + x0;
        for (let x = 0; x < patch[2]; x++, i++, at++) {
          const weight = profiles[0][z] * profiles[1][y] * profiles[2][x];
          total[at] += weight * lesion[i];
          weights[at] += weight;
        }
      }
  }
  const result = new Float32Array(count(input.shape));
  for (let z = 0, i = 0; z < d; z++)
    for (let y = 0; y < h; y++)
      for (let x = 0; x < w; x++, i++) {
        const at = ((z + before[0]) * shape[1] + y + before[1]) * shape[2] + x + before[2];
        result[i] = total[at] / weights[at];
      }
  return result;
}

/** Probability of any lesion in one patch, the mean over the flips. */
async function probability(tile: Float32Array, channels: number, settings: Settings, session: ort.InferenceSession, tensor: typeof ort.Tensor): Promise<Float32Array> {
  const patch = settings.patch_size, side = count(patch), mean = new Float32Array(side);
  for (const axes of settings.flips) {
    const given = flipped(tile, channels, patch, axes);
    const { logits } = await session.run({ patch: new tensor("float32", given, [1, channels, ...patch]) });
    const values = (await logits.getData()) as Float32Array, classes = logits.dims[1], lesion = new Float32Array(side);
    for (let i = 0; i < side; i++) {
      let most = -Infinity, sum = 0;
      for (let k = 0; k < classes; k++) most = Math.max(most, values[k * side + i]);
      for (let k = 0; k < classes; k++) sum += Math.exp(values[k * side + i] - most);
      lesion[i] = 1 - Math.exp(values[i] - most) / sum;
    }
    logits.dispose();
    const turned = flipped(lesion, 1, patch, axes);
    for (let i = 0; i < side; i++) mean[i] += turned[i] / settings.flips.length;
  }
  return mean;
}

function flipped(data: Float32Array, channels: number, [d, h, w]: Triple, axes: number[]): Float32Array {
  if (!axes.length) return data;
  const result = new Float32Array(data.length), turn = (axis: number, at: number, n: number) => (axes.includes(axis) ? n - 1 - at : at);
  for (let c = 0, i = 0; c < channels; c++)
    for (let z = 0; z < d; z++)
      for (let y = 0; y < h; y++)
        for (let x = 0; x < w; x++) result[i++] = data[((c * d + turn(0, z, d)) * h + turn(1, y, h)) * w + turn(2, x, w)];
  return result;
}

/** Set to 0 what lies further than the margin from the template's brain; transforms/brain_cut.py. */
export function cut(probability: Float32Array, way: Way, nearness: Volume, margin: number): void {
  const { shape, affine } = way.grid(), near = linear(nearness, multiply(inverse(nearness.affine), affine), shape);
  const inside = Uint8Array.from(near, (value) => (value >= 1000 - margin ? 1 : 0));
  const [nx, ny, nz] = shape, last = way instanceof WholeBrain; // the last axis is the fastest in its probabilities
  for (let i = 0; i < probability.length; i++) {
    const at = last ? Math.floor(i / (ny * nz)) + nx * ((Math.floor(i / nz) % ny) + ny * (i % nz)) : i;
    if (!inside[at]) probability[i] = 0;
  }
}
