// Orientation letters, slice positions and the scale bar, as text over the canvas: legible on bright images, unlike
// letters drawn in it.

import { SLICE } from "./niivue.js";
import { AXES } from "./tiles.js";

const NICE_MM = [500, 200, 100, 50, 20, 10, 5, 2, 1];
const LOW = 90; // a plane lower than this has no room for a scale bar, nor for letters above each other
const BAR_SHARE = 0.3; // the scale bar is at most this part of the plane's width

/** Letters at left, top, right and bottom of each plane, in NiiVue's radiological view with the nose to the left. */
const LETTERS = {
  [SLICE.axial]: ["R", "A", "L", "P"],
  [SLICE.coronal]: ["R", "S", "L", "I"],
  [SLICE.sagittal]: ["A", "S", "P", "I"],
};
const NAMES = { [SLICE.axial]: "Ax", [SLICE.coronal]: "Cor", [SLICE.sagittal]: "Sag" };

/** Draw the marks of every plane on the screen into `layer`, a box that lies exactly over the canvas. */
export function drawMarks(layer, nv) {
  const ratio = nv.uiData.dpr || 1;
  const marks = [];
  for (const slice of nv.screenSlices) {
    const letters = LETTERS[slice.axCorSag];
    if (!letters) continue;
    const [left, top, width, height] = slice.leftTopWidthHeight.map((value) => value / ratio);
    const x = left + Math.min(0, width);
    const w = Math.abs(width);
    const low = height < LOW;
    marks.push(
      mark(letters[0], x + 3, top + height / 2, "start"),
      mark(letters[1], x + w / 2, low ? top - 2 : top + 2, low ? "below" : "above"),
      mark(letters[2], x + w - 3, top + height / 2, "end"),
      mark(letters[3], x + w / 2, low ? top + height + 2 : top + height - 2, low ? "above" : "below"),
    );
    if (low) continue;
    const [number, count] = placeOf(nv, slice.axCorSag);
    marks.push(mark(`${NAMES[slice.axCorSag]} ${number}/${count}`, x + 4, top + 4, "place"));
    const bar = scaleBar(x, top + height, w, Math.abs(slice.fovMM[0] ?? 0));
    if (bar) marks.push(bar);
  }
  layer.replaceChildren(...marks);
}

/** Which slice of how many a plane shows, from 1. */
export function placeOf(nv, plane) {
  const axis = AXES[plane][2];
  const count = nv.volumes[0].dimsRAS[axis + 1];
  return [Math.min(Math.floor(nv.scene.crosshairPos[axis] * count) + 1, count), count];
}

function mark(text, x, y, side) {
  const element = document.createElement("span");
  element.className = `mark ${side}`;
  element.textContent = text;
  element.style.left = `${x}px`;
  element.style.top = `${y}px`;
  return element;
}

function scaleBar(x, bottom, width, fieldMm) {
  const length = NICE_MM.find((mm) => mm <= fieldMm * BAR_SHARE);
  if (!length) return null;
  const bar = document.createElement("span");
  bar.className = "scale";
  bar.textContent = length >= 10 ? `${length / 10} cm` : `${length} mm`;
  bar.style.width = `${(length / fieldMm) * width}px`;
  bar.style.left = `${x + 6}px`;
  bar.style.top = `${bottom - 24}px`;
  return bar;
}
