// The label map of the overlay: colours, outlines, centres.

const FADED = 0.3; // of the colour of the others while one segment is lit
const LIFTED = 0.35; // of white in the colour of the lit one

/** NiiVue's label colour table: 0 is clear, hidden segments are clear, the others fade while one is lit. */
export function colourTable(segments, hidden = new Set(), lit = null) {
  const size = Math.max(0, ...segments.map((segment) => segment.number)) + 1;
  const table = { R: [], G: [], B: [], A: [], I: [], labels: [] };
  const byNumber = new Map(segments.map((segment) => [segment.number, segment]));
  for (let number = 0; number < size; number += 1) {
    const segment = byNumber.get(number);
    const [red, green, blue] = (segment ? segment.colour : [0, 0, 0]).map((value) => shade(value, number, lit));
    table.R.push(red);
    table.G.push(green);
    table.B.push(blue);
    table.A.push(segment && !hidden.has(number) ? 255 : 0);
    table.I.push(number);
    table.labels.push(segment ? segment.name : "");
  }
  return table;
}

function shade(value, number, lit) {
  if (lit === null) return value;
  return Math.round(number === lit ? value + LIFTED * (255 - value) : FADED * value);
}

/**
 * The label map with only the voxels at the rim of their segment.
 *
 * Neighbours within a slice always count; those in the next slice only where slices are about as thin as the pixels,
 * since a slanted surface would otherwise become a broad band.
 */
export function outlineOf(labels, dims, spacing) {
  const [nx, ny, nz] = dims;
  const steps = [1, nx];
  const deep = spacing[2] < 1.5 * Math.min(spacing[0], spacing[1]) ? nx * ny : 0;
  const outline = new labels.constructor(labels.length);
  for (let k = 0, index = 0; k < nz; k += 1) {
    for (let j = 0; j < ny; j += 1) {
      for (let i = 0; i < nx; i += 1, index += 1) {
        const label = labels[index];
        if (label === 0) continue;
        const atEdge = i === 0 || j === 0 || i === nx - 1 || j === ny - 1;
        const differs = (step) => labels[index - step] !== label || labels[index + step] !== label;
        if (atEdge || steps.some(differs) || (deep && differs(deep))) outline[index] = label;
      }
    }
  }
  return outline;
}

/** The centre of a segment in the slice that holds most of it (the middle one of several), as indices; null if empty. */
export function centreOf(labels, dims, number) {
  const [nx, ny, nz] = dims;
  const counts = new Uint32Array(nz);
  const sums = new Float64Array(nz * 2);
  for (let k = 0, index = 0; k < nz; k += 1) {
    for (let j = 0; j < ny; j += 1) {
      for (let i = 0; i < nx; i += 1, index += 1) {
        if (labels[index] !== number) continue;
        counts[k] += 1;
        sums[2 * k] += i;
        sums[2 * k + 1] += j;
      }
    }
  }
  const most = Math.max(...counts);
  const fullest = [...counts.keys()].filter((slice) => counts[slice] === most);
  const k = fullest[Math.floor(fullest.length / 2)];
  return most ? [sums[2 * k] / counts[k], sums[2 * k + 1] / counts[k], k] : null;
}
