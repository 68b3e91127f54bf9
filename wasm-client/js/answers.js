// What an answer means. Not knowing is never treated as failure.

import { IdempotencyError, NotSent, Rejected } from "./errors.js";
import { STORED_BYTES_MAX, isA } from "./payload.js";

const VERDICTS = ["success", "rejected", "retry", "unknown", "needs-reconcile"];
const KNOWN_CODES = ["in-progress", "interrupted", "stale-key", "mismatch"];
const RECONCILE_CODES = { 409: ["interrupted", "stale-key"], 422: ["mismatch"] };
// What a stored response keeps of its headers.
const STORED_HEADERS = [
  "content-language",
  "content-type",
  "etag",
  "idempotency-replayed",
  "idempotent-replayed",
  "link",
  "location",
];

// What an error is called that says that the request did not come through.
const NETWORK_ERRORS = ["AbortError", "NetworkError", "TimeoutError", "TypeError"];

export const isResponse = (value) => isA(value, "Response");

/** For `send`: the response, or an error that carries it, and with it what the server meant. */
export function okOrThrow(response) {
  if (response.ok) return response;
  const { status, statusText } = response;
  throw Object.assign(new Error(`${status} ${statusText}`.trim()), { status, response });
}

/**
 * Judges what `send` resolved to or threw: the verdict ("stop" is unknown, and not to be retried;
 * so is "once", which may have happened), and whether the attempt may have happened. `seen` is the
 * response that the attempt's own `fetch` saw.
 */
export async function judge(answer, isThrown, classify, now, seen) {
  const headers = headersOf(answer);
  // The second is Stripe's.
  const replayed = headers("idempotency-replayed") ?? headers("idempotent-replayed");
  const isReplayed = replayed === "true";
  const judged = {
    verdict: "success",
    isReplayed,
    isInDoubt: true,
    retryAfterMs: retryAfter(headers("retry-after"), now),
  };
  const wanted = classify?.(answer);
  if (wanted !== undefined) {
    if (!VERDICTS.includes(wanted)) {
      throw new IdempotencyError("options", `classify must return ${VERDICTS.join(", ")}.`);
    }
    return { ...judged, verdict: wanted };
  }
  if (!isThrown && !isResponse(answer)) return judged;
  if (answer instanceof NotSent) return { ...judged, verdict: "retry", isInDoubt: false };
  if (answer instanceof Rejected) return { ...judged, verdict: "rejected" };
  const status = [answer?.status, answer?.statusCode, answer?.response?.status].find(
    Number.isFinite,
  );
  if (isThrown && status === undefined) {
    if (seen) return judge(seen, isThrown, undefined, now);
    // The server half of a React framework threw or redirected; what it did before is not said.
    if (isText(answer?.digest)) return { ...judged, verdict: "once" };
    const isExplained = NETWORK_ERRORS.includes(answer?.name) || isText(answer?.code);
    return { ...judged, verdict: "unknown", isUnexplained: !isExplained };
  }
  if ((answer?.response ?? answer)?.redirected) return { ...judged, verdict: "unknown" };
  judged.verdict = await byStatus(status, answer, isThrown, judged);
  judged.isInDoubt = status !== 425 && status !== 429;
  return judged;
}

async function byStatus(status, answer, isThrown, judged) {
  const { isReplayed, retryAfterMs } = judged;
  if (status >= 200 && status < 300) return isThrown ? "unknown" : "success";
  if (!(status >= 400)) return "unknown";
  if (status >= 500) return isReplayed ? "needs-reconcile" : "retry";
  if (status in RECONCILE_CODES) {
    let code;
    try {
      const problem = await problemOf(answer);
      ({ code } = problem);
      const { now_ms } = problem;
      if (code === "stale-key" && Number.isSafeInteger(now_ms) && now_ms > 0) {
        judged.serverMs = now_ms;
      }
    } catch {
      // Headers came and the body did not: what the server meant is not known.
      return isReplayed ? "rejected" : "unknown";
    }
    if (RECONCILE_CODES[status].includes(code)) return "needs-reconcile";
    // A server that says no more than "conflict" may mean that the first request still runs.
    const isBusy = code === "in-progress" || code === undefined || retryAfterMs !== undefined;
    if (status === 409 && isBusy && !isReplayed) return "retry";
  }
  if (isReplayed) return "rejected";
  // 408 comes from proxies, too, which may have sent the request on.
  if (status === 408 || status === 425 || status === 429) return "retry";
  return status === 401 ? "stop" : "rejected";
}

/** What a refusal says to machines: the error, else a clone of an unread response. */
async function problemOf(answer) {
  const bodies = [answer?.body, answer?.data, answer?.response?.data];
  const all = [answer, ...bodies];
  // The code of an error itself may be its library's own; of a body it is the server's.
  const known = all.find((body) => KNOWN_CODES.includes(body?.code));
  const found = known ?? bodies.find((body) => isText(body?.code));
  const now_ms = all.map((body) => body?.now_ms).find(Boolean);
  const response = [answer, answer?.response].find(isResponse);
  if (found || !response) return { code: found?.code, now_ms };
  // A body that `send` has read says nothing here; then what the server meant is not known.
  const text = await response.clone().text();
  try {
    const { code, now_ms } = JSON.parse(text);
    return { code: [code].find(isText), now_ms };
  } catch {
    return {};
  }
}

const isText = (value) => typeof value === "string";

function headersOf(answer) {
  const headers = answer?.headers ?? answer?.response?.headers;
  return (name) => {
    if (typeof headers?.get === "function") return headers.get(name) ?? undefined;
    const key = Object.keys(headers ?? {}).find((key) => key.toLowerCase() === name);
    return key && headers[key];
  };
}

/** Seconds, or a date. */
function retryAfter(text, now) {
  if (!text) return undefined;
  const ms = /^\s*\d+\s*$/.test(text) ? Number(text) * 1000 : Date.parse(text) - now;
  return Number.isNaN(ms) ? undefined : Math.max(0, ms);
}

/** Reads a response to its end, so that each caller can have a copy of its own. */
export async function buffered(response) {
  const { status, statusText, url, bodyUsed } = response;
  // One that hides what it is, as those of other origins do, or is an error.
  if (status < 200) return { kind: "error", error: new Error("The response cannot be read.") };
  // What `send` read itself is gone; the rest of the answer is as true as before.
  const body = bodyUsed ? new ArrayBuffer(0) : await response.arrayBuffer();
  const headers = [...response.headers];
  return { kind: "response", status, statusText, url, headers, body, isRead: bodyUsed };
}

/** A response from what was read of one. */
function copy({ status, statusText, url, headers, body }) {
  // A response that has no body by its status refuses even an empty one.
  const isEmpty = [101, 204, 205, 304].includes(status);
  const response = new Response(isEmpty ? null : body, { status, statusText, headers });
  Object.defineProperty(response, "url", { value: url });
  return response;
}

/**
 * The form of an outcome that is stored, or undefined where it cannot be. An outcome is held as
 * `{ kind: "response", ... }`, `{ kind: "value", value }` or `{ kind: "error", error }`.
 */
export function storableOutcome(core, held) {
  if (held.kind === "response") {
    if (held.isRead || held.body.byteLength > STORED_BYTES_MAX) return undefined;
    return { ...held, headers: held.headers.filter(([name]) => STORED_HEADERS.includes(name)) };
  }
  try {
    const plain = held.kind === "error" ? plainError(held.error) : held.value;
    if (core.digest(plain, []).bytes > STORED_BYTES_MAX) return undefined;
    return { kind: held.kind, [held.kind]: plain };
  } catch {
    return undefined;
  }
}

function plainError(error) {
  const { name, message, status, statusCode, code } = Object(error);
  return { name, message: message ?? String(error), status, statusCode, code };
}

/** An outcome as a caller gets it: of a response, each a copy. */
export function handedOut(held) {
  if (held.kind === "response") return copy(held);
  if (held.kind === "value") return held.value;
  const { error } = held;
  return error instanceof Error ? error : Object.assign(new Error(error?.message), error);
}
