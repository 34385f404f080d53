// The message protocol between Streamlit and a component's frame (streamlit.components.v1), without its npm package.

const say = (type, fields = {}) => window.parent.postMessage({ isStreamlitMessage: true, type, ...fields }, "*");

/** Call `render(args)` with the arguments that Python gave, now and whenever they change. */
export function onRender(render) {
  window.addEventListener("message", (event) => {
    if (event.source === window.parent && event.data?.type === "streamlit:render") render(event.data.args);
  });
  say("streamlit:componentReady", { apiVersion: 1 });
}

/** Ask Streamlit for a frame of this height in CSS pixels. */
export const setHeight = (height) => say("streamlit:setFrameHeight", { height });
