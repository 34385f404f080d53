// NiiVue's class out of the bundle that the niivue-streamlit package serves beside this component.
//
// The bundle is an application: it exports nothing, and it mounts itself only where the page has an element #root
// (this page has none). Niivue is the one class in it that extends EventTarget; an export of that class is appended
// and the text is imported as a module. Nothing is fetched from outside this server.

const BUNDLE = "../niivue_component.niivue_viewer/assets/index.js";
// NiiVue makes a texture of gradients at every change of window: two thirds of the work on a volume, for a shading of
// the 3D view that is off. Here it is made only where that shading is on.
const GRADIENT = /this\.gradientTexture=([\w$]+\(\{gl:this\.gl,hdr:)/g;
const GRADIENT_IF_SHADED = "this.gradientTexture=!(this.gradientTextureAmount>0)?null:$1";
const CLASS = /([\w$]+)=class extends EventTarget\{/g;

/** NiiVue's `Niivue` class; https://niivue.com/docs/api/niivue/classes/Niivue */
export async function loadNiivue() {
  const answer = await fetch(new URL(BUNDLE, import.meta.url));
  if (!answer.ok) throw new Error("niivue-streamlit is not being served");
  const source = await answer.text();
  const names = [...source.matchAll(CLASS)].map((match) => match[1]);
  if (names.length !== 1) throw new Error("this version of niivue-streamlit is not one that medfuse knows");
  const lean = source.replace(GRADIENT, GRADIENT_IF_SHADED);
  const module = new Blob([lean, `\nexport { ${names[0]} as Niivue };`], { type: "text/javascript" });
  const url = URL.createObjectURL(module);
  try {
    return (await import(url)).Niivue;
  } finally {
    URL.revokeObjectURL(url);
  }
}

export const SLICE = { axial: 0, coronal: 1, sagittal: 2, planes: 3, render: 4 };
export const DRAG = { none: 0, measure: 2, pan: 3, crosshair: 8 };
