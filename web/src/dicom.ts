/** A DICOM folder as one NIfTI file, by dcm2niix. */
import { Dcm2niix } from "@niivue/dcm2niix";
import { Refusal } from "./nifti";

export async function dicom(files: File[]): Promise<File> {
  const converter = new Dcm2niix();
  await converter.init();
  const results: File[] = await converter.input(files).run();
  const scans = results.filter((file) => /\.nii(\.gz)?$/.test(file.name));
  if (!scans.length) throw new Refusal("There is neither a NIfTI file nor a series of DICOM images among these files.");
  if (scans.length === 1) return scans[0];
  const t1 = scans.filter((file) => /t1|mprage|spgr|bravo|tfl/i.test(file.name));
  if (t1.length === 1) return t1[0];
  throw new Refusal(`The folder holds ${scans.length} series (${scans.map((file) => file.name).slice(0, 5).join(", ")}). Give the folder of the T1-weighted one.`);
}
