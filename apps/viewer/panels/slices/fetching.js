// Voxels as files of this server: fetched once by their address, kept compressed, unpacked when a pane opens them.

const KEPT = 4;
const files = new Map(); // key -> Promise of the compressed bytes

/** The compressed bytes of a file; the same key is never fetched twice while it is among the last few. */
export function fetchOnce(key, address) {
  const known = files.get(key);
  files.delete(key);
  const file = known ?? load(address);
  files.set(key, file);
  file.catch(() => files.delete(key));
  while (files.size > KEPT) files.delete(files.keys().next().value);
  return file;
}

async function load(address) {
  let answer;
  try {
    answer = await fetch(new URL(`../..${address}`, location.href), { credentials: "same-origin" });
  } catch {
    throw new Error("the connection was lost; open the study again");
  }
  if (!answer.ok) throw new Error("the server no longer has them; open the study again");
  return answer.arrayBuffer();
}

export const unpack = (packed) => through(packed, new DecompressionStream("gzip"));
export const pack = (bytes) => through(bytes, new CompressionStream("gzip"));

async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}
