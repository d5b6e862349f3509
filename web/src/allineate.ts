/** niimath's affine registration, built for WebAssembly; as stroke_nets/registration/allineate.py. */
import { ConsoleStdout, File, OpenFile, PreopenDirectory, WASI } from "@bjorn3/browser_wasi_shim";
import type { Matrix } from "./matrix";
import { whole } from "./nifti";
import type { Volume } from "./volume";

interface Exports {
  memory: WebAssembly.Memory;
  malloc(bytes: number): number;
  nii_run(at: number, bytes: number): number;
}

/** The map from the template's mm to the scan's mm. */
export async function allineate(module: WebAssembly.Module, scan: Volume, template: Uint8Array): Promise<Matrix> {
  const files = new Map([
    ["scan.nii", new File(whole(scan))],
    ["template.nii", new File(template)],
  ]);
  const silent = ConsoleStdout.lineBuffered(() => {});
  const wasi = new WASI([], [], [new OpenFile(new File([])), silent, silent, new PreopenDirectory("/", files)], { debug: false });
  const instance = await WebAssembly.instantiate(module, { wasi_snapshot_preview1: wasi.wasiImport });
  wasi.initialize(instance as never);
  const { memory, malloc, nii_run } = instance.exports as unknown as Exports;
  const words = ["niimath", "scan.nii", "-allineate", "template.nii", "-com", "-savemat", "map.json", "unused.nii"];
  const line = new TextEncoder().encode(words.join("\0") + "\0"), at = malloc(line.length);
  new Uint8Array(memory.buffer).set(line, at);
  const code = nii_run(at, line.length), map = files.get("map.json");
  if (!map) throw new Error(`niimath failed with code ${code}`);
  return (JSON.parse(new TextDecoder().decode(map.data)).fixed_to_moving as number[][]).flat();
}
