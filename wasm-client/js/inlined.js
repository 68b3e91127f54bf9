// The WebAssembly that travels inside the package.

import { gzippedWasm } from "./inlined_wasm.js";

/** Unpacks and compiles it. */
export async function inlinedWasm() {
  const bytes = Uint8Array.from(atob(gzippedWasm), (letter) => letter.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return WebAssembly.compile(await new Response(stream).arrayBuffer());
}
