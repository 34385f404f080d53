// The message protocol between Streamlit and a component's frame (streamlit.components.v1), without its npm package.

const say = (type, fields = {}) => window.parent.postMessage({ isStreamlitMessage: true, type, ...fields }, "*");

/** Call `render(args)` with the arguments that Python gave, now and whenever they change; the theme goes to the root. */
export function onRender(render) {
  window.addEventListener("message", (event) => {
    if (event.source !== window.parent || event.data?.type !== "streamlit:render") return;
    document.documentElement.dataset.theme = event.data.theme?.base === "light" ? "light" : "dark";
    render(event.data.args);
  });
  say("streamlit:componentReady", { apiVersion: 1 });
}

/** Ask Streamlit for a frame of this height in CSS pixels. */
export const setHeight = (height) => say("streamlit:setFrameHeight", { height });

/** Give Python a value of plain data; the script runs again. */
export const tell = (value) => say("streamlit:setComponentValue", { value, dataType: "json" });

/** Give Python bytes: the length of a JSON header (4 bytes, little-endian), the header, the content. */
export function tellBytes(header, content) {
  const words = new TextEncoder().encode(JSON.stringify(header));
  const value = new Uint8Array(4 + words.length + content.length);
  new DataView(value.buffer).setUint32(0, words.length, true);
  value.set(words, 4);
  value.set(content, 4 + words.length);
  say("streamlit:setComponentValue", { value, dataType: "bytes" });
}
