/** The page: opens scans, shows what the worker finds, saves it. */
import { NVImage, Niivue } from "@niivue/niivue";
import { dicom } from "./dicom";
import { Refusal } from "./nifti";
import type { Settings } from "./network";
import "./style.css";
import type { Found, Question } from "./worker";

const el = <E extends HTMLElement>(id: string) => document.getElementById(id) as E;
const threshold = el<HTMLInputElement>("threshold"), minimum = el<HTMLInputElement>("minimum");
const worker = new Worker(new URL("./worker.ts", import.meta.url), { type: "module" });
const viewer = new Niivue({ backColor: [0, 0, 0, 1], show3Dcrosshair: true, dragAndDropEnabled: false, isRadiologicalConvention: true, logLevel: "error" });

let name = "scan", scan: Uint8Array, found: Found | undefined, volumes: number[] = [], busy = false, attached = false;

const ask = (question: Question) => worker.postMessage(question);

function say(doing: string, share: number | null): void {
  el("doing").textContent = doing;
  const bar = el<HTMLProgressElement>("progress");
  bar.hidden = share === null;
  if (share !== null) bar.value = share;
}

function refuse(sentence: string): void {
  busy = false;
  say("", null);
  el("refused").textContent = sentence;
  document.body.dataset.state = "refused";
}

async function open(files: File[]): Promise<void> {
  if (busy || !files.length) return;
  busy = true;
  document.body.dataset.state = "busy";
  el("refused").textContent = "";
  el("result").hidden = true;
  try {
    const nifti = files.find((file) => /\.nii(\.gz)?$/i.test(file.name));
    if (!nifti) say("Converting DICOM files", 0);
    const file = nifti ?? (await dicom(files));
    name = file.name.replace(/\.nii(\.gz)?$/i, "");
    scan = new Uint8Array(await file.arrayBuffer());
    say("Reading the scan", 0);
    ask({ kind: "find", file: scan });
  } catch (error) {
    refuse(error instanceof Refusal ? error.message : `The file cannot be read (${String(error)}).`);
  }
}

worker.onerror = (event) => refuse(`The page could not start its computation (${event.message}). Use a current Chrome, Edge, Firefox or Safari.`);
worker.onmessage = async ({ data }) => {
  if (data.kind === "progress") say(data.step, data.share);
  else if (data.kind === "refused") refuse(data.sentence);
  else if (data.kind === "saved") save(data.bytes, data.what === "mask" ? `${name}_label-L_mask.nii.gz` : `${name}_probability.nii.gz`, "application/gzip");
  else if (data.kind === "found") {
    found = data.found as Found;
    threshold.value = String(found.settings.threshold);
    minimum.value = String(found.settings.minimum_ml);
    again();
  } else if (data.kind === "lesions") await show(data.volumes, data.mask);
};

function again(): void {
  el("threshold-shown").textContent = Number(threshold.value).toFixed(2);
  ask({ kind: "lesions", threshold: Number(threshold.value), minimum: Number(minimum.value) || 0 });
}

async function show(lesions: number[], mask: Uint8Array): Promise<void> {
  volumes = lesions;
  const first = busy, total = volumes.reduce((sum, ml) => sum + ml, 0);
  el("result").hidden = false;
  el("summary").textContent = volumes.length
    ? `${volumes.length} ${volumes.length === 1 ? "lesion" : "lesions"}, ${total.toFixed(1)} ml in all.`
    : "No lesion was found. That is no proof that there is none.";
  const rows = volumes.slice(0, 20).map((ml, k) => {
    const row = document.createElement("tr");
    for (const text of [String(k + 1), ml.toFixed(2)]) row.appendChild(document.createElement("td")).textContent = text;
    return row;
  });
  el("table").hidden = !rows.length;
  el("table").querySelector("tbody")!.replaceChildren(...rows);
  if (first) describe();
  try {
    if (!attached) await viewer.attachToCanvas(el<HTMLCanvasElement>("canvas"));
    attached = true;
    if (first) {
      while (viewer.volumes.length) viewer.removeVolume(viewer.volumes[0]);
      viewer.addVolume(await image(scan, `${name}.nii${scan[0] === 0x1f ? ".gz" : ""}`, "gray", 1));
    } else if (viewer.volumes.length > 1) viewer.removeVolume(viewer.volumes[1]);
    viewer.addVolume(await image(mask, "mask.nii", "red", Number(el<HTMLInputElement>("opacity").value)));
    viewer.setSliceType(Number(el<HTMLSelectElement>("view").value));
  } catch (error) {
    el("refused").textContent = `The picture cannot be shown (${String(error)}); mask and report can be saved.`;
  }
  busy = false;
  say("", null);
  document.body.dataset.state = "found";
}

async function image(bytes: Uint8Array, called: string, colormap: string, opacity: number): Promise<NVImage> {
  const file = new File([bytes as BlobPart], called);
  const volume = await NVImage.loadFromFile({ file, name: called, colormap, opacity });
  if (colormap === "red") [volume.cal_min, volume.cal_max] = [0.5, 1];
  return volume;
}

function describe(): void {
  const { quality, settings, runtime, seconds, warnings } = found!;
  const shown = warnings.map((text) => `The scan is odd: ${text}.`);
  el("warnings").replaceChildren(...shown.map(item));
  const details: Record<string, string> = {
    Network: `${settings.weights.bundle}, ${settings.weights.overlay}; trained on ${settings.weights.trained_on}`,
    "SHA-256 of its weights": settings.weights.sha256,
    "Run by": `${runtime}; ${seconds.all.toFixed(1)} s in all`,
    Registration: Object.entries(quality).map(([key, value]) => `${key.replace("_", " ")} ${value.toFixed(3)}`).join(", "),
  };
  el("details").replaceChildren(...Object.entries(details).flatMap(([term, text]) => {
    const dt = document.createElement("dt"), dd = document.createElement("dd");
    [dt.textContent, dd.textContent] = [term, text];
    return [dt, dd];
  }));
}

function item(text: string): HTMLElement {
  const li = document.createElement("li");
  li.textContent = text;
  return li;
}

function save(content: Uint8Array | string, called: string, type: string): void {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([content as BlobPart], { type }));
  link.download = called;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function report(): string {
  const { settings, quality, warnings, matrix, runtime, seconds } = found!;
  return JSON.stringify({
    scan: name,
    use: "research only, not for diagnosis",
    lesions: volumes.length,
    volume_ml: volumes.reduce((sum, ml) => sum + ml, 0),
    volumes_ml: volumes,
    threshold: Number(threshold.value),
    minimum_ml: Number(minimum.value) || 0,
    weights: settings.weights,
    registration: { matrix, quality, warnings },
    runtime, seconds, page: __VERSION__,
  }, null, 2) + "\n";
}

for (const id of ["file", "folder"]) {
  const input = el<HTMLInputElement>(id);
  input.addEventListener("change", () => {
    void open([...(input.files ?? [])]).then(() => (input.value = ""));
  });
}
threshold.addEventListener("input", () => (el("threshold-shown").textContent = Number(threshold.value).toFixed(2)));
threshold.addEventListener("change", again);
minimum.addEventListener("change", again);
el("opacity").addEventListener("input", () => viewer.volumes.length > 1 && viewer.setOpacity(1, Number(el<HTMLInputElement>("opacity").value)));
el("view").addEventListener("change", () => viewer.setSliceType(Number(el<HTMLSelectElement>("view").value)));
el("canvas").addEventListener("keydown", (event) => {
  const moves: Record<string, [number, number, number]> = {
    ArrowLeft: [-1, 0, 0], ArrowRight: [1, 0, 0], ArrowDown: [0, -1, 0], ArrowUp: [0, 1, 0], PageDown: [0, 0, -1], PageUp: [0, 0, 1],
  };
  const move = moves[event.key];
  if (!move) return;
  event.preventDefault();
  viewer.moveCrosshairInVox(...move);
});
el("save-mask").addEventListener("click", () => ask({ kind: "save", what: "mask" }));
el("save-probability").addEventListener("click", () => ask({ kind: "save", what: "probability" }));
el("save-report").addEventListener("click", () => save(report(), `${name}_report.json`, "application/json"));

addEventListener("dragover", (event) => {
  event.preventDefault();
  document.body.classList.add("over");
});
addEventListener("dragleave", () => document.body.classList.remove("over"));
addEventListener("drop", (event) => {
  event.preventDefault();
  document.body.classList.remove("over");
  const entries = [...(event.dataTransfer?.items ?? [])].map((one) => one.webkitGetAsEntry()).filter((entry) => entry !== null);
  const plain = [...(event.dataTransfer?.files ?? [])];
  void Promise.all(entries.map(below)).then((files) => open(files.flat().length ? files.flat() : plain));
});

/** The files below what was dropped. */
async function below(entry: FileSystemEntry): Promise<File[]> {
  if (entry.isFile) return [await new Promise<File>((done, failed) => (entry as FileSystemFileEntry).file(done, failed))];
  const reader = (entry as FileSystemDirectoryEntry).createReader(), all: File[] = [];
  for (;;) {
    const some = await new Promise<FileSystemEntry[]>((done, failed) => reader.readEntries(done, failed));
    if (!some.length) return all;
    for (const one of some) all.push(...(await below(one)));
  }
}

async function start(): Promise<void> {
  const answer = await fetch(new URL("network/weights.json", document.baseURI));
  if (answer.ok) el("limits").replaceChildren(...((await answer.json()) as Settings).weights.limits?.map(item) ?? []);
  if ("serviceWorker" in navigator && isSecureContext) await navigator.serviceWorker.register("./sw.js");
  document.body.dataset.state = "ready";
}
void start();
