// One or two linked images with a segmentation over the first. Everything here happens without a rerun of the page;
// Python hears only of a corrected segmentation.

import { Editing } from "./editing.js";
import { drawHelp, nameOf } from "./keys.js";
import * as page from "./page.js";
import { Pane } from "./pane.js";
import { onRender, setHeight } from "./streamlit.js";

const LAYOUTS = [
  ["planes", "Planes", "Axial, coronal and sagittal"],
  ["axial", "Axial", "Axial alone"],
  ["coronal", "Coronal", "Coronal alone"],
  ["sagittal", "Sagittal", "Sagittal alone"],
  ["render", "3D", "Volume rendering"],
];
const MODES = [
  ["crosshair", "Crosshair", "Left drag moves the crosshair (C)", "c"],
  ["window", "Window", "Left drag changes the window (V)", "v"],
  ["pan", "Zoom", "Left drag pans, the wheel zooms (Z)", "z"],
  ["distance", "Distance", "Left drag measures a distance (D)", "d"],
  ["area", "Area", "Left drag measures an ellipse: area, mean, range (A)", "a"],
];
const PENS = [
  ["paint", "Brush", "Paint the segment (B)", "b"],
  ["erase", "Erase", "Erase (X)", "x"],
  ["area", "Area", "Draw around an area to fill it (G)", "g"],
];
const PAGE_KEYS = new Set(["n", "p", "w"]);

const find = (id) => document.getElementById(id);
const fill = (id, children) => find(id).replaceChildren(...children);
const state = { case: null, args: null, layout: "planes", mode: "crosshair", linked: true, offset: [0, 0, 0], chosen: null, modelHidden: false };
const look = { shown: true, opacity: 0.45, outline: false, hidden: new Set(), lit: null };
const panes = [...document.querySelectorAll(".pane")].map((root) => {
  root.append(find("pane").content.cloneNode(true));
  return new Pane(root);
});
const [main, beside] = panes;
let active = main;
const editing = new Editing(drawEditing);
let turn = Promise.resolve();

onRender((args) => {
  turn = turn.then(() => show(args)).catch((error) => main.fail(error));
});

async function show(args) {
  setHeight(args.height);
  const isOther = args.case !== state.case;
  if (isOther && editing.active) editing.stop();
  const isSaved = editing.answered(args.answer);
  if (isSaved) editing.stop();
  if (isSaved) find("position").textContent = "correction saved";
  Object.assign(state, { args, case: args.case });
  if (isOther) Object.assign(look, { hidden: new Set(), lit: null });
  await openMain(args, isOther, isSaved);
  await openBeside(args.images[1]);
  present();
  drawEditing();
}

async function openMain(args, isOther, isSaved) {
  const [image] = args.images;
  await main.preview(image, state.layout, args.images.length > 1);
  await ready(main);
  const isNew = main.image?.key !== image.key;
  if (isNew) {
    const here = !isOther && main.image ? main.place() : null;
    await main.open(image);
    if (here) main.goTo(here);
  }
  if (isOther) state.chosen = null;
  if (isSaved) state.chosen = args.answer.overlay;
  const overlay = args.overlays.find((o) => o.id === state.chosen) ?? args.overlays[0] ?? null;
  if (isNew || overlay?.key !== main.overlay?.key) {
    if (editing.active) return;
    await chooseOverlay(overlay?.id ?? null);
  }
  drawOverlays();
  if (isOther) startAt();
  drawWindows();
}

/** Planes are laid out, the crosshair is where it belongs: the images take the place of the first slice. */
function present() {
  for (const pane of panes) pane.endPreview();
}

async function openBeside(image) {
  const isShown = Boolean(image);
  const isChanged = isShown !== !beside.root.hidden;
  beside.root.hidden = !isShown;
  find("link").hidden = !isShown;
  if (isShown) {
    await ready(beside);
    if (beside.image?.key !== image.key) {
      await beside.open(image).catch((error) => beside.fail(error));
      align(image.same_frame);
    }
  } else active = main;
  if (isChanged || !state.laidOut) {
    state.laidOut = true;
    chooseLayout(state.layout);
  }
  activate(active);
}

async function ready(pane) {
  if (pane.nv) return;
  await pane.attach();
  pane.onMove = moved;
  pane.onWindow = (changed) => changed === active && pressWindow();
  pane.useMode(state.mode);
  pane.canvas.addEventListener("mouseenter", () => activate(pane, true));
  pane.canvas.addEventListener("focus", () => activate(pane));
  pane.root.addEventListener("mousedown", (event) => pressed(pane, event), true);
}

// ---- linked images -------------------------------------------------------------------------------------------------

/** Two images of one frame of reference share places; others are laid middle on middle, or as they stand when linked. */
function align(isSameFrame) {
  if (!beside.image) return;
  const middle = (pane) => [...pane.nv.frac2mm([0.5, 0.5, 0.5], 0, true)].slice(0, 3);
  const [a, b] = [middle(main), middle(beside)];
  state.offset = isSameFrame ? [0, 0, 0] : a.map((value, axis) => b[axis] - value);
  moved(main);
}

function moved(pane) {
  if (state.linked && beside.image && !beside.root.hidden && main.image) {
    const other = pane === main ? beside : main;
    const sign = pane === main ? 1 : -1;
    other.follow(pane.place().map((value, axis) => value + sign * state.offset[axis]), pane.nv.scene.pan2Dxyzmm);
  }
  showPosition(pane);
}

function link(isLinked) {
  state.linked = isLinked;
  find("link").setAttribute("aria-pressed", String(isLinked));
  if (!isLinked || !beside.image) return;
  const here = main.place();
  state.offset = state.args.images[1].same_frame ? [0, 0, 0] : beside.place().map((value, axis) => value - here[axis]);
  moved(main);
}

// ---- where, and with which window ----------------------------------------------------------------------------------

/** The crosshair opens on the largest segment, or in the middle. */
function startAt() {
  const largest = [...(main.overlay?.segments ?? [])].sort((a, b) => b.volume_mm3 - a.volume_mm3)[0];
  const centre = largest && main.centreOf(largest.number);
  main.goTo(centre ?? [...main.nv.frac2mm([0.5, 0.5, 0.5], 0, true)].slice(0, 3));
}

function jumpToSegment(number) {
  const centre = main.centreOf(number);
  if (centre) main.goTo(centre);
  return Boolean(centre);
}

function jumpToFinding(name) {
  const finding = state.args?.findings.find((f) => f.name === name);
  if (finding?.segment && jumpToSegment(finding.segment)) return true;
  find("position").textContent = "this finding has no place in the images";
  return false;
}

function nextFinding() {
  const named = page.findings();
  if (!named.length) return;
  state.at = ((state.at ?? -1) + 1) % named.length;
  jumpToFinding(named[state.at]);
}

function chooseLayout(layout) {
  state.layout = layout;
  press("layouts", layout);
  for (const pane of panes) {
    pane.part("convention").hidden = layout === "render";
    if (pane.nv) {
      pane.nv.resizeListener?.();
      pane.layOut(layout, !beside.root.hidden);
    }
  }
}

function chooseMode(mode) {
  state.mode = mode;
  press("modes", mode);
  for (const pane of panes) if (pane.nv) pane.useMode(mode);
}

function activate(pane, focus = false) {
  active = pane;
  for (const each of panes) each.root.toggleAttribute("data-active", each === pane && !beside.root.hidden);
  if (focus) pane.canvas.focus({ preventScroll: true });
  drawWindows();
}

function pressed(pane, event) {
  if (event.target !== pane.canvas || !pane.image) return;
  const left = event.button === 0 && !event.ctrlKey;
  const measure = left && !editing.active && (event.shiftKey ? "distance" : ["distance", "area"].includes(state.mode) && state.mode);
  if (event.button === 2 || (left && state.mode === "window" && !measure && !editing.active)) pane.startWindowing(event);
  else if (measure) pane.measures.start(event, measure);
  else return;
  event.preventDefault();
  event.stopPropagation(); // NiiVue's windowing says nothing of what it does, so the readout could not follow
}

function reset() {
  for (const pane of panes) if (pane.image && !pane.root.hidden) pane.reset();
  find("invert").setAttribute("aria-pressed", "false");
  startAt();
}

function invert() {
  active.invert();
  find("invert").setAttribute("aria-pressed", String(active.inverted));
}

function showPosition(pane) {
  if (!pane.image) return;
  const [x, y, z] = pane.place();
  const side = (value, positive, negative) => `${value >= 0 ? positive : negative} ${Math.abs(value).toFixed(1)}`;
  const place = `${side(x, "R", "L")}  ${side(y, "A", "P")}  ${side(z, "S", "I")} mm`;
  find("position").textContent = place;
}

function drawWindows() {
  fill("windows", (active.image?.windows ?? []).map((preset, n) => {
    const button = toggle(preset.name, preset.name, `Width ${Math.round(preset.width)}, level ${Math.round(preset.level)} (${n + 1})`);
    button.prepend(Object.assign(document.createElement("kbd"), { textContent: String(n + 1) }));
    button.onclick = () => active.applyWindow(preset);
    return button;
  }));
  pressWindow();
}

const pressWindow = () => active.image && press("windows", active.window().preset?.name);

// ---- the overlay ---------------------------------------------------------------------------------------------------

async function chooseOverlay(id) {
  if (state.chosen !== null && id !== state.chosen) look.hidden = new Set();
  state.chosen = id;
  await main.lay(state.args.overlays.find((o) => o.id === id) ?? null);
  colour();
  drawOverlays();
}

function colour() {
  main.colour({ ...look, shown: look.shown && !(state.modelHidden && main.overlay?.origin === "model") && !editing.active });
}

function drawOverlays() {
  const { overlays } = state.args;
  find("overlay").hidden = !overlays.length;
  find("overlays").hidden = overlays.length < 2;
  fill("overlays", overlays.map((o) => Object.assign(document.createElement("option"), { value: o.id, textContent: o.label, selected: o.id === main.overlay?.id })));
  find("shown").nextElementSibling.textContent = overlays.length < 2 ? (overlays[0]?.label ?? "") : "Show";
  fill("segments", (main.overlay?.segments ?? []).map(segmentButton));
  find("edit").hidden = !state.args.edit.segments.length;
}

function segmentButton(segment) {
  const box = Object.assign(document.createElement("span"), { className: "segment" });
  box.dataset.finding = state.args.findings.find((f) => f.segment === segment.number)?.name ?? "";
  const eye = Object.assign(document.createElement("button"), { type: "button", title: `Show or hide ${segment.name}` });
  eye.setAttribute("aria-label", eye.title);
  eye.append(swatch(segment));
  eye.onclick = () => {
    if (!look.hidden.delete(segment.number)) look.hidden.add(segment.number);
    box.toggleAttribute("data-hidden", look.hidden.has(segment.number));
    colour();
  };
  const name = Object.assign(document.createElement("button"), { type: "button", className: "name", textContent: segment.name, title: `Go to ${segment.name}` });
  name.onclick = () => jumpToSegment(segment.number);
  box.append(eye, name);
  box.toggleAttribute("data-hidden", look.hidden.has(segment.number));
  return box;
}

function swatch(segment) {
  const box = Object.assign(document.createElement("span"), { className: "swatch" });
  box.style.background = `rgb(${segment.colour.join(",")})`;
  return box;
}

function lightFinding(name) {
  const number = state.args?.findings.find((f) => f.name === name)?.segment ?? null;
  for (const box of find("segments").children) box.toggleAttribute("data-lit", name !== null && box.dataset.finding === name);
  if (number === look.lit || !main.overlay || editing.active) return;
  look.lit = number;
  colour();
}

function hideModel() {
  state.modelHidden = !state.modelHidden;
  page.hideModel(state.modelHidden);
  colour();
}

// ---- correcting ----------------------------------------------------------------------------------------------------

function startEditing() {
  const { edit } = state.args;
  if (!main.image || !edit.segments.length) return;
  editing.start(main, main.overlay?.segments ?? edit.segments, main.overlay?.id ?? "");
}

function stopEditing() {
  if (editing.dirty && !window.confirm("Discard the corrections that are not saved?")) return;
  editing.stop();
  colour();
}

function drawEditing() {
  find("editing").hidden = !editing.active && !editing.notice;
  find("edit").setAttribute("aria-pressed", String(editing.active));
  find("edit-notice").textContent = editing.notice || (editing.dirty ? "not saved yet" : "");
  find("edit-notice").classList.toggle("failed", editing.failed);
  for (const id of ["save", "undo", "between", "discard"]) find(id).disabled = !editing.active;
  find("save").disabled = !editing.dirty || Boolean(editing.token);
  if (!editing.active) {
    main.overlay && colour();
    return;
  }
  press("pens", editing.tool);
  find("size").value = editing.size;
  fill("targets", editing.segments.map((segment) => {
    const button = toggle(String(segment.number), "", `Draw ${segment.name}`);
    button.append(swatch(segment), segment.name);
    button.setAttribute("aria-pressed", String(segment.number === editing.number));
    button.onclick = () => editing.choose(segment.number);
    return button;
  }));
}

// ---- buttons and keys ----------------------------------------------------------------------------------------------

function toggle(name, text, title) {
  const button = Object.assign(document.createElement("button"), { type: "button", title });
  button.dataset.name = name;
  button.append(text);
  button.setAttribute("aria-pressed", "false");
  return button;
}

function press(id, name) {
  for (const button of find(id).children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
}

const buttons = (table, choose) => table.map(([name, text, title]) => Object.assign(toggle(name, text, title), { onclick: () => choose(name) }));
fill("layouts", buttons(LAYOUTS, chooseLayout));
fill("modes", buttons(MODES, chooseMode));
fill("pens", buttons(PENS, (tool) => editing.use(tool)));
press("modes", state.mode);
drawHelp(find("keys"));
find("overlays").onchange = (event) => chooseOverlay(event.target.value).catch((error) => main.fail(error));
find("shown").onchange = (event) => { look.shown = event.target.checked; colour(); };
find("outline").onchange = (event) => { look.outline = event.target.checked; colour(); };
find("opacity").oninput = (event) => { look.opacity = Number(event.target.value) / 100; colour(); };
find("reset").onclick = reset;
find("invert").onclick = invert;
find("link").onclick = () => link(!state.linked);
find("edit").onclick = () => (editing.active ? stopEditing() : startEditing());
find("size").oninput = (event) => editing.resize(Number(event.target.value));
find("between").onclick = () => editing.fillBetween();
find("undo").onclick = () => editing.undo();
find("save").onclick = () => editing.save().catch((error) => editing.say(`not saved: ${error.message}`, true));
find("discard").onclick = stopEditing;
find("help").onclick = () => showHelp(find("keys").hidden);

function showHelp(isShown) {
  find("keys").hidden = !isShown;
  find("help").setAttribute("aria-expanded", String(isShown));
}

const KEYS = {
  o: () => find("shown").click(),
  l: () => find("outline").click(),
  i: invert,
  h: hideModel,
  f: nextFinding,
  k: () => beside.root.hidden || link(!state.linked),
  e: () => find("edit").hidden || find("edit").click(),
  " ": reset,
  "?": () => find("help").click(),
  "+": () => active.zoom(1.25),
  "-": () => active.zoom(0.8),
  ArrowUp: () => active.nv.moveCrosshairInVox(0, 0, 1),
  ArrowDown: () => active.nv.moveCrosshairInVox(0, 0, -1),
  ArrowLeft: () => activate(main, true),
  ArrowRight: () => beside.root.hidden || activate(beside, true),
  Backspace: () => active.measures.undo(),
  "ctrl+z": () => active.measures.undo(),
  Escape: () => (find("keys").hidden ? chooseMode("crosshair") : showHelp(false)),
  ...Object.fromEntries(MODES.map(([name, , , key]) => [key, () => chooseMode(name)])),
};
const EDIT_KEYS = {
  m: () => editing.fillBetween(),
  "[": () => editing.resize(Math.max(1, editing.size - 2)),
  "]": () => editing.resize(Math.min(25, editing.size + 2)),
  "ctrl+z": () => editing.undo(),
  "ctrl+s": () => find("save").click(),
  Escape: stopEditing,
  ...Object.fromEntries(PENS.map(([name, , , key]) => [key, () => editing.use(name)])),
};

function keyed(event) {
  if (event.altKey || !main.image) return;
  const name = nameOf(event);
  const preset = active.image?.windows[Number(name) - 1];
  const action = (editing.active && EDIT_KEYS[name]) || (preset && (() => active.applyWindow(preset))) || KEYS[name];
  if (!action) return;
  event.preventDefault();
  event.stopPropagation(); // Streamlit has keys of its own
  action();
}

window.addEventListener("keydown", (event) => {
  if (event.target.matches?.("input[type=range], select") && event.key.startsWith("Arrow")) return;
  const isPressingButton = event.target.matches?.("button, input[type=checkbox], select") && [" ", "Enter"].includes(event.key);
  if (isPressingButton) return;
  keyed(event);
  if (PAGE_KEYS.has(event.key.toLowerCase()) && !event.ctrlKey && !event.metaKey) {
    if (editing.dirty) editing.say("save or discard the correction first", true);
    else page.passOn(event);
  }
  if (event.target.matches?.("canvas")) event.stopImmediatePropagation(); // NiiVue's own keys differ from a reader's
}, true);
window.addEventListener("keyup", (event) => event.stopImmediatePropagation(), true);
page.takeKeys(keyed);
page.followFindings(lightFinding, jumpToFinding);
page.guardLeaving(() => editing.dirty, () => editing.say("save or discard the correction first", true));
