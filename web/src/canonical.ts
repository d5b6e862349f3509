/** One form of every scan; as stroke_nets/registration/canonical.py. */
import { type Triple, apply, multiply, shifted, sizes } from "./matrix";
import { type Volume, count, parts, percentile, rint } from "./volume";

const COARSE_MM = 4, MARGIN_MM = 24, FULL_SCALE = 1000, BRIGHTEST = 1.2;

export interface Canonical {
  /** Air 0, brightest tissue 1000, whole numbers; the world's origin is the head's centre. */
  volume: Volume;
  centre: Triple;
  air: number;
  unit: number;
}

/** The canonical form of a scan whose axes run about right, anterior, superior; null if no head stands out. */
export function canonical(scan: Volume): Canonical | null {
  const steps = stepsOf(scan, COARSE_MM);
  const coarse = every(scan, steps);
  const ordered = Float32Array.from(coarse.data).sort();
  const low = percentile(ordered, 0.5), high = percentile(ordered, 99.5);
  if (low === high) return null;
  const limit = otsu(coarse.data.map((value) => Math.min(Math.max(value, low), high)));
  const bright = Uint8Array.from(coarse.data, (value) => (Math.min(Math.max(value, -Infinity), Infinity) > limit ? 1 : 0));
  const head = largest(dilated(eroded(bright, coarse.shape), coarse.shape), coarse.shape);
  if (!head) return null;
  const around = dilated(head, coarse.shape);
  const outside = coarse.data.filter((_, i) => !around[i]).sort();
  const air = outside.length ? percentile(outside, 50) : ordered[0];
  const unit = percentile(coarse.data.filter((_, i) => head[i] === 1).sort(), 99.5) - air;
  const sum: Triple = [0, 0, 0], first: Triple = [Infinity, Infinity, Infinity], last: Triple = [-1, -1, -1];
  let inside = 0;
  const [nx, ny, nz] = coarse.shape;
  for (let z = 0, i = 0; z < nz; z++)
    for (let y = 0; y < ny; y++)
      for (let x = 0; x < nx; x++, i++)
        if (head[i]) {
          inside++;
          [x, y, z].forEach((at, axis) => {
            sum[axis] += at;
            first[axis] = Math.min(first[axis], at);
            last[axis] = Math.max(last[axis], at);
          });
        }
  const centre = apply(scan.affine, sum.map((total, axis) => (total / inside) * steps[axis]) as Triple);
  const margins = stepsOf(scan, MARGIN_MM);
  const starts = first.map((at, axis) => Math.max(at * steps[axis] - margins[axis], 0)) as Triple;
  const stops = last.map((at, axis) => Math.min((at + 1) * steps[axis] + margins[axis], scan.shape[axis])) as Triple;
  const shape = stops.map((stop, axis) => stop - starts[axis]) as Triple, data = new Float32Array(count(shape));
  const [sx, sy] = scan.shape, narrow = Math.fround(air), one = Math.fround(unit);
  for (let z = 0, i = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++) {
      let at = starts[0] + sx * (starts[1] + y + sy * (starts[2] + z));
      for (let x = 0; x < shape[0]; x++, i++, at++) {
        const value = Math.fround(Math.fround(scan.data[at] - narrow) / one);
        data[i] = rint(Math.fround(Math.min(Math.max(value, 0), Math.fround(BRIGHTEST)) * FULL_SCALE));
      }
    }
  const affine = multiply(shifted(-centre[0], -centre[1], -centre[2]), multiply(scan.affine, shifted(...starts)));
  return { volume: { data, shape, affine }, centre, air, unit };
}

/** Every how manieth voxel gives voxels of about `size` mm. */
const stepsOf = (scan: Volume, size: number): Triple => sizes(scan.affine).map((mm) => Math.max(rint(size / mm), 1)) as Triple;

function every(scan: Volume, steps: Triple): { data: Float32Array; shape: Triple } {
  const shape = scan.shape.map((n, axis) => Math.ceil(n / steps[axis])) as Triple, data = new Float32Array(count(shape));
  for (let z = 0, i = 0; z < shape[2]; z++)
    for (let y = 0; y < shape[1]; y++)
      for (let x = 0; x < shape[0]; x++, i++) data[i] = scan.data[x * steps[0] + scan.shape[0] * (y * steps[1] + scan.shape[1] * z * steps[2])];
  return { data, shape };
}

/** The threshold between air and head that separates their values best (Otsu 1979). */
export function otsu(values: Float32Array, bins = 256): number {
  let low = Infinity, high = -Infinity;
  for (const value of values) {
    low = Math.min(low, value);
    high = Math.max(high, value);
  }
  const counts = new Float64Array(bins), width = (high - low) / bins;
  for (const value of values) {
    let bin = Math.min(Math.floor(((value - low) / (high - low)) * bins), bins - 1);
    if (value < low + bin * width) bin--;
    else if (bin < bins - 1 && value >= low + (bin + 1) * width) bin++;
    counts[bin]++;
  }
  const middle = (bin: number) => low + (bin + 0.5) * width;
  let total = 0, weighted = 0;
  counts.forEach((n, bin) => {
    total += n;
    weighted += n * middle(bin);
  });
  let below = 0, sum = 0, best = -1, found = low;
  for (let bin = 0; bin < bins - 1; bin++) {
    below += counts[bin];
    sum += counts[bin] * middle(bin);
    const above = total - below, gap = sum / below - (weighted - sum) / Math.max(above, 1);
    const apart = below * above * gap * gap;
    if (apart > best) [best, found] = [apart, middle(bin)];
  }
  return found;
}

function eroded(mask: Uint8Array, shape: Triple): Uint8Array {
  return spread(mask, shape, (all) => (all === 7 ? 1 : 0));
}

export function dilated(mask: Uint8Array, shape: Triple): Uint8Array {
  return spread(mask, shape, (all) => (all > 0 ? 1 : 0));
}

/** A voxel and its six neighbours, those outside counted as 0. */
function spread(mask: Uint8Array, shape: Triple, rule: (all: number) => number): Uint8Array {
  const [nx, ny, nz] = shape, result = new Uint8Array(mask.length);
  for (let z = 0, i = 0; z < nz; z++)
    for (let y = 0; y < ny; y++)
      for (let x = 0; x < nx; x++, i++) {
        let all = mask[i];
        if (x > 0) all += mask[i - 1];
        if (x < nx - 1) all += mask[i + 1];
        if (y > 0) all += mask[i - nx];
        if (y < ny - 1) all += mask[i + nx];
        if (z > 0) all += mask[i - nx * ny];
        if (z < nz - 1) all += mask[i + nx * ny];
        result[i] = rule(all);
      }
  return result;
}

/** The largest connected part; null if there is none. */
function largest(mask: Uint8Array, shape: Triple): Uint8Array | null {
  const { labels, sizes: found } = parts(mask, shape);
  if (found.length === 1) return null;
  let best = 1;
  found.forEach((size, label) => {
    if (label && size > found[best]) best = label;
  });
  return Uint8Array.from(labels, (label) => (label === best ? 1 : 0));
}
