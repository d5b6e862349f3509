"use strict";
// Three planes through a volume on canvases; every control is a native form element, so that
// keyboard and screen reader need nothing of ours. The volumes are RAS, x fastest.

const given = JSON.parse(document.getElementById("volumes").textContent);
const size = given.shape;
const stride = [1, size[0], size[0] * size[1]];
// Radiological: in each plane the first axis runs from right to left of the picture.
const planes = { axial: [2, 0, 1], coronal: [1, 0, 2], sagittal: [0, 1, 2] };
const orange = [255, 127, 14];
const green = [127, 211, 78];
const at = given.start.slice();
const layers = {};
let shown = null; // the mask at the chosen threshold
const element = (id) => document.getElementById(id);
const millimetres = (axis) => size[axis] * given.spacing[axis];

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

/** Coordinates of a voxel in a world, mm. */
function place(world, voxel) {
  return given.worlds[world].slice(0, 3).map((row) =>
    row[3] + voxel.reduce((sum, index, axis) => sum + row[axis] * index * given.step, 0));
}

/** Whether a voxel of a mask lies on its outline in a plane. */
function isEdge(mask, i, [, across, up], column, row) {
  const inside = column > 0 && column < size[across] - 1 && row > 0 && row < size[up] - 1 &&
    mask[i - stride[across]] && mask[i + stride[across]] &&
    mask[i - stride[up]] && mask[i + stride[up]];
  return !inside;
}

function draw(name) {
  const plane = planes[name];
  const [axis, across, up] = plane;
  const canvas = element(name);
  const context = canvas.getContext("2d");
  const [wide, high] = [size[across], size[up]];
  const overlay = element("overlay").value;
  const mask = overlay === "mask" ? shown : null;
  const map = overlay === "mask" ? null : layers[overlay];
  const truth = element("truth")?.checked ? layers.truth : null;
  const opacity = element("opacity").value / 100;
  const gain = element("contrast").value / 100;
  const shift = 2.55 * element("brightness").value + 127.5 * (1 - gain);
  const picture = context.createImageData(wide, high);
  let pixel = 0;
  for (let row = 0; row < high; row++) {
    for (let column = 0; column < wide; column++, pixel += 4) {
      const i = at[axis] * stride[axis] + (wide - 1 - column) * stride[across] +
        (high - 1 - row) * stride[up];
      const gray = layers.scan[i] && Math.max(0, Math.min(255, layers.scan[i] * gain + shift));
      let part = map ? opacity * map[i] / 255 : 0;
      if (mask && mask[i]) part = isEdge(mask, i, plane, column, row) ? 1 : opacity;
      let colour = orange;
      if (truth && truth[i] && isEdge(truth, i, plane, column, row)) [part, colour] = [1, green];
      for (let k = 0; k < 3; k++) picture.data[pixel + k] = gray + part * (colour[k] - gray);
      picture.data[pixel + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
  cross(context, wide - 1 - at[across], high - 1 - at[up], wide, high);
  canvas.setAttribute("aria-label", `${name} slice ${at[axis]}; ${element("here").textContent.replaceAll("\n", "; ")}`);
}

/** Lines through the place, open around it, so that they do not hide it. */
function cross(context, x, y, wide, high) {
  const gap = 8;
  context.fillStyle = "rgba(120, 220, 255, 0.7)";
  context.fillRect(0, y, x - gap, 1);
  context.fillRect(x + gap + 1, y, wide, 1);
  context.fillRect(x, 0, 1, y - gap);
  context.fillRect(x, y + gap + 1, 1, high);
}

/** The mask as predicted, or where the probability reaches another threshold. */
function applyThreshold() {
  const percent = Number(element("threshold")?.value ?? given.threshold);
  const chosen = percent / 100;
  const asPredicted = percent === given.threshold;
  if (asPredicted) {
    shown = layers.mask;
  } else {
    const least = 255 * chosen / given.layers.probability.top;
    shown = layers.probability.map((value) => (value >= least ? 255 : 0));
  }
  const found = shown.reduce((sum, value) => sum + (value ? 1 : 0), 0);
  const ml = asPredicted ? given.mask_ml : found * given.voxel_ml;
  const text = chosen.toFixed(2) + (asPredicted ? ", as predicted" : "");
  if (element("threshold")) {
    element("threshold-value").textContent = `${text}: ${ml.toFixed(1)} ml`;
    element("threshold").setAttribute("aria-valuetext", `${text}, ${ml.toFixed(1)} ml`);
  }
}

function describe() {
  const i = at.reduce((sum, index, axis) => sum + index * stride[axis], 0);
  const worlds = Object.keys(given.worlds).map((world) => {
    const [x, y, z] = place(world, at).map((value) => value.toFixed(1));
    return `${world} ${x}, ${y}, ${z} mm`;
  });
  const values = Object.entries(given.layers)
    .filter(([name]) => !["scan", "mask", "truth"].includes(name))
    .map(([name, layer]) => `${name} ${(layers[name][i] / 255 * layer.top).toFixed(2)}`);
  const where = shown[i] ? "inside the mask" : "outside the mask";
  element("here").textContent = [...worlds, where, ...values].join("\n");
}

function show() {
  describe();
  for (const [name, [axis]] of Object.entries(planes)) {
    const slider = element(`${name}-slice`);
    slider.value = at[axis];
    slider.setAttribute("aria-valuetext", `slice ${at[axis]}`);
    element(`${name}-label`).textContent = `${at[axis]} of 0 to ${size[axis] - 1}`;
    draw(name);
  }
}

function move(axis, index) {
  at[axis] = Math.max(0, Math.min(size[axis] - 1, Math.round(index)));
}

function listen(name) {
  const [axis, across, up] = planes[name];
  const canvas = element(name);
  element(`${name}-slice`).addEventListener("input", (event) => {
    move(axis, Number(event.target.value));
    show();
  });
  const point = (event) => {
    if (!event.buttons) return;
    const box = canvas.getBoundingClientRect();
    move(across, (1 - (event.clientX - box.left) / box.width) * size[across] - 0.5);
    move(up, (1 - (event.clientY - box.top) / box.height) * size[up] - 0.5);
    show();
  };
  canvas.addEventListener("pointerdown", point);
  canvas.addEventListener("pointermove", point);
  canvas.addEventListener("wheel", (event) => {
    if (document.activeElement !== canvas) return; // the page scrolls
    event.preventDefault();
    move(axis, at[axis] - Math.sign(event.deltaY));
    show();
  }, { passive: false });
}

/** One scale in mm for all planes, so that they fit into the window together. */
function layOut() {
  const wide = Object.values(planes).map(([, across]) => millimetres(across));
  const high = Math.max(...Object.values(planes).map(([, , up]) => millimetres(up)));
  const style = document.querySelector(".planes").style;
  style.setProperty("--columns", wide.map((mm) => `minmax(0, ${mm}fr)`).join(" "));
  style.setProperty("--shape", wide.reduce((sum, mm) => sum + mm) / high);
  for (const [name, [, across, up]] of Object.entries(planes)) {
    const canvas = element(name);
    [canvas.width, canvas.height] = [size[across], size[up]];
    canvas.style.aspectRatio = `${millimetres(across)} / ${millimetres(up)}`;
    element(`${name}-figure`).style.setProperty("--share", millimetres(across) / Math.max(...wide));
  }
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    element("here").textContent = "This browser is too old for this page: it needs one of 2023 or later.";
    return;
  }
  for (const [name, layer] of Object.entries(given.layers)) layers[name] = await unpacked(layer.data);
  layOut();
  applyThreshold();
  Object.keys(planes).forEach(listen);
  for (const id of ["overlay", "opacity", "brightness", "contrast", "truth"]) {
    element(id)?.addEventListener("input", show);
  }
  element("threshold")?.addEventListener("input", () => {
    applyThreshold();
    show();
  });
  for (const button of document.querySelectorAll("button[data-voxel]")) {
    button.addEventListener("click", () => {
      JSON.parse(button.dataset.voxel).forEach((index, axis) => move(axis, index));
      show();
    });
  }
  show();
  document.body.dataset.ready = "true";
}

start();
