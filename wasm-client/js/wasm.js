// The compiled core, loaded once for the page.

import instantiate, * as core from "./idempotency_client.js";
import { IdempotencyError } from "./errors.js";

// The smallest module there is: refused only where every module is.
const EMPTY_MODULE = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);

let loading;

/** The core, from the first source that is asked; a failed load can be tried again. */
export function loadCore(source) {
  loading ??= start(source).catch((error) => {
    loading = undefined;
    throw error;
  });
  return loading;
}

/** The core, if it has been loaded. */
export let loadedCore;

async function start(source) {
  try {
    await instantiate(await source());
  } catch (cause) {
    if (await isBlocked()) {
      throw new IdempotencyError(
        "wasm-blocked",
        "WebAssembly is not allowed here; add 'wasm-unsafe-eval' to script-src of the page's" +
          " Content-Security-Policy.",
        { cause },
      );
    }
    throw new IdempotencyError("unsupported", `The WebAssembly module did not load: ${cause}`, {
      cause,
    });
  }
  loadedCore = core;
  return core;
}

async function isBlocked() {
  try {
    await WebAssembly.compile(EMPTY_MODULE);
    return false;
  } catch {
    return true;
  }
}
