/** What the page knows of the template; `stroke-nets pack --web` writes it. */
import { Refusal, read, unpacked } from "./nifti";
import type { Volume } from "./volume";

/** The template at 3 mm; parts: 1 brain and 6 mm around it, 2 inner brain, 4 and 8 its halves, 16 white, 32 grey matter, 64 brain, 128 skull and scalp. */
export interface Regions {
  brain: Volume;
  smooth: Float32Array;
  parts: Float32Array;
}

export interface Template {
  /** 2 mm, times 1000, for niimath. */
  file: Uint8Array;
  regions: Regions;
  /** 1000 mm minus the distance to the brain, 2 mm. */
  nearness: Volume;
  /** The brain and 10 mm around it, at 10 mm; -1 elsewhere. */
  low: Volume;
  /** Brain in the box of whole-brain networks, 2 mm. */
  box: Volume;
}

/** Fetch one of the page's own files. */
export async function own(name: string): Promise<Uint8Array> {
  const answer = await fetch(new URL(`../${name}`, self.location.href));
  if (!answer.ok) throw new Refusal(`The page is not complete: ${name} is missing. Load it again.`);
  return new Uint8Array(await answer.arrayBuffer());
}

export async function template(base: string): Promise<Template> {
  const names = ["brain_2mm", "brain_3mm", "smooth_3mm", "parts_3mm", "nearness_2mm", "box_2mm", "pose_10mm"];
  const files = await Promise.all(names.map((name) => own(`${base}/${name}.nii.gz`)));
  const [brain, smooth, parts, nearness, box, low] = await Promise.all(files.slice(1).map(read));
  return { file: await unpacked(files[0]), regions: { brain, smooth: smooth.data, parts: parts.data }, nearness, box, low };
}
