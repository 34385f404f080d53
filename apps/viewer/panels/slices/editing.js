// Correcting a segmentation in the viewer: NiiVue's pen over the image, its bitmap given back as a label map.

import { colourTable } from "./labels.js";
import { pack } from "./fetching.js";
import { tellBytes } from "./streamlit.js";
import { SLICE } from "./niivue.js";

const HEADER_BYTES = 352;
const UNDO_STEPS = 30;

export class Editing {
  /** `onChange` is called whenever the bar has to be drawn again. */
  constructor(onChange) {
    this.onChange = onChange;
    this.pane = null;
    this.token = "";
    this.dirty = false;
    this.tool = "paint";
    this.size = 3;
    this.number = 1;
    this.notice = "";
    this.failed = false;
  }

  get active() {
    return this.pane !== null;
  }

  /** Begin on what lies over the pane's image, or on an empty map; `segments` are those that may be drawn. */
  start(pane, segments, of) {
    const { nv } = pane;
    nv.opts.maxDrawUndoBitmaps = UNDO_STEPS;
    if (pane.overlay) {
      nv.volumes[1].img = pane.overlay.fill;
      if (!(pane.overlay.fill instanceof Uint8Array)) nv.volumes[1].img = Uint8Array.from(pane.overlay.fill);
      if (!nv.loadDrawing(nv.volumes[1])) return this.say("the overlay is on another grid than this image; choose the series that the model read", true);
      nv.volumes[1].opacity = 0;
      nv.refreshLayers(nv.volumes[1], 1);
      nv.opts.drawingEnabled = true;
    } else {
      nv.setDrawingEnabled(true);
    }
    Object.assign(this, { pane, segments, of, dirty: false, number: segments[0].number, notice: "", failed: false });
    nv.setDrawColormap(colourTable(segments));
    nv.setDrawOpacity(0.55);
    nv.onDrawingChanged = (action) => {
      if (action === "draw") this.touched();
    };
    this.use("paint");
  }

  stop() {
    const { nv } = this.pane;
    nv.onDrawingChanged = () => {};
    nv.setDrawingEnabled(false);
    nv.closeDrawing();
    Object.assign(this, { pane: null, dirty: false, token: "", notice: "", failed: false });
    this.onChange();
  }

  touched() {
    this.dirty = true;
    this.say("");
  }

  use(tool) {
    this.tool = tool;
    this.apply();
  }

  choose(number) {
    this.number = number;
    if (this.tool === "erase") this.tool = "paint";
    this.apply();
  }

  resize(size) {
    this.size = size;
    this.apply();
  }

  apply() {
    const { nv } = this.pane;
    nv.opts.penSize = this.tool === "area" ? 1 : this.size;
    nv.setPenValue(this.tool === "erase" ? 0 : this.number, this.tool === "area");
    this.onChange();
  }

  undo() {
    this.pane.nv.drawUndo();
    this.touched();
  }

  /** Fill the slices between those that the reader drew, across the axial plane. */
  fillBetween() {
    const { nv } = this.pane;
    const before = nv.drawBitmap.slice();
    const dims = nv.volumes[0].dimsRAS;
    const only = before.map((value) => (value === this.number ? this.number : 0));
    const used = usedSlices(only, dims);
    if (used.length < 2) return this.say("draw the segment in two slices at least, then fill between them", true);
    nv.drawBitmap = only;
    for (let n = 1; n < used.length; n += 1) {
      if (used[n] - used[n - 1] > 1) {
        nv.interpolateMaskSlices(used[n - 1], used[n], { sliceType: SLICE.axial, useIntensityGuided: false });
      }
    }
    const filled = nv.drawBitmap;
    nv.drawBitmap = before.map((value, index) => (value === 0 && filled[index] ? this.number : value));
    nv.drawAddUndoBitmap(false);
    nv.refreshDrawing(true);
    this.touched();
    return undefined;
  }

  /** Send the label map to Python, once; what became of it comes back with the token. */
  async save() {
    const { nv } = this.pane;
    const file = await nv.saveImage({ filename: "", isSaveDrawing: true, volumeByIndex: 0 });
    const [, ni, nj, nk] = nv.volumes[0].hdr.dims;
    const labels = file.subarray(HEADER_BYTES, HEADER_BYTES + ni * nj * nk);
    this.token = crypto.randomUUID();
    this.say("Saving …");
    const used = [...new Set(labels)].filter((number) => number > 0);
    const header = { kind: "segmentation", token: this.token, shape: [ni, nj, nk], numbers: used, of: this.of };
    tellBytes(header, await pack(labels));
  }

  /** What Python says of the last save; true when it is kept. */
  answered(answer) {
    if (!answer || answer.token !== this.token || !this.active) return false;
    this.token = "";
    if (!answer.saved) this.say(answer.text, true);
    return answer.saved;
  }

  say(text, failed = false) {
    Object.assign(this, { notice: text, failed });
    this.onChange();
  }
}

function usedSlices(labels, dims) {
  const size = dims[1] * dims[2];
  const used = [];
  for (let k = 0; k < dims[3]; k += 1) {
    if (labels.subarray(k * size, (k + 1) * size).some((value) => value !== 0)) used.push(k);
  }
  return used;
}
