// One image on one canvas: its planes, its window, the overlay and what is drawn over it.

import { centreOf, colourTable, outlineOf } from "./labels.js";
import { fetchOnce, unpackInto, urlOf } from "./fetching.js";
import { drawMarks } from "./marks.js";
import { Measures } from "./measures.js";
import { DRAG, SLICE, loadNiivue } from "./niivue.js";
import { placeAt, valueAt, voxelAt } from "./tiles.js";

const GAP = 0.03; // of the longest side: the crosshair leaves its centre free
const WIDE = [
  { sliceType: SLICE.axial, position: [0.015, 0.02, 0.595, 0.95] },
  { sliceType: SLICE.coronal, position: [0.64, 0.02, 0.345, 0.46] },
  { sliceType: SLICE.sagittal, position: [0.64, 0.5, 0.345, 0.46] },
];
const TALL = [
  { sliceType: SLICE.axial, position: [0.02, 0.015, 0.96, 0.6] },
  { sliceType: SLICE.coronal, position: [0.02, 0.63, 0.47, 0.35] },
  { sliceType: SLICE.sagittal, position: [0.51, 0.63, 0.47, 0.35] },
];
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
  selectionBoxColor: [0.42, 0.71, 0.79, 0.3],
  loadingText: "",
  logLevel: "error",
};
const TYPES = { uint8: [2, 1], int16: [4, 2], float32: [16, 4] }; // NIfTI code, bytes
const HEADER_BYTES = 352;
const CAL_MAX = 124; // where a NIfTI-1 header has the window; cal_min follows

export class Pane {
  constructor(root) {
    this.root = root;
    this.part = (name) => root.querySelector(`.${name}`);
    this.canvas = this.part("slices");
    this.image = null;
    this.overlay = null; // { key, segments, fill, outline, dims, spacing }
    this.inverted = false;
    this.say("Loading the images …");
  }

  async attach() {
    const Niivue = await loadNiivue();
    const nv = new Niivue(OPTIONS);
    await nv.attachToCanvas(this.canvas, true);
    if (!nv.gl) throw new Error("this browser has no WebGL 2");
    this.nv = nv;
    this.measures = new Measures(this.part("measures"), nv, "");
    const drawScene = nv.drawScene.bind(nv);
    nv.drawScene = () => {
      drawScene();
      if (!nv.volumes.length) return;
      drawMarks(this.part("marks"), nv);
      this.measures.draw();
    };
    nv.onLocationChange = (location) => this.onMove?.(this, location);
    this.canvas.addEventListener("mousemove", (event) => this.probe(event));
    this.canvas.addEventListener("mouseleave", () => (this.part("probe").textContent = ""));
  }

  /** Show the middle slice where the axial plane will be, before anything heavy is begun. */
  async preview(image, layout, tall) {
    if (this.image?.key === image.key) return;
    delete this.root.dataset.first;
    const box = this.part("first");
    const picture = box.querySelector("img");
    picture.src = urlOf(image.first.address);
    try {
      await picture.decode();
    } catch {
      return; // the images themselves are still to come
    }
    const stage = this.root.getBoundingClientRect();
    const [x, y, w, h] = layout === "planes" ? (tall ? TALL : WIDE)[0].position : [0, 0, 1, 1];
    const [wide, high] = image.first.size_mm;
    const scale = Math.min((w * stage.width) / wide, (h * stage.height) / high);
    Object.assign(picture.style, {
      left: `${x * stage.width + (w * stage.width - scale * wide) / 2}px`,
      top: `${y * stage.height + (h * stage.height - scale * high) / 2}px`,
      width: `${scale * wide}px`,
      height: `${scale * high}px`,
    });
    const { number, count } = image.first;
    box.querySelector(".note").textContent = `Ax ${number}/${count}, ${image.windows[0].name}; loading the others …`;
    this.say("");
    box.hidden = false;
    await new Promise((resolve) => requestAnimationFrame(() => setTimeout(resolve)));
    this.root.dataset.first = image.key;
  }

  endPreview() {
    this.part("first").hidden = true;
  }

  /** Show an image; the overlay of the one before is gone. */
  async open(image) {
    if (this.part("first").hidden) this.say(`Loading ${image.label} …`);
    this.image = null;
    const { nv } = this;
    const packed = await fetchOnce(image.key, image.address);
    nv.setDrawingEnabled(false);
    for (const volume of [...nv.volumes]) nv.removeVolume(volume);
    Object.assign(this, { overlay: null, inverted: false });
    this.measures.clear();
    await this.load(image, image.data_type, packed, image.windows[0]);
    const [base] = nv.volumes;
    nv.opts.crosshairGap = GAP * Math.max(...[1, 2, 3].map((axis) => base.dimsRAS[axis] * base.pixDimsRAS[axis]));
    this.image = image;
    this.measures.unit = image.unit;
    this.part("label").textContent = image.label;
    nv.scene.crosshairPos = [0.5, 0.5, 0.5];
    this.showWindow();
    this.say("");
  }

  /** Voxels as a NIfTI file, which is what NiiVue reads; with its window, so that they are laid out only once. */
  async load(image, type, packed, preset = null) {
    const affine = image.affine_ras;
    const spacing = [0, 1, 2].map((axis) => Math.hypot(affine[axis], affine[4 + axis], affine[8 + axis]));
    const [code, bytes] = TYPES[type];
    const file = new Uint8Array(HEADER_BYTES + bytes * image.shape.reduce((a, b) => a * b));
    file.set(await this.nv.createNiftiArray(image.shape, spacing, affine, code));
    const header = new DataView(file.buffer, 0, HEADER_BYTES);
    if (preset) {
      header.setFloat32(CAL_MAX, preset.level + preset.width / 2, true);
      header.setFloat32(CAL_MAX + 4, preset.level - preset.width / 2, true);
    }
    await unpackInto(packed, file, HEADER_BYTES);
    await this.nv.loadFromArrayBuffer(file.buffer, `${type}.nii`);
  }

  /** Lay a label map over the image, or take it away with null. */
  async lay(overlay) {
    const { nv } = this;
    while (nv.volumes.length > 1) nv.removeVolume(nv.volumes[1]);
    this.overlay = null;
    if (!overlay) return;
    await this.load(this.image, "uint8", await fetchOnce(overlay.key, overlay.address));
    const volume = nv.volumes[1];
    const [, nx, ny, nz] = volume.hdr.dims;
    this.overlay = { ...overlay, fill: volume.img, outline: null, dims: [nx, ny, nz], spacing: volume.hdr.pixDims.slice(1, 4) };
  }

  /** Colour the overlay as `look` says: { shown, opacity, outline, hidden, lit }. */
  colour(look) {
    const { nv, overlay } = this;
    if (!overlay) return;
    const volume = nv.volumes[1];
    if (look.outline) overlay.outline ??= outlineOf(overlay.fill, overlay.dims, overlay.spacing);
    volume.img = look.outline ? overlay.outline : overlay.fill;
    volume.setColormapLabel(colourTable(overlay.segments, look.hidden, look.lit));
    volume.opacity = look.shown ? Math.min(1, look.outline ? 2 * look.opacity : look.opacity) : 0;
    nv.refreshLayers(volume, 1);
    nv.drawScene();
  }

  /** Where the middle of a segment lies, RAS mm; null without it. */
  centreOf(number) {
    const centre = this.overlay && centreOf(this.overlay.fill, this.overlay.dims, number);
    if (!centre) return null;
    const rows = this.nv.volumes[1].hdr.affine.slice(0, 3);
    return rows.map((row) => row[0] * centre[0] + row[1] * centre[1] + row[2] * centre[2] + row[3]);
  }

  place() {
    return [...this.nv.frac2mm(this.nv.scene.crosshairPos, 0, true)].slice(0, 3);
  }

  goTo(mm) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm, 0, true).map((value) => Math.min(1, Math.max(0, value)));
    this.nv.drawScene();
    this.nv.createOnLocationChange();
  }

  /** Follow another pane without telling anybody. */
  follow(mm, pan) {
    this.nv.scene.crosshairPos = this.nv.mm2frac(mm, 0, true).map((value) => Math.min(1, Math.max(0, value)));
    this.nv.scene.pan2Dxyzmm = [...pan];
    this.nv.drawScene();
  }

  applyWindow(preset) {
    const volume = this.nv.volumes[0];
    volume.cal_min = preset.level - preset.width / 2;
    volume.cal_max = preset.level + preset.width / 2;
    this.refresh();
  }

  invert() {
    this.inverted = !this.inverted;
    this.refresh();
  }

  refresh() {
    const volume = this.nv.volumes[0];
    volume.colormapInvert = this.inverted;
    this.nv.refreshLayers(volume, 0);
    this.nv.drawScene();
    this.showWindow();
  }

  /** Width follows the drag across, level the drag along; a whole screen is a few widths, whatever the unit is. */
  startWindowing(event) {
    const volume = this.nv.volumes[0];
    const start = { x: event.clientX, y: event.clientY, low: volume.cal_min, high: volume.cal_max };
    const width = start.high - start.low;
    const unit = width / 250;
    const drag = (move) => {
      const wide = Math.max(width + unit * (move.clientX - start.x), unit);
      const level = (start.high + start.low) / 2 + unit * (move.clientY - start.y);
      Object.assign(volume, { cal_min: level - wide / 2, cal_max: level + wide / 2 });
      this.refresh();
    };
    window.addEventListener("mousemove", drag);
    window.addEventListener("mouseup", () => window.removeEventListener("mousemove", drag), { once: true });
  }

  /** Width and level, and the preset that they are. */
  window() {
    const volume = this.nv.volumes[0];
    const width = volume.cal_max - volume.cal_min;
    const level = (volume.cal_max + volume.cal_min) / 2;
    const preset = this.image?.windows.find((w) => Math.abs(w.width - width) < 0.5 && Math.abs(w.level - level) < 0.5);
    return { width, level, preset };
  }

  showWindow() {
    const { width, level } = this.window();
    const short = (value) => (Math.abs(width) < 20 ? value.toFixed(2) : String(Math.round(value)));
    this.part("window-readout").textContent = `W ${short(width)}  L ${short(level)}`;
    this.onWindow?.(this);
  }

  layOut(layout, tall) {
    if (layout === "planes") this.nv.setCustomLayout(tall ? TALL : WIDE);
    else this.nv.clearCustomLayout();
    this.nv.setSliceType(SLICE[layout]);
  }

  useMode(mode) {
    this.nv.setMouseEventConfig({
      leftButton: { primary: DRAG[mode] ?? DRAG.none, withShift: DRAG.none, withCtrl: DRAG.pan },
      rightButton: DRAG.none,
      centerButton: DRAG.pan,
    });
    this.nv.opts.dragMode = mode === "pan" ? DRAG.pan : DRAG.none; // with pan, the wheel zooms
  }

  zoom(by) {
    const pan = this.nv.scene.pan2Dxyzmm;
    this.nv.setPan2Dxyzmm([pan[0], pan[1], pan[2], Math.min(20, Math.max(0.25, pan[3] * by))]);
  }

  reset() {
    this.inverted = false;
    this.nv.setPan2Dxyzmm([0, 0, 0, 1]);
    this.measures.clear();
    this.applyWindow(this.image.windows[0]);
  }

  /** The value of the voxel under the pointer. */
  probe(event) {
    const volume = this.nv.volumes[0];
    const place = volume && placeAt(this.nv, event.offsetX, event.offsetY);
    const value = place ? valueAt(volume, voxelAt(volume, place.frac)) : null;
    this.part("probe").textContent = value === null ? "" : `${Number(value.toPrecision(4))} ${this.image?.unit ?? ""}`.trim();
  }

  /** Show a line over the images; an empty one shows the images. `textContent` keeps it text, whatever it holds. */
  say(text) {
    this.part("message").textContent = text;
    this.part("message").hidden = !text;
  }

  fail(error) {
    this.image = null;
    this.endPreview();
    this.say(`The images cannot be drawn: ${error.message}.`);
  }
}
