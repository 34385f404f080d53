// Distances and areas that a reader draws; kept by slice, drawn as SVG over the canvas, gone with the study.

import { AXES, placeAt, pointOf, voxelAt, valueAt } from "./tiles.js";

const SVG = "http://www.w3.org/2000/svg";

export class Measures {
  constructor(layer, nv, unit) {
    this.layer = layer;
    this.nv = nv;
    this.unit = unit;
    this.items = [];
  }

  /** Follow a drag from the first press; `kind` is `distance` or `area`. */
  start(event, kind) {
    const first = placeAt(this.nv, event.offsetX, event.offsetY);
    if (!first) return;
    const item = { kind, plane: first.plane, from: first.frac, to: first.frac, text: [] };
    this.items.push(item);
    const box = this.layer.getBoundingClientRect();
    const move = (moved) => {
      const here = placeAt(this.nv, moved.clientX - box.left, moved.clientY - box.top);
      if (!here || here.plane !== item.plane) return;
      item.to = here.frac;
      item.text = kind === "distance" ? this.distance(item) : this.area(item);
      this.draw();
    };
    const end = () => {
      window.removeEventListener("mousemove", move);
      if (!item.text.length) this.items = this.items.filter((other) => other !== item);
      this.draw();
    };
    window.addEventListener("mousemove", move);
    window.addEventListener("mouseup", end, { once: true });
  }

  undo() {
    this.items.pop();
    this.draw();
  }

  clear() {
    this.items = [];
    this.draw();
  }

  distance({ from, to }) {
    const a = this.nv.frac2mm(from, 0, true);
    const b = this.nv.frac2mm(to, 0, true);
    return [`${Math.hypot(a[0] - b[0], a[1] - b[1], a[2] - b[2]).toFixed(1)} mm`];
  }

  /** Area of the ellipse in the box of the drag; mean, spread and range of the voxels whose centres lie in it. */
  area({ plane, from, to }) {
    const volume = this.nv.volumes[0];
    const [across, along] = AXES[plane];
    const size = (axis) => Math.abs(from[axis] - to[axis]) * volume.dimsRAS[axis + 1] * volume.pixDimsRAS[axis + 1];
    const mm2 = (Math.PI / 4) * size(across) * size(along);
    const values = this.inside(volume, plane, from, to);
    const lines = [`${mm2 >= 1000 ? `${(mm2 / 100).toFixed(1)} cm²` : `${mm2.toFixed(1)} mm²`}`];
    if (values.length) {
      const mean = values.reduce((sum, value) => sum + value, 0) / values.length;
      const spread = Math.sqrt(values.reduce((sum, value) => sum + (value - mean) ** 2, 0) / values.length);
      const short = (value) => String(Number(value.toPrecision(4)));
      lines.push(`mean ${short(mean)} ± ${short(spread)} ${this.unit}`.trim());
      lines.push(`${short(Math.min(...values))} to ${short(Math.max(...values))}, ${values.length} voxels`);
    }
    return lines;
  }

  inside(volume, plane, from, to) {
    const [across, along] = AXES[plane];
    const dims = volume.dimsRAS;
    const range = (axis) => {
      const [low, high] = [from[axis], to[axis]].sort((a, b) => a - b).map((value) => value * dims[axis + 1]);
      return { low, high, centre: (low + high) / 2, radius: Math.max((high - low) / 2, 1e-6) };
    };
    const u = range(across);
    const v = range(along);
    const voxel = voxelAt(volume, from);
    const step = Math.max(1, Math.ceil(Math.sqrt(((u.high - u.low) * (v.high - v.low)) / 40000)));
    const values = [];
    for (let j = Math.floor(v.low); j <= v.high; j += step) {
      for (let i = Math.floor(u.low); i <= u.high; i += step) {
        if (((i + 0.5 - u.centre) / u.radius) ** 2 + ((j + 0.5 - v.centre) / v.radius) ** 2 > 1) continue;
        voxel[across] = i;
        voxel[along] = j;
        if (i >= 0 && j >= 0 && i < dims[across + 1] && j < dims[along + 1]) values.push(valueAt(volume, voxel));
      }
    }
    return values;
  }

  /** Draw what lies in the slices that are on the screen. */
  draw() {
    const shapes = [];
    for (const tile of this.nv.screenSlices) {
      if (!(tile.axCorSag in AXES)) continue;
      const axis = AXES[tile.axCorSag][2];
      const count = this.nv.volumes[0]?.dimsRAS[axis + 1] ?? 1;
      const slice = (frac) => Math.floor(frac[axis] * count);
      const here = slice(this.nv.scene.crosshairPos);
      for (const item of this.items) {
        if (item.plane === tile.axCorSag && slice(item.from) === here) shapes.push(...this.shapes(tile, item));
      }
    }
    this.layer.replaceChildren(...shapes);
  }

  shapes(tile, item) {
    const [x1, y1] = pointOf(this.nv, tile, item.from);
    const [x2, y2] = pointOf(this.nv, tile, item.to);
    const shape =
      item.kind === "distance"
        ? element("line", { x1, y1, x2, y2 })
        : element("ellipse", { cx: (x1 + x2) / 2, cy: (y1 + y2) / 2, rx: Math.abs(x1 - x2) / 2, ry: Math.abs(y1 - y2) / 2 });
    const words = item.text.map((line, n) => {
      const text = element("text", { x: Math.max(x1, x2) + 6, y: Math.max(y1, y2) + 4 + 15 * n });
      text.textContent = line;
      return text;
    });
    return [shape, ...words];
  }
}

function element(name, attributes) {
  const made = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}
