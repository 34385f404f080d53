# ruff: noqa: E501 - JavaScript reads better in long lines
"""Contrast of the text on a page, measured in the browser with the colours that it computed (WCAG 2.2, 1.4.3)."""

from typing import Any

_MEASURE = """
() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
  const parse = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, below) => [0, 1, 2].map((n) => top[n] * top[3] + below[n] * (1 - top[3])).concat(1);
  const light = (colour) => {
    const [r, g, b] = colour.slice(0, 3).map((v) => v / 255).map((v) => (v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const behind = (element) => {
    const layers = [];
    const box = element.getBoundingClientRect();
    const [x, y] = [box.x + box.width / 2, box.y + box.height / 2];
    for (let at = element; at; at = at.parentElement) {
      const around = at.getBoundingClientRect();
      const isBehind = at === document.body || (x >= around.left && x <= around.right && y >= around.top && y <= around.bottom);
      if (isBehind) layers.push(parse(getComputedStyle(at).backgroundColor)); // a label may stand outside what holds it
    }
    return layers.reverse().reduce((below, top) => over(top, below), [255, 255, 255, 1]);
  };
  const poor = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    const style = getComputedStyle(element);
    const box = element.getBoundingClientRect();
    const skipped = !node.data.trim() || !box.width || !box.height || style.visibility !== "visible" || Number(style.opacity) === 0;
    if (skipped || element.closest("style, script, :disabled, [aria-disabled=true], svg, .mark, .scale, template, [data-testid=stIconMaterial]")) continue;
    const ground = behind(element);
    const ink = over(parse(style.color), ground);
    const [a, b] = [light(ink), light(ground)].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    const size = parseFloat(style.fontSize);
    const isLarge = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700);
    if (ratio < (isLarge ? 3 : 4.5)) poor.push(`${node.data.trim().slice(0, 40)}: ${ratio.toFixed(2)}`);
  }
  return poor;
}
"""


def poor_contrasts(page: Any) -> list[str]:
    """Texts below 4.5 (3 for large ones) on a page and in its frames, each with its ratio; inactive controls are exempt."""
    page.wait_for_timeout(500)  # what is being drawn anew is no longer half there
    return [line for frame in page.frames if not frame.is_detached() for line in frame.evaluate(_MEASURE)]
