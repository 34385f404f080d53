// Between the screen and the volume: a plane on the canvas is a "tile" of NiiVue's (`screenSlices`).

import { SLICE } from "./niivue.js";

/** Axes of the volume (RAS) along a plane's width, along its height, and across it. */
export const AXES = {
  [SLICE.axial]: [0, 1, 2],
  [SLICE.coronal]: [0, 2, 1],
  [SLICE.sagittal]: [1, 2, 0],
};

/** The tile under a point of the canvas in CSS pixels, and the place there as fractions of the volume; null outside. */
export function placeAt(nv, x, y) {
  const ratio = nv.uiData.dpr || 1;
  const tile = nv.screenSlices[nv.tileIndex(x * ratio, y * ratio)];
  if (!tile || !(tile.axCorSag in AXES)) return null;
  const frac = [...nv.canvasPos2frac([x * ratio, y * ratio])];
  return frac[0] < 0 ? null : { plane: tile.axCorSag, frac };
}

/** Where fractions of the volume lie in a tile, in CSS pixels. */
export function pointOf(nv, tile, frac) {
  const ratio = nv.uiData.dpr || 1;
  const mm = nv.frac2mm(frac, 0, false);
  const [across, along] = AXES[tile.axCorSag];
  let [left, top, width, height] = tile.leftTopWidthHeight;
  let u = (mm[across] - tile.leftTopMM[0]) / tile.fovMM[0];
  if (width < 0) {
    left += width;
    width = -width;
    u = 1 - u;
  }
  const v = 1 - (mm[along] - tile.leftTopMM[1]) / tile.fovMM[1];
  return [(left + u * width) / ratio, (top + v * height) / ratio];
}

/** The voxel (RAS) at fractions of the volume. */
export const voxelAt = (volume, frac) =>
  frac.slice(0, 3).map((value, axis) => Math.min(volume.dimsRAS[axis + 1] - 1, Math.max(0, Math.floor(value * volume.dimsRAS[axis + 1]))));

/** The value of the image there. */
export const valueAt = (volume, voxel) => volume.getValue(voxel[0], voxel[1], voxel[2]);
