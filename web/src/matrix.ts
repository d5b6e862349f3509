/** Maps of places: 4 x 4 matrices, row by row. */
export type Matrix = number[];
export type Triple = [number, number, number];

export const IDENTITY: Matrix = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

export function multiply(a: Matrix, b: Matrix): Matrix {
  const product = new Array<number>(16).fill(0);
  for (let row = 0; row < 4; row++)
    for (let column = 0; column < 4; column++)
      for (let k = 0; k < 4; k++) product[4 * row + column] += a[4 * row + k] * b[4 * k + column];
  return product;
}

export const scaled = (x: number, y: number, z: number): Matrix => [x, 0, 0, 0, 0, y, 0, 0, 0, 0, z, 0, 0, 0, 0, 1];

export const shifted = (x: number, y: number, z: number): Matrix => [1, 0, 0, x, 0, 1, 0, y, 0, 0, 1, z, 0, 0, 0, 1];

export const apply = (m: Matrix, [x, y, z]: Triple): Triple => [
  m[0] * x + m[1] * y + m[2] * z + m[3],
  m[4] * x + m[5] * y + m[6] * z + m[7],
  m[8] * x + m[9] * y + m[10] * z + m[11],
];

/** Lengths of the three columns: voxel sizes of an affine, mm. */
export const sizes = (m: Matrix): Triple => [0, 1, 2].map((c) => Math.hypot(m[c], m[4 + c], m[8 + c])) as Triple;

export const determinant = (m: Matrix): number =>
  m[0] * (m[5] * m[10] - m[6] * m[9]) - m[1] * (m[4] * m[10] - m[6] * m[8]) + m[2] * (m[4] * m[9] - m[5] * m[8]);

export function inverse(m: Matrix): Matrix {
  const columns = IDENTITY.map((_, i) => i).slice(0, 4).map((c) => {
    const unit = new Float64Array(4);
    unit[c] = 1;
    return solve(Float64Array.from(m), unit);
  });
  const found = new Array<number>(16);
  for (let row = 0; row < 4; row++) for (let column = 0; column < 4; column++) found[4 * row + column] = columns[column][row];
  return found;
}

/** Solve n linear equations, given row by row, by Gauss's elimination with pivots. */
export function solve(equations: Float64Array, right: Float64Array): Float64Array {
  const n = right.length, a = equations.slice(), b = right.slice();
  for (let k = 0; k < n; k++) {
    let pivot = k;
    for (let row = k + 1; row < n; row++) if (Math.abs(a[row * n + k]) > Math.abs(a[pivot * n + k])) pivot = row;
    if (a[pivot * n + k] === 0) throw new Error("singular equations");
    if (pivot !== k) {
      for (let c = 0; c < n; c++) [a[k * n + c], a[pivot * n + c]] = [a[pivot * n + c], a[k * n + c]];
      [b[k], b[pivot]] = [b[pivot], b[k]];
    }
    for (let row = k + 1; row < n; row++) {
      const factor = a[row * n + k] / a[k * n + k];
      if (factor === 0) continue;
      for (let c = k; c < n; c++) a[row * n + c] -= factor * a[k * n + c];
      b[row] -= factor * b[k];
    }
  }
  for (let k = n - 1; k >= 0; k--) {
    for (let c = k + 1; c < n; c++) b[k] -= a[k * n + c] * b[c];
    b[k] /= a[k * n + k];
  }
  return b;
}

/** Singular values of the linear part, by Jacobi's rotations of its Gram matrix. */
export function singular(m: Matrix): number[] {
  const gram = [0, 1, 2].map((r) => [0, 1, 2].map((c) => m[r] * m[c] + m[4 + r] * m[4 + c] + m[8 + r] * m[8 + c]));
  for (let sweep = 0; sweep < 30; sweep++)
    for (const [p, q] of [[0, 1], [0, 2], [1, 2]]) {
      if (Math.abs(gram[p][q]) < 1e-15) continue;
      const theta = 0.5 * Math.atan2(2 * gram[p][q], gram[q][q] - gram[p][p]);
      const c = Math.cos(theta), s = Math.sin(theta);
      for (let k = 0; k < 3; k++) [gram[p][k], gram[q][k]] = [c * gram[p][k] - s * gram[q][k], s * gram[p][k] + c * gram[q][k]];
      for (let k = 0; k < 3; k++) [gram[k][p], gram[k][q]] = [c * gram[k][p] - s * gram[k][q], s * gram[k][p] + c * gram[k][q]];
    }
  return [0, 1, 2].map((k) => Math.sqrt(gram[k][k]));
}
