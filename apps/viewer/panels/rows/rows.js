// One page of the worklist as a table that the keyboard goes through. Python sorts, filters and pages; all text is text.

import { onRender, setHeight, tell } from "./streamlit.js";

const find = (id) => document.getElementById(id);
const page = window.parent.document;
const leaving = new AbortController();
let args = null;
let chosen = 0;

window.addEventListener("pagehide", () => leaving.abort());

onRender((given) => {
  const isOther = args?.version !== given.version;
  args = given;
  setHeight(args.height);
  if (isOther) chosen = Math.max(0, args.rows.findIndex((row) => row.handle === args.chosen));
  draw();
});

const say = (kind, value) => tell({ kind, value, nonce: crypto.randomUUID() });

function draw() {
  find("heads").replaceChildren(...args.columns.map(head));
  find("rows").replaceChildren(...args.rows.map(line));
  const last = args.offset + args.rows.length;
  find("place").textContent = args.total ? `${args.offset + 1} to ${last} of ${args.total}` : "";
  find("back").disabled = args.offset === 0;
  find("on").disabled = last >= args.total;
  choose(Math.min(chosen, args.rows.length - 1));
}

function head(column) {
  const cell = document.createElement("th");
  cell.scope = "col";
  if (!column.order) {
    cell.textContent = column.label;
    return cell;
  }
  const isSorted = column.order === args.order;
  cell.setAttribute("aria-sort", isSorted ? (args.descending ? "descending" : "ascending") : "none");
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: column.label });
  button.append(Object.assign(document.createElement("i"), { textContent: isSorted ? (args.descending ? "▼" : "▲") : "" }));
  button.onclick = () => say("order", column.order);
  cell.append(button);
  return cell;
}

function line(row, number) {
  const made = document.createElement("tr");
  made.tabIndex = -1;
  made.onclick = (event) => event.target.closest("button") || open(number);
  made.onmousemove = () => chosen === number || choose(number, false);
  made.append(...args.columns.map((column) => cellOf(row, column)));
  return made;
}

function cellOf(row, column) {
  const cell = document.createElement("td");
  cell.className = column.name;
  const value = row.cells[column.name];
  if (column.kind === "probability") cell.append(...(value === null ? [] : probability(value)));
  else if (column.kind === "status") cell.append(Object.assign(document.createElement("span"), { className: `dot s-${value.replaceAll(" ", "-")}`, textContent: value }));
  else if (column.kind === "claim") cell.append(claim(row, value));
  else cell.textContent = value ?? "";
  cell.title = column.kind === "text" ? (value ?? "") : "";
  return cell;
}

function probability(value) {
  const track = Object.assign(document.createElement("span"), { className: "track" });
  const fill = document.createElement("span");
  fill.style.width = `${100 * value}%`;
  track.append(fill);
  return [track, Object.assign(document.createElement("b"), { textContent: value.toFixed(2) })];
}

function claim(row, value) {
  if (row.claimed && !row.mine) return document.createTextNode(value);
  const button = Object.assign(document.createElement("button"), { type: "button", textContent: row.mine ? "Release" : "Claim" });
  button.tabIndex = -1;
  button.disabled = !args.may_claim;
  button.setAttribute("aria-label", `${button.textContent} ${row.cells.study}`);
  button.onclick = () => say(row.mine ? "release" : "claim", row.handle);
  return button;
}

function choose(number, scroll = true) {
  chosen = Math.max(0, number);
  [...find("rows").children].forEach((row, n) => row.toggleAttribute("data-chosen", n === chosen));
  const row = find("rows").children[chosen];
  if (scroll && row) row.scrollIntoView({ block: "nearest" });
}

function open(number) {
  const row = args?.rows[number];
  if (row) say("open", row.handle);
}

function turn(by) {
  const offset = args.offset + by * args.limit;
  if (offset < 0 || offset >= args.total) return;
  chosen = 0;
  say("page", offset);
}

find("back").onclick = () => turn(-1);
find("on").onclick = () => turn(1);

const KEYS = {
  j: () => choose(Math.min(chosen + 1, args.rows.length - 1)),
  ArrowDown: () => KEYS.j(),
  k: () => choose(chosen - 1),
  ArrowUp: () => KEYS.k(),
  Home: () => choose(0),
  End: () => choose(args.rows.length - 1),
  Enter: () => open(chosen),
  ArrowRight: () => turn(1),
  ArrowLeft: () => turn(-1),
  c: () => {
    const row = args.rows[chosen];
    if (row && args.may_claim && (row.mine || !row.claimed)) say(row.mine ? "release" : "claim", row.handle);
  },
  "/": () => page.querySelector(".st-key-filters input")?.focus(),
};

function keyed(event) {
  if (!args || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.closest?.("input, textarea, select, [contenteditable], [role=listbox], [role=combobox], [role=slider]")) return;
  if (event.target.closest?.("button, a, summary") && ["Enter", " "].includes(event.key)) return;
  const action = KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation(); // Streamlit has keys of its own
  action();
}

window.addEventListener("keydown", keyed);
page.addEventListener("keydown", keyed, { capture: true, signal: leaving.signal });
