// `fetch` for the two forms: it signs in, meets the fault that was chosen, and is written down.

import { note } from "./diary.js";
import { takeFault, visit } from "./visit.js";

/** How long a request is on its way, and its answer too: so that there is something to see. */
const ON_THE_WAY_MS = 450;

/** The same as the browser's, for a POST with a JSON body. */
export async function fetch(path, init) {
  const lane = path.endsWith("charges") ? "charges" : JSON.parse(init.body).from;
  const headers = new Headers(init.headers);
  const key = headers.get("Idempotency-Key")?.replaceAll('"', "");
  const { token = visit.token, fault = takeFault(lane) } = init;
  headers.set("Authorization", `Bearer ${token}`);
  if (fault) headers.set("Demo-Fault", fault);
  const sent = { path, headers: [...headers], body: init.body };
  const write = note("request", lane, { key, fault, sent });
  try {
    await onTheWay(init.signal);
    const response = await globalThis.fetch(path, { ...init, headers });
    await onTheWay(init.signal);
    const got = {
      status: response.status,
      headers: [...response.headers],
      body: await response.clone().text(),
    };
    const isReplay = response.headers.get("Idempotency-Replayed") === "true";
    write({ ending: ending(response, isReplay), isReplay, got, endedAt: Date.now() });
    return response;
  } catch (error) {
    // Nobody hears at once that an answer does not come.
    if (!init.signal?.aborted) await onTheWay();
    const why = error.name === "TimeoutError" ? "timeout" : "lost";
    write({ ending: why, endedAt: Date.now() });
    throw error;
  }
}

function ending(response, isReplay) {
  if (isReplay) return "replay";
  return response.ok ? "answer" : "refused";
}

function onTheWay(signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, ON_THE_WAY_MS);
    const stop = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    if (signal?.aborted) stop();
    signal?.addEventListener("abort", stop, { once: true });
  });
}
