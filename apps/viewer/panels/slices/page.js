// The page around this frame, of the same server: findings and words that light up together, keys that it handles.

const LIT = "mf-lit";
const DELAY_MS = 60;
const page = window.parent.document;
const leaving = new AbortController();
const listen = (type, handler) => page.addEventListener(type, handler, { capture: true, signal: leaving.signal });

window.addEventListener("pagehide", () => {
  leaving.abort();
  hideModel(false);
});

/** Call `onLight(name | null)` when a finding is pointed at or focused, `onJump(name)` when its place is asked for. */
export function followFindings(onLight, onJump) {
  let lit = null;
  let timer = 0;
  const light = (name) => {
    if (name === lit) return;
    lit = name;
    for (const element of page.querySelectorAll(`.${LIT}`)) element.classList.remove(LIT);
    if (name !== null) {
      for (const element of page.querySelectorAll("[data-finding]")) element.classList.toggle(LIT, element.dataset.finding === name);
    }
    clearTimeout(timer);
    timer = setTimeout(() => onLight(name), DELAY_MS);
  };
  const nameOf = (target) => target?.closest?.("[data-finding]")?.dataset.finding ?? null;
  listen("mouseover", (event) => light(nameOf(event.target)));
  listen("focusin", (event) => light(nameOf(event.target)));
  listen("click", (event) => {
    const jump = event.target.closest?.("[data-jump]");
    if (jump) onJump(jump.dataset.jump);
  });
}

/** The findings of the page, in its order. */
export const findings = () => [...new Set([...page.querySelectorAll("[data-jump]")].map((element) => element.dataset.jump))];

/** Hide or show everything that the model says, on the whole page. */
export const hideModel = (hidden) => page.body.classList.toggle("mf-model-hidden", hidden);

/** While `unsaved()` says so, leaving the study asks first. */
export function guardLeaving(unsaved, onHeld) {
  listen("click", (event) => {
    if (!unsaved() || !event.target.closest?.(".st-key-topbar button, .mf-leave")) return;
    event.preventDefault();
    event.stopImmediatePropagation();
    onHeld();
  });
  listen("beforeunload", (event) => unsaved() && event.preventDefault());
}

/** A key of this frame, pressed for the page: previous, next, worklist, decisions. */
export function passOn(event) {
  const copy = (type) => new KeyboardEvent(type, { key: event.key, code: event.code, bubbles: true, cancelable: true });
  page.body.dispatchEvent(copy("keydown"));
  page.body.dispatchEvent(copy("keyup"));
}

/** Keys of the page that belong to this frame: called with those that no field of the page takes. */
export function takeKeys(onKey) {
  listen("keydown", (event) => {
    if (!event.isTrusted || event.target.closest?.("input, textarea, select, [contenteditable], [role=listbox], [role=combobox]")) return;
    onKey(event);
  });
}
