"use strict";
// The cohort's table: sorting by a column, and ratings that are saved to and loaded from a file.

const table = document.getElementById("cases");
const body = table.tBodies[0];
const columns = table.dataset.columns.split(" ");
let unsaved = false;

function tell(text) {
  document.getElementById("told").textContent = text;
}

/** What a cell is sorted by: a number where it has one. */
function valueOf(row, index) {
  const cell = row.cells[index];
  const text = cell.dataset.value ?? cell.textContent.trim();
  return text !== "" && !Number.isNaN(Number(text)) ? Number(text) : text;
}

function compare(a, b) {
  if (typeof a === typeof b) return a < b ? -1 : Number(a > b);
  return typeof a === "number" ? -1 : 1;
}

function sortBy(head) {
  const index = head.cellIndex;
  const rising = head.getAttribute("aria-sort") !== "ascending";
  for (const other of table.tHead.rows[0].cells) {
    if (other.hasAttribute("aria-sort")) other.setAttribute("aria-sort", "none");
  }
  head.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const rows = Array.from(body.rows);
  rows.sort((a, b) => (rising ? 1 : -1) * compare(valueOf(a, index), valueOf(b, index)));
  body.append(...rows);
}

const rating = (row) => row.querySelector("select");
const notes = (row) => row.querySelector("input");
const key = (name, method) => `${name}\t${method}`;

function save() {
  const plain = (text) => text.replace(/\s+/g, " ").trim();
  const lines = Array.from(body.rows, (row) =>
    [row.dataset.case, row.dataset.method, rating(row).value, plain(notes(row).value)].join("\t"));
  const text = [columns.join("\t"), ...lines, ""].join("\n");
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/tab-separated-values" }));
  link.download = "ratings.tsv";
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
  unsaved = false;
  tell("Downloaded ratings.tsv.");
}

async function load(file) {
  const [head, ...lines] = (await file.text()).split(/\r?\n/).filter((line) => line);
  if (head !== columns.join("\t")) {
    tell(`${file.name}: its first line must be ${columns.join(", ")}.`);
    return;
  }
  const rows = new Map(Array.from(body.rows, (row) => [key(row.dataset.case, row.dataset.method), row]));
  let found = 0;
  for (const [name, method, chosen, text] of lines.map((line) => line.split("\t"))) {
    const row = rows.get(key(name, method));
    if (!row) continue;
    rating(row).value = chosen;
    rating(row).parentElement.dataset.value = chosen;
    notes(row).value = text ?? "";
    found += 1;
  }
  tell(`${found} of ${lines.length} ratings belong to cases of this page.`);
}

for (const button of table.querySelectorAll("button.sort")) {
  button.addEventListener("click", () => sortBy(button.closest("th")));
}
body.addEventListener("input", (event) => {
  unsaved = true;
  tell("Not downloaded yet.");
  if (event.target.matches("select")) event.target.parentElement.dataset.value = event.target.value;
});
document.getElementById("save").addEventListener("click", save);
document.getElementById("load").addEventListener("change", (event) => {
  if (event.target.files.length) load(event.target.files[0]);
});
window.addEventListener("beforeunload", (event) => {
  if (unsaved) event.preventDefault();
});
document.body.dataset.ready = "true";
