/** From probabilities to a mask; as stroke_nets/transforms/lesion_mask.py. */
import { type Matrix, type Triple, determinant } from "./matrix";
import { parts } from "./volume";

export interface Lesions {
  mask: Uint8Array;
  /** Of each lesion, ml, the largest first. */
  volumes: number[];
}

export function lesionsOf(probability: Float32Array, shape: Triple, affine: Matrix, threshold: number, minimum: number): Lesions {
  const limit = Math.fround(threshold), ml = Math.abs(determinant(affine)) / 1000;
  const mask = Uint8Array.from(probability, (value) => (value >= limit ? 1 : 0));
  const { labels, sizes } = parts(mask, shape), least = minimum > 0 ? minimum / ml : 0;
  for (let i = 0; i < mask.length; i++) if (mask[i] && sizes[labels[i]] < least) mask[i] = 0;
  const volumes = sizes.slice(1).filter((size) => size >= least).map((size) => size * ml).sort((a, b) => b - a);
  return { mask, volumes };
}
