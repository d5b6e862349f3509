/** Volumes in world millimetres; as stroke_nets/registration/volume.py and transforms/spline.py. */
import { type Matrix, type Triple, multiply, scaled, sizes } from "./matrix";

/** Voxels, the first axis fastest, and where they are: voxel to mm. */
export interface Volume {
  data: Float32Array;
  shape: Triple;
  affine: Matrix;
}

/** First and last voxel but one of a part, along each axis. */
export interface Box {
  low: Triple;
  high: Triple;
}

export const count = ([x, y, z]: Triple): number => x * y * z;

/** Weights of SciPy's gaussian_filter1d, from the middle outwards. */
function gaussian(sigma: number): Float64Array {
  const radius = Math.floor(4 * sigma + 0.5);
  const weights = Float64Array.from({ length: radius + 1 }, (_, k) => Math.exp((-0.5 * k * k) / (sigma * sigma)));
  const sum = weights.reduce((total, weight, k) => total + (k ? 2 : 1) * weight, 0);
  return weights.map((weight) => weight / sum);
}

/** Weights of MONAI's GaussianSmooth (approx="erf", truncated=4), from the middle outwards. */
export function gaussianOfMonai(sigma: number): Float64Array {
  const tail = Math.floor(Math.max(4 * sigma, 0.5) + 0.5), t = Math.SQRT1_2 / sigma;
  return Float64Array.from({ length: tail + 1 }, (_, k) => Math.max(0, 0.5 * (erf(t * (k + 0.5)) - erf(t * (k - 0.5)))));
}

/** The error function, by its series: exact to rounding for the small arguments here. */
function erf(x: number): number {
  if (x < 0) return -erf(-x);
  if (x > 5) return 1;
  let sum = x, term = x;
  for (let n = 1; n < 200; n++) {
    term *= (-x * x) / n;
    sum += term / (2 * n + 1);
  }
  return (2 / Math.sqrt(Math.PI)) * sum;
}

/** Convolve along one axis, at every `step`-th voxel; mirrored at the ends, or zero there. */
export function smoothed(volume: { data: Float32Array; shape: Triple }, axis: number, weights: Float64Array, step = 1, mirrored = true): { data: Float32Array; shape: Triple } {
  const { data, shape } = volume, n = shape[axis], radius = weights.length - 1;
  const out = shape.slice() as Triple;
  out[axis] = Math.ceil(n / step);
  const strides = [1, shape[0], shape[0] * shape[1]], wide = [1, out[0], out[0] * out[1]];
  const result = new Float32Array(count(out)), line = new Float64Array(n + 2 * radius);
  const source = new Int32Array(n + 2 * radius);
  for (let i = 0; i < source.length; i++) {
    let at = i - radius;
    if (mirrored) {
      at = ((at % (2 * n)) + 2 * n) % (2 * n); // d c b a | a b c d | d c b a
      source[i] = at < n ? at : 2 * n - 1 - at;
    } else source[i] = at < 0 || at >= n ? -1 : at;
  }
  const [p, q] = [0, 1, 2].filter((other) => other !== axis);
  for (let j = 0; j < shape[q]; j++)
    for (let i = 0; i < shape[p]; i++) {
      const from = i * strides[p] + j * strides[q], to = i * wide[p] + j * wide[q];
      for (let k = 0; k < line.length; k++) line[k] = source[k] < 0 ? 0 : data[from + source[k] * strides[axis]];
      for (let k = 0; k < out[axis]; k++) {
        const middle = k * step + radius;
        let sum = weights[0] * line[middle];
        for (let w = 1; w <= radius; w++) sum += weights[w] * (line[middle - w] + line[middle + w]);
        result[to + k * wide[axis]] = sum;
      }
    }
  return { data: result, shape: out };
}

/** Smoothed by a Gaussian of the given sigmas, in voxels. */
export function blurred<V extends { data: Float32Array; shape: Triple }>(volume: V, sigmas: Triple): V {
  let now: { data: Float32Array; shape: Triple } = volume;
  for (let axis = 0; axis < 3; axis++) now = smoothed(now, axis, gaussian(sigmas[axis]));
  return { ...volume, ...now };
}

/** Smoothed, with voxels of about `size` mm, or as it is where they are larger. */
export function thinned(volume: Volume, size: number): Volume {
  const steps = sizes(volume.affine).map((mm) => Math.max(rint(size / mm), 1)) as Triple;
  let now: { data: Float32Array; shape: Triple } = volume;
  steps.forEach((step, axis) => {
    if (step > 1) now = smoothed(now, axis, gaussian(0.4 * step), step);
  });
  return { ...now, affine: multiply(volume.affine, scaled(...steps)) };
}

/** To the nearest whole number, halves to even ones. */
export function rint(value: number): number {
  const low = Math.floor(value), rest = value - low;
  return rest < 0.5 ? low : rest > 0.5 ? low + 1 : low % 2 ? low + 1 : low;
}

/** Trilinear on another grid, whose voxels `there` takes to these; 0 outside, or the border's value. */
export function linear(volume: { data: Float32Array; shape: Triple }, there: Matrix, shape: Triple, border = false): Float32Array {
  const { data } = volume, [nx, ny, nz] = volume.shape, sy = nx, sz = nx * ny;
  const result = new Float32Array(count(shape));
  const clip = (value: number, n: number) => (value < 0 ? 0 : value > n - 1 ? n - 1 : value);
  for (let k = 0, i = 0; k < shape[2]; k++)
    for (let j = 0; j < shape[1]; j++) {
      let x0 = there[1] * j + there[2] * k + there[3], y0 = there[5] * j + there[6] * k + there[7], z0 = there[9] * j + there[10] * k + there[11];
      for (let h = 0; h < shape[0]; h++, i++) {
        let x = x0 + there[0] * h, y = y0 + there[4] * h, z = z0 + there[8] * h;
        if (border) {
          x = clip(x, nx);
          y = clip(y, ny);
          z = clip(z, nz);
        }
        const fx = Math.floor(x), fy = Math.floor(y), fz = Math.floor(z);
        if (fx < -1 || fy < -1 || fz < -1 || fx >= nx || fy >= ny || fz >= nz) continue;
        const tx = x - fx, ty = y - fy, tz = z - fz;
        if (fx >= 0 && fy >= 0 && fz >= 0 && fx < nx - 1 && fy < ny - 1 && fz < nz - 1) {
          const at = fx + fy * sy + fz * sz;
          const a = data[at] + tx * (data[at + 1] - data[at]);
          const b = data[at + sy] + tx * (data[at + sy + 1] - data[at + sy]);
          const c = data[at + sz] + tx * (data[at + sz + 1] - data[at + sz]);
          const d = data[at + sy + sz] + tx * (data[at + sy + sz + 1] - data[at + sy + sz]);
          const low = a + ty * (b - a), high = c + ty * (d - c);
          result[i] = low + tz * (high - low);
          continue;
        }
        let sum = 0;
        for (let corner = 0; corner < 8; corner++) {
          const cx = fx + (corner & 1), cy = fy + ((corner >> 1) & 1), cz = fz + (corner >> 2);
          if (cx < 0 || cy < 0 || cz < 0 || cx >= nx || cy >= ny || cz >= nz) continue;
          sum += (corner & 1 ? tx : 1 - tx) * (corner & 2 ? ty : 1 - ty) * (corner & 4 ? tz : 1 - tz) * data[cx + cy * sy + cz * sz];
        }
        result[i] = sum;
      }
    }
  return result;
}

const POLE = Math.sqrt(3) - 2, HORIZON = 32, EDGE = 1e-3;

/** Coefficients of the cubic spline through mirrored samples, along all axes, in place (Unser 1999). */
function prefilter(data: Float32Array, shape: Triple): void {
  const strides = [1, shape[0], shape[0] * shape[1]];
  for (let axis = 0; axis < 3; axis++) {
    const n = shape[axis], stride = strides[axis];
    if (n === 1) continue;
    const [p, q] = [0, 1, 2].filter((other) => other !== axis);
    const line = new Float64Array(n), period = 2 * n - 2;
    for (let j = 0; j < shape[q]; j++)
      for (let i = 0; i < shape[p]; i++) {
        const first = i * strides[p] + j * strides[q];
        for (let k = 0; k < n; k++) line[k] = 6 * data[first + k * stride];
        let sum = 0;
        for (let k = Math.min(HORIZON, period) - 1; k >= 0; k--) sum = sum * POLE + line[Math.min(k, period - k)];
        line[0] = sum / (1 - POLE ** period);
        for (let k = 1; k < n; k++) line[k] += POLE * line[k - 1];
        line[n - 1] = ((line[n - 1] + POLE * line[n - 2]) * POLE) / (POLE * POLE - 1);
        for (let k = n - 2; k >= 0; k--) line[k] = POLE * (line[k + 1] - line[k]);
        for (let k = 0; k < n; k++) data[first + k * stride] = line[k];
      }
  }
}

/** Cubic splines on another grid, within a box of it; 0 elsewhere. The samples are overwritten. */
export function cubic(volume: { data: Float32Array; shape: Triple }, there: Matrix, shape: Triple, box: Box, told: (share: number) => void = () => {}): Float32Array {
  const [nx, ny, nz] = volume.shape;
  prefilter(volume.data, volume.shape);
  // one voxel before and two after, mirrored
  const px = nx + 3, py = ny + 3, padded = new Float32Array(px * py * (nz + 3));
  const mirror = (k: number, n: number) => {
    const period = Math.max(2 * n - 2, 1), at = Math.abs(k) % period;
    return Math.min(at, period - at) % n;
  };
  for (let z = 0, i = 0; z < nz + 3; z++)
    for (let y = 0; y < py; y++) {
      const from = mirror(z - 1, nz) * nx * ny + mirror(y - 1, ny) * nx;
      for (let x = 0; x < px; x++) padded[i++] = volume.data[from + mirror(x - 1, nx)];
    }
  const result = new Float32Array(count(shape)), sy = px, sz = px * py;
  const wx = new Float64Array(4), wy = new Float64Array(4), wz = new Float64Array(4);
  const weigh = (w: Float64Array, t: number) => {
    const s = 1 - t;
    w[0] = (s * s * s) / 6;
    w[1] = (t * t * (3 * t - 6) + 4) / 6;
    w[2] = (s * s * (3 * s - 6) + 4) / 6;
    w[3] = (t * t * t) / 6;
  };
  for (let k = box.low[2]; k < box.high[2]; k++) {
    told((k - box.low[2]) / (box.high[2] - box.low[2]));
    for (let j = box.low[1]; j < box.high[1]; j++) {
      const x0 = there[1] * j + there[2] * k + there[3], y0 = there[5] * j + there[6] * k + there[7], z0 = there[9] * j + there[10] * k + there[11];
      let i = box.low[0] + shape[0] * (j + shape[1] * k);
      for (let h = box.low[0]; h < box.high[0]; h++, i++) {
        let x = x0 + there[0] * h, y = y0 + there[4] * h, z = z0 + there[8] * h;
        if (x <= -EDGE || y <= -EDGE || z <= -EDGE || x >= nx - 1 + EDGE || y >= ny - 1 + EDGE || z >= nz - 1 + EDGE) continue;
        x = Math.min(Math.max(x, 0), nx - 1);
        y = Math.min(Math.max(y, 0), ny - 1);
        z = Math.min(Math.max(z, 0), nz - 1);
        const fx = Math.floor(x), fy = Math.floor(y), fz = Math.floor(z);
        weigh(wx, x - fx);
        weigh(wy, y - fy);
        weigh(wz, z - fz);
        const [a0, a1, a2, a3] = [wx[0], wx[1], wx[2], wx[3]];
        let sum = 0;
        for (let c = 0; c < 4; c++) {
          let plane = 0;
          for (let b = 0, at = fx + fy * sy + (fz + c) * sz; b < 4; b++, at += sy)
            plane += wy[b] * (a0 * padded[at] + a1 * padded[at + 1] + a2 * padded[at + 2] + a3 * padded[at + 3]);
          sum += wz[c] * plane;
        }
        result[i] = sum;
      }
    }
  }
  return result;
}

/** Connected parts of a mask, by faces: a label for each voxel, 0 outside, and the parts' sizes by label. */
export function parts(mask: Uint8Array, shape: Triple): { labels: Int32Array; sizes: number[] } {
  const [nx, ny, nz] = shape, labels = new Int32Array(mask.length), found = [0], stack: number[] = [];
  for (let seed = 0; seed < mask.length; seed++) {
    if (!mask[seed] || labels[seed]) continue;
    const label = found.length;
    found.push(0);
    labels[seed] = label;
    stack.push(seed);
    while (stack.length) {
      const at = stack.pop()!, x = at % nx, y = Math.floor(at / nx) % ny, z = Math.floor(at / (nx * ny));
      found[label]++;
      const visit = (next: number) => {
        if (mask[next] && !labels[next]) {
          labels[next] = label;
          stack.push(next);
        }
      };
      if (x > 0) visit(at - 1);
      if (x < nx - 1) visit(at + 1);
      if (y > 0) visit(at - nx);
      if (y < ny - 1) visit(at + nx);
      if (z > 0) visit(at - nx * ny);
      if (z < nz - 1) visit(at + nx * ny);
    }
  }
  return { labels, sizes: found };
}

/** NumPy's percentile, of numbers in order. */
export function percentile(ordered: Float32Array, percent: number): number {
  const at = (percent / 100) * (ordered.length - 1), low = Math.floor(at), high = Math.min(low + 1, ordered.length - 1);
  return ordered[low] + (at - low) * (ordered[high] - ordered[low]);
}
