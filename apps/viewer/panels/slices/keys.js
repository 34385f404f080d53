// What readers press: one table for the keys and for the help sheet.

export const HELP = [
  ["Wheel, ↑ ↓", "scroll slices"],
  ["Left drag", "crosshair, or the chosen tool"],
  ["Right drag, V + drag", "window: width across, level along"],
  ["Shift + left drag", "measure a distance"],
  ["Middle drag, Ctrl + left drag", "pan"],
  ["+ −, Z + wheel", "zoom"],
  ["1 … 6", "window presets"],
  ["C, V, Z, D, A", "crosshair, window, zoom, distance, area"],
  ["Backspace", "take the last measure away"],
  ["← →", "the other image"],
  ["I", "invert"],
  ["Space", "reset"],
  ["F", "next finding's place"],
  ["H", "hide everything the model says"],
  ["O, L", "overlay, outline"],
  ["K", "link both images"],
  ["E", "correct the segmentation"],
  ["B, X, G", "while correcting: brush, erase, fill an area"],
  ["[ ], M", "smaller, larger brush; fill between slices"],
  ["Ctrl+Z, Ctrl+S, Esc", "undo, save, leave"],
  ["W, P, N", "worklist, previous, next study"],
];

/** The name of a pressed key: `ctrl+z`, `a`, `ArrowUp`. */
export function nameOf(event) {
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  return event.ctrlKey || event.metaKey ? `ctrl+${key}` : key;
}

export function drawHelp(list) {
  list.replaceChildren(
    ...HELP.flatMap(([keys, what]) => [
      Object.assign(document.createElement("dt"), { textContent: keys }),
      Object.assign(document.createElement("dd"), { textContent: what }),
    ]),
  );
}
