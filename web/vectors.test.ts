/** The page's steps beside predict's: web/vectors.json, which tests/web/test_vectors.py makes. */
import { readFileSync } from "node:fs";
import { expect, test } from "vitest";
import { canonical } from "./src/canonical";
import { lesionsOf } from "./src/lesions";
import type { Triple } from "./src/matrix";
import { type Settings, starts, sweep } from "./src/network";
import { cubic, gaussianOfMonai, linear, thinned } from "./src/volume";

const vectors = JSON.parse(readFileSync(new URL("vectors.json", import.meta.url), "utf8"));

/** Alike up to float32 sums in another order, a few parts in 1e7 of the largest value, and seven written digits. */
function alike(found: ArrayLike<number>, expected: number[]): void {
  expect(found.length).toBe(expected.length);
  const largest = Math.max(...expected.map(Math.abs));
  expected.forEach((value, i) => expect(Math.abs(found[i] - value), `value ${i}`).toBeLessThan(2e-6 * largest));
}

const volume = ({ data, shape, affine }: { data: number[]; shape: Triple; affine: number[] }) => ({ data: Float32Array.from(data), shape, affine });

test("trilinear sampling", () => {
  const { out, there, expected, ...given } = vectors.linear;
  alike(linear(volume(given), there, out), expected);
});

test("cubic splines", () => {
  const { out, there, expected, ...given } = vectors.cubic;
  alike(cubic(volume(given), there, out, { low: [0, 0, 0], high: out }), expected);
});

test("thinned to about 1 mm", () => {
  const { size, out, expected, expected_affine, ...given } = vectors.thinned, found = thinned(volume(given), size);
  expect(found.shape).toEqual(out);
  alike(found.affine, expected_affine);
  alike(found.data, expected);
});

test("canonical form", () => {
  const { air, unit, centre, out, expected, expected_affine, ...given } = vectors.canonical, found = canonical(volume(given))!;
  alike([found.air, found.unit, ...found.centre], [air, unit, ...centre]);
  expect(found.volume.shape).toEqual(out);
  alike(found.volume.affine, expected_affine);
  expect(Array.from(found.volume.data)).toEqual(expected); // whole numbers: the same ones
});

test("first voxels of patches", () => {
  for (const { length, patch, step, expected } of vectors.patches) expect(starts(length, patch, step)).toEqual(expected);
});

test("smoothing before the brain's box", () => alike(gaussianOfMonai(vectors.smoothing.sigma), vectors.smoothing.expected));

test("mean of overlapping, flipped patches", async () => {
  const { data, shape, patch, step, flips, expected } = vectors.sweep, [d, h, w] = patch as Triple, side = d * h * w;
  const session = {
    run: async ({ patch: { data: tile } }: { patch: { data: Float32Array } }) => {
      const logits = new Float32Array(2 * side); // as network() in test_vectors.py
      for (let i = 0; i < side; i++) logits[side + i] = tile[i] + 0.5 * tile[i - (i % w) + ((i % w) + w - 1) % w];
      return { logits: { dims: [1, 2, d, h, w], getData: async () => logits, dispose: () => {} } };
    },
  };
  const tensor = class {
    constructor(_: string, public data: Float32Array) {}
  };
  const input = { data: Float32Array.from(data), channels: 1, shape };
  const settings = { patch_size: patch, step, flips } as Settings;
  alike(await sweep(input, settings, session as never, tensor as never, () => {}), expected);
});

test("lesions of at least a volume", () => {
  const { threshold, minimum_ml, expected, ...given } = vectors.lesions, { data, shape, affine } = volume(given);
  expect(Array.from(lesionsOf(data, shape, affine, threshold, minimum_ml).mask)).toEqual(expected);
});
