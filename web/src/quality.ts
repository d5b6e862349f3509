/** Is a registration good enough to be passed on? As stroke_nets/registration/quality.py. */
import { type Matrix, inverse, multiply, singular } from "./matrix";
import type { Regions } from "./template";
import { type Volume, blurred, linear, thinned } from "./volume";

const FINE_MM = 3, DARKEST = 20;
const LEAST_INFORMATION = 0.3, FAIR_INFORMATION = 0.4, LEAST_RESEMBLANCE = 0.4, FAIR_RESEMBLANCE = 0.5;
const MOST_UNSEEN = 0.1, SOME_UNSEEN = 0.02, LEAST_SCALE = 0.8, MOST_SCALE = 1.4, MOST_STRETCH = 1.3, LEAST_CONTRAST = 1.15, LEAST_SCALP = 0.15;

export interface Quality {
  information: number;
  resemblance: number;
  outside: number;
  empty: number;
  least_scale: number;
  most_scale: number;
  contrast: number;
  scalp: number;
}

const percent = (share: number) => `${Math.round(100 * share)} %`;

/** Why a registration must not be used, in words; empty if it may be. */
export function problems(q: Quality): string[] {
  const found: string[] = [];
  if (q.outside > MOST_UNSEEN) found.push(`${percent(q.outside)} of the brain lies outside the field of view`);
  else if (q.empty > MOST_UNSEEN) found.push(`${percent(q.empty)} of the brain is empty`);
  if (q.information < LEAST_INFORMATION || Math.abs(q.resemblance) < LEAST_RESEMBLANCE) found.push(`no brain is recognised there (${fit(q)})`);
  const scales = `${q.least_scale.toFixed(2)} to ${q.most_scale.toFixed(2)}`;
  if (q.least_scale < LEAST_SCALE || q.most_scale > MOST_SCALE) found.push(`scaled by ${scales}`);
  else if (q.most_scale > MOST_STRETCH * q.least_scale) found.push(`stretched, by ${scales}`);
  return found;
}

/** What is odd but may be right, in words. */
export function warnings(q: Quality): string[] {
  const found: string[] = [], unseen = Math.max(q.outside, q.empty);
  if (SOME_UNSEEN < unseen && unseen <= MOST_UNSEEN) found.push(`${percent(unseen)} of the brain is not in view; lesions there are missed`);
  if (q.resemblance < 0 || q.contrast < LEAST_CONTRAST)
    found.push(`its contrast is not T1w (white matter is ${q.contrast.toFixed(2)} times as bright as grey matter); the network knows no other`);
  else if (q.information < FAIR_INFORMATION || q.resemblance < FAIR_RESEMBLANCE) found.push(`the scan fits the template only fairly (${fit(q)})`);
  if (q.scalp < LEAST_SCALP && q.contrast >= LEAST_CONTRAST)
    found.push("nothing is seen around the brain: it is skull-stripped, and the network knows whole heads alone");
  return found;
}

/** Whether another pose may fit better. */
export const doubtful = (q: Quality): boolean => problems(q).length > 0 || warnings({ ...q, scalp: 1 }).length > 0;

/** The higher, the better the scan fits. */
export const score = (q: Quality): number => q.information * (1 - q.outside);

const fit = (q: Quality) => `information ${q.information.toFixed(2)}, resemblance ${q.resemblance.toFixed(2)}`;

/** Measure a registration of a canonical scan. */
export function measure(scan: Volume, matrix: Matrix, regions: Regions): Quality {
  const fine = thinned(scan, FINE_MM), { shape } = regions.brain;
  const there = multiply(inverse(fine.affine), multiply(matrix, regions.brain.affine));
  const seen = linear(fine, there, shape);
  const view = linear({ data: new Float32Array(fine.data.length).fill(1), shape: fine.shape }, there, shape);
  const smooth = blurred({ data: seen, shape }, [1, 1, 1]).data;
  const where = (part: number) => {
    const found: number[] = [];
    regions.parts.forEach((flags, i) => {
      if (flags & part) found.push(i);
    });
    return found;
  };
  const alike = [4, 8].map((half) => correlation(where(half).map((i) => [smooth[i], regions.smooth[i]])));
  const [white, grey] = [16, 32].map((tissue) => median(where(tissue).map((i) => seen[i])));
  const scales = singular(matrix), brain = where(64), inner = where(2);
  const scalp = where(128), around = scalp.filter((i) => view[i] > 0.5).map((i) => seen[i]);
  return {
    information: information(where(1).map((i) => [regions.brain.data[i], seen[i]])),
    resemblance: Math.abs(alike[1]) > Math.abs(alike[0]) ? alike[1] : alike[0],
    outside: 1 - brain.filter((i) => view[i] > 0.5).length / brain.length,
    empty: inner.filter((i) => seen[i] < DARKEST).length / inner.length,
    least_scale: 1 / Math.max(...scales),
    most_scale: 1 / Math.min(...scales),
    contrast: white / Math.max(grey, 1),
    scalp: around.length > 0.3 * scalp.length ? median(around) / Math.max(median(inner.map((i) => seen[i])), 1) : 1,
  };
}

function median(values: number[]): number {
  values.sort((a, b) => a - b);
  const half = values.length >> 1;
  return values.length % 2 ? values[half] : (values[half - 1] + values[half]) / 2;
}

function correlation(pairs: number[][]): number {
  const mean = [0, 1].map((k) => pairs.reduce((sum, pair) => sum + pair[k], 0) / pairs.length);
  let xy = 0, xx = 0, yy = 0;
  for (const [x, y] of pairs) {
    xy += (x - mean[0]) * (y - mean[1]);
    xx += (x - mean[0]) ** 2;
    yy += (y - mean[1]) ** 2;
  }
  return xx === 0 ? 0 : xy / Math.sqrt(xx * yy);
}

/** Mutual information of two samples, in bits, of 32 x 32 bins. */
function information(pairs: number[][]): number {
  const bins = 32, joint = new Float64Array(bins * bins), alone = [new Float64Array(bins), new Float64Array(bins)];
  const low = [Infinity, Infinity], high = [-Infinity, -Infinity];
  for (const pair of pairs)
    for (const k of [0, 1]) {
      low[k] = Math.min(low[k], pair[k]);
      high[k] = Math.max(high[k], pair[k]);
    }
  for (const pair of pairs) {
    const [a, b] = pair.map((value, k) => Math.min(Math.floor(((value - low[k]) / (high[k] - low[k] || 1)) * bins), bins - 1));
    joint[a * bins + b]++;
    alone[0][a]++;
    alone[1][b]++;
  }
  let sum = 0;
  joint.forEach((n, i) => {
    if (n) sum += (n / pairs.length) * Math.log2((n * pairs.length) / (alone[0][Math.floor(i / bins)] * alone[1][i % bins]));
  });
  return sum;
}
