/** All that takes time: from a file's bytes to probabilities on the scan's own grid. */
import * as ort from "onnxruntime-web/wasm";
import wasm from "onnxruntime-web/ort-wasm-simd-threaded.wasm?url";
import mjs from "onnxruntime-web/ort-wasm-simd-threaded.mjs?url";
import niimath from "../../stroke_nets/registration/niimath/niimath.wasm?url";
import { allineate } from "./allineate";
import { type Canonical, canonical } from "./canonical";
import { type Lesions, lesionsOf } from "./lesions";
import { IDENTITY, type Matrix, type Triple, inverse, multiply, shifted } from "./matrix";
import { Refusal, type Scan, closest, onGrid, packed, read, requireImage } from "./nifti";
import { type Settings, GRID, cut, sweep, wayOf } from "./network";
import { findPoses } from "./pose";
import { type Quality, doubtful, measure, problems, score, warnings } from "./quality";
import { type Template, own, template } from "./template";
import { type Box, type Volume, cubic, linear, thinned } from "./volume";

const POSES = 3; // tried where the scan's own header leads to a doubtful result

export interface Found {
  settings: Settings;
  quality: Quality;
  warnings: string[];
  matrix: Matrix;
  runtime: string;
  seconds: Record<string, number>;
}

export type Question =
  | { kind: "find"; file: Uint8Array }
  | { kind: "lesions"; threshold: number; minimum: number }
  | { kind: "save"; what: "mask" | "probability" };

let scan: Scan, probability: Float32Array, lesions: Lesions;
let engine: { settings: Settings; session: ort.InferenceSession; runtime: string } | undefined;

const tell = (step: string, share: number) => postMessage({ kind: "progress", step, share });

onmessage = async ({ data }: MessageEvent<Question>) => {
  try {
    if (data.kind === "find") postMessage({ kind: "found", found: await find(data.file) });
    else if (data.kind === "lesions") {
      lesions = lesionsOf(probability, scan.shape, scan.affine, data.threshold, data.minimum);
      postMessage({ kind: "lesions", volumes: lesions.volumes, mask: onGrid(scan, lesions.mask) });
    } else {
      const voxels = data.what === "mask" ? lesions.mask : probability;
      postMessage({ kind: "saved", what: data.what, bytes: await packed(onGrid(scan, voxels)) });
    }
  } catch (error) {
    postMessage({ kind: "refused", sentence: sentenceOf(error) });
  }
};

function sentenceOf(error: unknown): string {
  if (error instanceof Refusal) return error.message;
  if (error instanceof RangeError || /memory/i.test(String(error)))
    return "The browser gave this page too little memory. Close other tabs, or resample the scan to about 1 mm.";
  console.error(error);
  return `Something failed that should not (${String(error)}). Nothing was found or saved.`;
}

async function find(file: Uint8Array): Promise<Found> {
  const seconds: Record<string, number> = {}, begin = performance.now();
  let last = begin;
  const lap = (name: string) => {
    seconds[name] = (performance.now() - last) / 1000;
    last = performance.now();
  };
  tell("Reading the scan", 0);
  scan = await read(file);
  requireImage(scan);
  const upright = closest(scan);
  lap("reading");
  tell("Loading the template", 0.03);
  const known = await template("network/template");
  lap("template");
  tell("Registration", 0.06);
  const form = canonical(thinned(upright, 1));
  if (!form) throw new Refusal("No head is seen in the scan. Give a T1-weighted scan of a whole head.");
  const fixed = sameGrid(upright, GRID);
  const { map, quality } = fixed ? inPlace(form, known) : await fit(form.volume, known), wrong = problems(quality);
  if (wrong.length) throw new Refusal(`The scan could not be fitted to the template: ${wrong.join("; ")}. Give a T1-weighted scan of a whole head.`);
  const matrix = fixed ? IDENTITY : multiply(shifted(...form.centre), map);
  lap("registration");
  tell("Placing the scan on the template", 0.3);
  const { settings, session, runtime } = await prepared();
  lap("network's start");
  const way = wayOf(settings, known.box);
  const placed = fixed ? upright.data : place(upright, form, matrix, way.box);
  const input = way.there({ data: placed, ...GRID });
  lap("resampling");
  const found = await sweep(input, settings, session, ort.Tensor, (share) => tell("Looking for lesions", 0.45 + 0.5 * share));
  lap("network");
  tell("Back to the scan's grid", 0.95);
  if (settings.brain_margin_mm !== null) cut(found, way, known.nearness, settings.brain_margin_mm);
  const onTemplate = way.back(found);
  const back = multiply(inverse(GRID.affine), multiply(inverse(matrix), scan.affine));
  probability = linear(onTemplate, back, scan.shape);
  if (!probability.every(Number.isFinite)) throw new Refusal("The network gave probabilities that are no finite numbers. Load the page again.");
  lap("back");
  seconds.all = (performance.now() - begin) / 1000;
  return { settings, quality, warnings: warnings(quality), matrix, runtime, seconds };
}

/** Whether two grids are one, up to 0.01 mm; such scans stay as they are, as in scans/geometry.py. */
function sameGrid(one: { shape: Triple; affine: Matrix }, other: { shape: Triple; affine: Matrix }): boolean {
  return one.shape.every((n, axis) => n === other.shape[axis]) && one.affine.every((value, i) => Math.abs(value - other.affine[i]) <= 1e-2);
}

/** The scan on the template's grid, its values 0 in air and 1 in the brightest tissue. */
function place(upright: Volume, { air, unit }: Canonical, matrix: Matrix, box: Box): Float32Array {
  const values = upright.data.map((value) => (value - Math.fround(air)) / Math.fround(unit));
  const there = multiply(inverse(upright.affine), multiply(matrix, GRID.affine));
  const placed = cubic({ data: values, shape: upright.shape }, there, GRID.shape, box, (share) => tell("Placing the scan on the template", 0.3 + 0.15 * share));
  for (let i = 0; i < placed.length; i++) if (placed[i] < 1e-3) placed[i] = 0;
  return placed;
}

function inPlace(form: Canonical, known: Template): { map: Matrix; quality: Quality } {
  const map = shifted(...(form.centre.map((mm) => -mm) as Triple));
  return { map, quality: measure(form.volume, map, known.regions) };
}

/** The best map onto a canonical scan; other poses are tried where the first is doubtful, as in registration/register.py. */
async function fit(volume: Volume, known: Template): Promise<{ map: Matrix; quality: Quality }> {
  const module = await program();
  const attempt = async (pose: Matrix) => {
    const map = multiply(pose, await allineate(module, { ...volume, affine: multiply(inverse(pose), volume.affine) }, known.file));
    return { map, quality: measure(volume, map, known.regions) };
  };
  let best = await attempt(IDENTITY);
  if (!doubtful(best.quality)) return best;
  tell("Registration from other poses", 0.1);
  for (const pose of findPoses(volume, known.low, POSES)) {
    const other = await attempt(pose);
    if (score(other.quality) > score(best.quality)) best = other;
    if (!doubtful(best.quality)) break;
  }
  return best;
}

const program = async () => WebAssembly.compile((await (await fetch(niimath)).arrayBuffer()) as ArrayBuffer);

/** The network, loaded once and checked against its digest. */
async function prepared() {
  if (engine) return engine;
  const settings = JSON.parse(new TextDecoder().decode(await own("network/weights.json"))) as Settings;
  const bytes = await own(`network/${settings.file}`);
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes as BufferSource));
  const hex = Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
  if (hex !== settings.sha256) throw new Refusal("The network's file is not the one that belongs to this page. Load the page again.");
  const threads = self.crossOriginIsolated ? Math.min(navigator.hardwareConcurrency || 1, 8) : 1;
  ort.env.wasm.numThreads = threads;
  ort.env.wasm.wasmPaths = { wasm: new URL(wasm, location.href).href, mjs: new URL(mjs, location.href).href };
  const session = await ort.InferenceSession.create(bytes, { executionProviders: ["wasm"] });
  engine = { settings, session, runtime: `WebAssembly, ${threads} ${threads === 1 ? "thread" : "threads"}` };
  return engine;
}

