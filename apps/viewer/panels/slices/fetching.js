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

/** Where this server has a file. */
export const urlOf = (address) => new URL(`../..${address}`, location.href);

async function load(address) {
  let answer;
  try {
    answer = await fetch(urlOf(address), { credentials: "same-origin" });
  } catch {
    throw new Error("the connection was lost; open the study again");
  }
  if (!answer.ok) throw new Error("the server no longer has them; open the study again");
  return answer.arrayBuffer();
}

/** Unpack into `target` from `offset` on, without a second copy of what may be hundreds of megabytes. */
export async function unpackInto(packed, target, offset) {
  const reader = new Blob([packed]).stream().pipeThrough(new DecompressionStream("gzip")).getReader();
  let at = offset;
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    if (at + part.value.length > target.length) throw new Error("they are not as large as the server said");
    target.set(part.value, at);
    at += part.value.length;
  }
  if (at !== target.length) throw new Error("they are not as large as the server said");
}

export const pack = (bytes) => through(bytes, new CompressionStream("gzip"));

async function through(bytes, stream) {
  return new Uint8Array(await new Response(new Blob([bytes]).stream().pipeThrough(stream)).arrayBuffer());
}
