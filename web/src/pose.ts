/** Where a head may lie: a search over all turns at low resolution; as stroke_nets/registration/pose.py. */
import { type Matrix, type Triple, apply, inverse, multiply, sizes } from "./matrix";
import { type Volume, count, linear, rint, thinned } from "./volume";

const STEP_MM = 10, SIZE = 0.92, TURNS = [-30, 0, 30], APART = 25;

/**
 * Maps from the template's mm to the scan's mm, the likeliest first, at least 25 degrees apart.
 *
 * @param low the template's brain and a margin at 10 mm, -1 elsewhere
 */
export function findPoses(scan: Volume, low: Volume, most: number): Matrix[] {
  const coarse = thinned(scan, 0.5 * STEP_MM), voxels = sizes(coarse.affine);
  const reach = Math.max(...coarse.shape.map((n, axis) => n * voxels[axis])), longest = Math.max(...low.shape);
  const search = new Search(coarse, low, fastLength(Math.max(rint(reach / STEP_MM), longest) + (longest >> 1)));
  const found = turns().map((turn) => ({ turn, ...search.bestShift(turn) })).sort((one, other) => other.fit - one.fit);
  const kept: typeof found = [];
  for (const pose of found) if (kept.length < most && kept.every((other) => angle(pose.turn, other.turn) > APART)) kept.push(pose);
  return kept.map((pose) => pose.matrix);
}

/** Correlations of the pattern with a turned scan, over all shifts. */
class Search {
  private where: number[] = []; // of the pattern's voxels, in a cube of the given side
  private deviation: Float64Array;
  private norm: number;

  constructor(private scan: Volume, private low: Volume, private side: number) {
    const [nx, ny] = low.shape, values: number[] = [];
    low.data.forEach((value, i) => {
      if (value < 0) return;
      this.where.push((i % nx) + side * ((Math.floor(i / nx) % ny) + side * Math.floor(i / (nx * ny))));
      values.push(value);
    });
    const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
    this.deviation = Float64Array.from(values, (value) => value - mean);
    this.norm = Math.sqrt(this.deviation.reduce((sum, value) => sum + value * value, 0));
  }

  bestShift(turn: Matrix): { fit: number; matrix: Matrix } {
    const { scan, low, side } = this, cube: Triple = [side, side, side];
    const turned = turn.map((value, i) => (i < 12 && i % 4 < 3 ? SIZE * value : value));
    const centre = apply(scan.affine, scan.shape.map((n) => (n - 1) / 2) as Triple);
    const middle = (STEP_MM * (side - 1)) / 2, first = apply(placed(turned, centre), [-middle, -middle, -middle]);
    const grid = placed(turned.map((value, i) => (i % 4 < 3 && i < 12 ? STEP_MM * value : value)), first);
    const seen = linear(scan, multiply(inverse(scan.affine), grid), cube);
    const spans = low.shape.map((n) => side - n + 1), total = new Float64Array(count(spans as Triple));
    const product = total.slice(), square = total.slice(), places = new Int32Array(total.length);
    let largest = 0;
    for (let z = 0, i = 0; z < spans[2]; z++)
      for (let y = 0; y < spans[1]; y++)
        for (let x = 0; x < spans[0]; x++, i++) {
          const from = x + side * (y + side * z);
          let sum = 0, squares = 0, along = 0;
          for (let k = 0; k < this.where.length; k++) {
            const value = seen[from + this.where[k]];
            sum += value;
            squares += value * value;
            along += value * this.deviation[k];
          }
          [total[i], product[i], square[i], places[i]] = [sum, along, squares, from];
          largest = Math.max(largest, squares);
        }
    let fit = -Infinity, at = 0;
    total.forEach((sum, i) => {
      const spread = Math.sqrt(Math.max(square[i] - (sum * sum) / this.where.length, 1e-6 * largest));
      const correlation = product[i] / (spread * this.norm);
      if (correlation > fit) [fit, at] = [correlation, places[i]];
    });
    const best = [at % side, Math.floor(at / side) % side, Math.floor(at / (side * side))];
    const origin = apply(low.affine, [0, 0, 0]);
    const shift = apply(placed(turned, first), best.map((n, axis) => STEP_MM * n - origin[axis]) as Triple);
    return { fit, matrix: placed(turned, shift) };
  }
}

/** The same turn, to another place. */
const placed = (turn: Matrix, to: Triple): Matrix => turn.map((value, i) => (i < 12 && i % 4 === 3 ? to[(i - 3) / 4] : value));

/** All of the search's turns: 27 small ones about each of a cube's 24. */
function turns(): Matrix[] {
  const near = TURNS.flatMap((x) => TURNS.flatMap((y) => TURNS.map((z) => multiply(about(2, z), multiply(about(1, y), about(0, x))))));
  return near.flatMap((turn) => square().map((quarter) => multiply(turn, quarter)));
}

/** A turn about one axis. */
function about(axis: number, degrees: number): Matrix {
  const c = Math.cos((degrees * Math.PI) / 180), s = Math.sin((degrees * Math.PI) / 180), [a, b] = [(axis + 1) % 3, (axis + 2) % 3];
  const turn = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];
  [turn[5 * a], turn[5 * b], turn[4 * a + b], turn[4 * b + a]] = [c, c, -s, s];
  return turn;
}

/** The turns that leave a cube as it is. */
function square(): Matrix[] {
  const found: Matrix[] = [];
  for (const [a, b, c, parity] of [[0, 1, 2, 1], [1, 2, 0, 1], [2, 0, 1, 1], [0, 2, 1, -1], [2, 1, 0, -1], [1, 0, 2, -1]])
    for (const x of [1, -1]) for (const y of [1, -1]) {
      const turn = new Array<number>(16).fill(0);
      [turn[a], turn[4 + b], turn[8 + c], turn[15]] = [x, y, x * y * parity, 1];
      found.push(turn);
    }
  return found;
}

/** Degrees between two turns. */
function angle(one: Matrix, other: Matrix): number {
  const trace = [0, 1, 2].reduce((sum, i) => sum + [0, 1, 2].reduce((row, k) => row + one[4 * i + k] * other[4 * i + k], 0), 0);
  return (Math.acos(Math.min(Math.max((trace - 1) / 2, -1), 1)) * 180) / Math.PI;
}

/** SciPy's next_fast_len: no prime factor above 11. */
function fastLength(n: number): number {
  const rest = [2, 3, 5, 7, 11].reduce((left, prime) => {
    while (left % prime === 0) left /= prime;
    return left;
  }, n);
  return rest === 1 ? n : fastLength(n + 1);
}
