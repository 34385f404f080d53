// Three linked planes of one series with the model's label map over it. Everything here happens without a rerun.

import { colourTable, centreOf, outlineOf } from "./labels.js";
import { drawMarks } from "./marks.js";
import { DRAG, SLICE, loadNiivue } from "./niivue.js";
import { onRender, setHeight } from "./streamlit.js";

const LAYOUTS = [
  ["planes", "Planes", "Axial, coronal and sagittal"],
  ["axial", "Axial", "Axial alone"],
  ["coronal", "Coronal", "Coronal alone"],
  ["sagittal", "Sagittal", "Sagittal alone"],
  ["render", "3D", "Volume rendering"],
];
const MODES = [
  ["crosshair", "Crosshair", "Left drag moves the crosshair"],
  ["window", "Window", "Left drag changes the window"],
  ["pan", "Pan, zoom", "Left drag pans, the wheel zooms"],
  ["measure", "Measure", "Left drag measures a distance"],
];
const PLANES = [
  { sliceType: SLICE.axial, position: [0.015, 0.02, 0.595, 0.95] },
  { sliceType: SLICE.coronal, position: [0.64, 0.02, 0.345, 0.46] },
  { sliceType: SLICE.sagittal, position: [0.64, 0.5, 0.345, 0.46] },
];
const GAP = 0.03; // of the longest side: the crosshair leaves its centre free

const OPTIONS = {
  isRadiologicalConvention: true,
  sagittalNoseLeft: true,
  isOrientationTextVisible: false, // marks.js draws the letters
  dragAndDropEnabled: false,
  multiplanarShowRender: 0,
  backColor: [0, 0, 0, 1],
  crosshairColor: [0.42, 0.71, 0.79, 0.75],
  crosshairWidthUnit: "percent",
  crosshairWidth: 0.25,
  fontColor: [0.86, 0.8, 0.55, 1],
  fontMinPx: 14,
  fontSizeScaling: 0.25,
  measureLineColor: [0.93, 0.78, 0.36, 1],
  measureTextColor: [0.93, 0.78, 0.36, 1],
  selectionBoxColor: [0.42, 0.71, 0.79, 0.3],
  loadingText: "",
  logLevel: "error",
};

const find = (id) => document.getElementById(id);
const canvas = find("slices");
const state = { nv: null, imageKey: null, overlayKey: null, windows: [], segments: [], hidden: new Set(), layout: "planes" };
let labels = null; // { fill, outline, dims, spacing } of the overlay that is loaded
let turn = Promise.resolve();

onRender((args) => {
  turn = turn.then(() => show(args)).catch(fail);
});

async function show(args) {
  setHeight(args.height);
  state.nv ??= await attach();
  if (args.image_key !== state.imageKey || args.overlay_key !== state.overlayKey) await load(args);
}

async function attach() {
  const Niivue = await loadNiivue();
  const nv = new Niivue(OPTIONS);
  await nv.attachToCanvas(canvas, true);
  if (!nv.gl) throw new Error("this browser has no WebGL 2");
  const drawScene = nv.drawScene.bind(nv);
  nv.drawScene = () => {
    drawScene();
    drawMarks(find("marks"), nv);
  };
  nv.onLocationChange = showPosition;
  nv.onIntensityChange = showWindow;
  state.nv = nv;
  chooseMode("crosshair");
  chooseLayout(state.layout);
  return nv;
}

async function load(args) {
  const { nv } = state;
  const here = nv.volumes.length && args.study_key === state.studyKey ? nv.frac2mm(nv.scene.crosshairPos, 0, true) : null;
  say("Loading the images …");
  for (const volume of [...nv.volumes]) nv.removeVolume(volume);
  labels = null;
  await nv.loadFromArrayBuffer(await niftiOf(args), "image.nii");
  state.segments = args.segments;
  nv.opts.crosshairGap = GAP * Math.max(...[1, 2, 3].map((axis) => nv.volumes[0].dimsRAS[axis] * nv.volumes[0].pixDimsRAS[axis]));
  if (args.overlay) await loadOverlay(args);
  Object.assign(state, { imageKey: args.image_key, overlayKey: args.overlay_key, studyKey: args.study_key });
  Object.assign(state, { windows: args.windows, unit: args.unit });
  drawWindows();
  applyWindow(args.windows[0]);
  find("overlay").hidden = !labels;
  if (here) nv.scene.crosshairPos = nv.mm2frac(here, 0, true);
  else startAt();
  say("");
  nv.drawScene();
  nv.createOnLocationChange();
}

async function loadOverlay(args) {
  const { nv } = state;
  if (args.overlay_key !== state.overlayKey) state.hidden = new Set();
  await nv.loadFromArrayBuffer(bufferOf(args.overlay), "overlay.nii.gz");
  const volume = nv.volumes[1];
  const [, nx, ny, nz] = volume.hdr.dims;
  const spacing = volume.hdr.pixDims.slice(1, 4);
  labels = { fill: volume.img, outline: null, dims: [nx, ny, nz], spacing };
  drawSegments();
  colour();
}

/** The crosshair opens on the largest segment, or in the middle. */
function startAt() {
  state.nv.scene.crosshairPos = [0.5, 0.5, 0.5];
  const largest = [...state.segments].sort((a, b) => b.volume_mm3 - a.volume_mm3)[0];
  if (labels && largest) jumpTo(largest.number);
}

function jumpTo(number) {
  const { nv } = state;
  const centre = centreOf(labels.fill, labels.dims, number);
  if (!centre) return;
  const rows = nv.volumes[1].hdr.affine.slice(0, 3);
  const mm = rows.map((row) => row[0] * centre[0] + row[1] * centre[1] + row[2] * centre[2] + row[3]);
  nv.scene.crosshairPos = nv.mm2frac(mm, 0, true);
  nv.drawScene();
  nv.createOnLocationChange();
}

function colour() {
  const { nv } = state;
  const volume = nv.volumes[1];
  if (find("outline").checked) labels.outline ??= outlineOf(labels.fill, labels.dims, labels.spacing);
  volume.img = find("outline").checked ? labels.outline : labels.fill;
  volume.setColormapLabel(colourTable(state.segments, state.hidden));
  const opacity = Number(find("opacity").value) / 100;
  volume.opacity = find("shown").checked ? Math.min(1, find("outline").checked ? 2 * opacity : opacity) : 0;
  nv.updateGLVolume();
}

function applyWindow(preset) {
  const volume = state.nv.volumes[0];
  volume.cal_min = preset.level - preset.width / 2;
  volume.cal_max = preset.level + preset.width / 2;
  volume.colormapInvert = find("invert").getAttribute("aria-pressed") === "true";
  state.nv.updateGLVolume();
  showWindow(volume);
}

/** Width follows the drag across, level the drag along; a whole screen is a few widths, whatever the unit is. */
function startWindowing(event) {
  const { nv } = state;
  const volume = nv.volumes[0];
  const start = { x: event.clientX, y: event.clientY, low: volume.cal_min, high: volume.cal_max };
  const width = start.high - start.low;
  const level = (start.high + start.low) / 2;
  const unit = width / 250;
  const drag = (move) => {
    const wide = Math.max(width + unit * (move.clientX - start.x), unit);
    const middle = level + unit * (move.clientY - start.y);
    volume.cal_min = middle - wide / 2;
    volume.cal_max = middle + wide / 2;
    nv.refreshLayers(volume, 0);
    nv.drawScene();
    showWindow(volume);
  };
  window.addEventListener("mousemove", drag);
  window.addEventListener("mouseup", () => window.removeEventListener("mousemove", drag), { once: true });
}

function chooseLayout(layout) {
  const { nv } = state;
  state.layout = layout;
  press("layouts", layout);
  find("convention").hidden = layout === "render";
  if (layout === "planes") nv.setCustomLayout(PLANES);
  else nv.clearCustomLayout();
  nv.setSliceType(SLICE[layout]);
}

function chooseMode(mode) {
  state.mode = mode;
  press("modes", mode);
  state.nv.setMouseEventConfig({
    leftButton: { primary: DRAG[mode] ?? DRAG.none, withShift: DRAG.measure, withCtrl: DRAG.pan },
    rightButton: DRAG.none,
    centerButton: DRAG.pan,
  });
  state.nv.opts.dragMode = mode === "pan" ? DRAG.pan : DRAG.none; // with pan, the wheel zooms
}

function reset() {
  const { nv } = state;
  find("invert").setAttribute("aria-pressed", "false");
  nv.setPan2Dxyzmm([0, 0, 0, 1]);
  nv.clearAllMeasurements();
  applyWindow(state.windows[0]);
  startAt();
  nv.drawScene();
}

function showWindow(volume) {
  const width = volume.cal_max - volume.cal_min;
  const level = (volume.cal_max + volume.cal_min) / 2;
  find("window-readout").textContent = `W ${Math.round(width)}  L ${Math.round(level)}`;
  const chosen = state.windows.find((w) => Math.abs(w.width - width) < 0.5 && Math.abs(w.level - level) < 0.5);
  press("windows", chosen?.name);
}

function showPosition(location) {
  const volume = state.nv.volumes[0];
  if (!volume) return;
  const [x, y, z] = location.mm;
  const side = (value, positive, negative) => `${value >= 0 ? positive : negative} ${Math.abs(value).toFixed(1)}`;
  const slice = Math.min(Math.floor(location.frac[2] * volume.dimsRAS[3]) + 1, volume.dimsRAS[3]);
  const value = location.values[0]?.value;
  const reading = value === undefined ? "" : `${Number(value.toPrecision(4))} ${state.unit}`;
  const place = `${side(x, "R", "L")}  ${side(y, "A", "P")}  ${side(z, "S", "I")} mm`;
  find("position").textContent = [place, `slice ${slice} of ${volume.dimsRAS[3]}`, reading].filter(Boolean).join("  ·  ");
}

function drawWindows() {
  fill("windows", state.windows.map((preset, n) => {
    const button = toggle(preset.name, preset.name, `Width ${Math.round(preset.width)}, level ${Math.round(preset.level)} (${n + 1})`);
    const key = document.createElement("kbd");
    key.textContent = String(n + 1);
    button.prepend(key);
    button.onclick = () => applyWindow(preset);
    return button;
  }));
}

function drawSegments() {
  fill("segments", state.segments.map((segment) => {
    const box = document.createElement("span");
    box.className = "segment";
    const eye = document.createElement("button");
    eye.type = "button";
    eye.title = `Show or hide ${segment.name}`;
    eye.setAttribute("aria-label", eye.title);
    eye.append(Object.assign(document.createElement("span"), { className: "swatch" }));
    eye.firstChild.style.background = `rgb(${segment.colour.join(",")})`;
    eye.onclick = () => {
      if (!state.hidden.delete(segment.number)) state.hidden.add(segment.number);
      box.toggleAttribute("data-hidden", state.hidden.has(segment.number));
      colour();
    };
    const name = document.createElement("button");
    name.type = "button";
    name.className = "name";
    name.textContent = segment.name;
    name.title = `Go to ${segment.name}`;
    name.onclick = () => jumpTo(segment.number);
    box.append(eye, name);
    box.toggleAttribute("data-hidden", state.hidden.has(segment.number));
    return box;
  }));
}

function toggle(name, text, title) {
  const button = document.createElement("button");
  button.type = "button";
  button.dataset.name = name;
  button.title = title;
  button.append(text);
  button.setAttribute("aria-pressed", "false");
  return button;
}

const fill = (id, children) => find(id).replaceChildren(...children);

function press(id, name) {
  for (const button of find(id).children) button.setAttribute("aria-pressed", String(button.dataset.name === name));
}

/** Show a line over the images; an empty one shows the images. `textContent` keeps it text, whatever it holds. */
function say(text) {
  find("message").textContent = text;
  find("message").hidden = !text;
}

function fail(error) {
  state.imageKey = null;
  say(`The images cannot be drawn: ${error.message}.`);
}

/** The image as a NIfTI file, which is what NiiVue reads, from the packed voxels and the affine that Python gave. */
async function niftiOf(args) {
  const packed = new Blob([args.image]).stream().pipeThrough(new DecompressionStream("gzip"));
  const bytes = new Uint8Array(await new Response(packed).arrayBuffer());
  const affine = args.affine_ras;
  const spacing = [0, 1, 2].map((axis) => Math.hypot(affine[axis], affine[4 + axis], affine[8 + axis]));
  const type = { int16: 4, float32: 16 }[args.data_type];
  return bufferOf(await state.nv.createNiftiArray(args.shape, spacing, affine, type, bytes));
}

/** Bytes as an ArrayBuffer of their own. */
const bufferOf = (bytes) => bytes.buffer.slice(bytes.byteOffset, bytes.byteOffset + bytes.byteLength);

fill("layouts", LAYOUTS.map(([name, text, title]) => Object.assign(toggle(name, text, title), { onclick: () => chooseLayout(name) })));
fill("modes", MODES.map(([name, text, title]) => Object.assign(toggle(name, text, title), { onclick: () => chooseMode(name) })));
find("shown").onchange = colour;
find("outline").onchange = colour;
find("opacity").oninput = colour;
find("reset").onclick = reset;
find("invert").onclick = () => {
  const { nv } = state;
  const inverted = find("invert").getAttribute("aria-pressed") !== "true";
  find("invert").setAttribute("aria-pressed", String(inverted));
  nv.volumes[0].colormapInvert = inverted;
  nv.updateGLVolume();
};
find("help").onclick = () => {
  find("keys").hidden = !find("keys").hidden;
  find("help").setAttribute("aria-expanded", String(!find("keys").hidden));
};

/** Keys of the page around this frame (previous, next, worklist) work while the pointer is over the images. */
const PAGE_KEYS = new Set(["n", "p", "w"]);

function passOn(event) {
  const copy = (type) => new KeyboardEvent(type, { key: event.key, code: event.code, bubbles: true, cancelable: true });
  window.parent.document.body.dispatchEvent(copy("keydown"));
  window.parent.document.body.dispatchEvent(copy("keyup"));
}

const KEYS = {
  o: () => find("shown").click(),
  l: () => find("outline").click(),
  i: () => find("invert").click(),
  " ": reset,
  "?": () => find("help").click(),
  ArrowUp: () => state.nv.moveCrosshairInVox(0, 0, 1),
  ArrowDown: () => state.nv.moveCrosshairInVox(0, 0, -1),
};

window.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.target.matches?.("input[type=range]")) return;
  const preset = state.windows[Number(event.key) - 1];
  const action = preset ? () => applyWindow(preset) : KEYS[event.key.length === 1 ? event.key.toLowerCase() : event.key];
  if (action && state.nv?.volumes.length) {
    event.preventDefault();
    action();
  }
  if (PAGE_KEYS.has(event.key.toLowerCase())) passOn(event);
  if (event.target === canvas) event.stopImmediatePropagation(); // NiiVue's own keys differ from a reader's
}, true);
window.addEventListener("keyup", (event) => event.stopImmediatePropagation(), true);
find("stage").addEventListener("mousedown", (event) => {
  const windows = event.button === 2 || (event.button === 0 && state.mode === "window" && !event.shiftKey && !event.ctrlKey);
  if (!windows || event.target !== canvas || !state.nv?.volumes.length) return;
  event.preventDefault();
  event.stopPropagation(); // NiiVue's windowing says nothing of what it does, so the readout could not follow
  startWindowing(event);
}, true);
canvas.addEventListener("mouseenter", () => canvas.focus({ preventScroll: true }));
