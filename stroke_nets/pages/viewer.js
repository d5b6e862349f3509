"use strict";
// Three planes through a volume on canvases; every control is a native form element, so that
// keyboard and screen reader need nothing of ours. The volumes are RAS, x fastest.

const given = JSON.parse(document.getElementById("volumes").textContent);
const size = given.shape;
const stride = [1, size[0], size[0] * size[1]];
// Radiological: in each plane the first axis runs from right to left of the picture.
const planes = { sagittal: [0, 1, 2], coronal: [1, 0, 2], axial: [2, 0, 1] };
const colour = [255, 127, 14];
const at = given.start.slice();
const layers = {};
const element = (id) => document.getElementById(id);

async function unpacked(text) {
  const packed = Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const stream = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Uint8Array(await new Response(stream).arrayBuffer());
}

function millimetres(voxel) {
  return given.affine.slice(0, 3).map((row) =>
    row[3] + voxel.reduce((sum, place, axis) => sum + row[axis] * place * given.step, 0));
}

/** How much of the overlay's colour a voxel shows: the mask's outline in full. */
function share(layer, outline, i, [, across, up], column, row, opacity) {
  if (!layer || !layer[i]) return 0;
  if (!outline) return opacity * layer[i] / 255;
  const inside = column > 0 && column < size[across] - 1 && row > 0 && row < size[up] - 1 &&
    layer[i - stride[across]] && layer[i + stride[across]] &&
    layer[i - stride[up]] && layer[i + stride[up]];
  return inside ? opacity : 1;
}

function draw(name) {
  const plane = planes[name];
  const [axis, across, up] = plane;
  const canvas = element(name);
  const context = canvas.getContext("2d");
  const [wide, high] = [size[across], size[up]];
  const shown = element("overlay").value;
  const opacity = element("opacity").value / 100;
  const gain = element("brightness").value / 100;
  const picture = context.createImageData(wide, high);
  let pixel = 0;
  for (let row = 0; row < high; row++) {
    for (let column = 0; column < wide; column++, pixel += 4) {
      const i = at[axis] * stride[axis] + (wide - 1 - column) * stride[across] +
        (high - 1 - row) * stride[up];
      const gray = Math.min(255, layers.scan[i] * gain);
      const part = share(layers[shown], shown === "mask", i, plane, column, row, opacity);
      for (let k = 0; k < 3; k++) picture.data[pixel + k] = gray + part * (colour[k] - gray);
      picture.data[pixel + 3] = 255;
    }
  }
  context.putImageData(picture, 0, 0);
  cross(context, wide - 1 - at[across], high - 1 - at[up], wide, high);
  canvas.setAttribute("aria-label", `${name} slice ${at[axis]}; ${element("here").textContent}`);
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

function describe() {
  const i = at.reduce((sum, place, axis) => sum + place * stride[axis], 0);
  const [x, y, z] = millimetres(at).map((value) => value.toFixed(1));
  const values = Object.entries(given.layers)
    .filter(([name]) => name !== "scan" && name !== "mask")
    .map(([name, layer]) => `${name} ${(layers[name][i] / 255 * layer.top).toFixed(2)}`);
  const where = layers.mask[i] ? "inside the mask" : "outside the mask";
  element("here").textContent = [`x ${x}, y ${y}, z ${z} mm`, where, ...values].join("; ");
}

function show() {
  describe();
  for (const [name, [axis]] of Object.entries(planes)) {
    const slider = element(`${name}-slice`);
    slider.value = at[axis];
    const mm = millimetres(at)[axis].toFixed(1);
    slider.setAttribute("aria-valuetext", `slice ${at[axis]}, ${mm} mm`);
    element(`${name}-label`).textContent = `${at[axis]} of 0 to ${size[axis] - 1} (${mm} mm)`;
    draw(name);
  }
}

function move(axis, place) {
  at[axis] = Math.max(0, Math.min(size[axis] - 1, Math.round(place)));
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
    event.preventDefault();
    move(axis, at[axis] - Math.sign(event.deltaY));
    show();
  }, { passive: false });
}

async function start() {
  if (typeof DecompressionStream === "undefined") {
    element("here").textContent = "This browser is too old for this page: it needs one of 2023 or later.";
    return;
  }
  for (const [name, layer] of Object.entries(given.layers)) layers[name] = await unpacked(layer.data);
  for (const [name, [, across, up]] of Object.entries(planes)) {
    const canvas = element(name);
    [canvas.width, canvas.height] = [size[across], size[up]];
    canvas.style.aspectRatio = `${size[across] * given.spacing[across]} / ${size[up] * given.spacing[up]}`;
    listen(name);
  }
  for (const id of ["overlay", "opacity", "brightness"]) element(id).addEventListener("input", show);
  for (const button of document.querySelectorAll("button[data-voxel]")) {
    button.addEventListener("click", () => {
      JSON.parse(button.dataset.voxel).forEach((place, axis) => move(axis, place));
      show();
    });
  }
  show();
  document.body.dataset.ready = "true";
}

start();
