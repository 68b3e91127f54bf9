// A payload: what it asks for, and the copy of it that outlives the page.

import { IdempotencyError } from "./errors.js";

// The largest payload and the largest outcome that are stored.
export const STORED_BYTES_MAX = 64 * 1024;
// A blob is hashed in pieces of this size, so that it is never in memory as a whole.
const PIECE_BYTES = 1024 * 1024;

/**
 * Walks a payload at once, before the page can change it:
 * `{ digest, bytes, isSensitive, blobs }`.
 */
export function walk(core, payload) {
  const trail = [];
  try {
    return core.digest(payload, trail);
  } catch (cause) {
    const way = trail.reverse();
    const shown = way.length > 12 ? [...way.slice(0, 12), ".."] : way;
    const place = ["payload", ...shown].join(".");
    const kind = typeof cause === "string" ? cause : String(cause);
    throw new IdempotencyError(
      "payload",
      `${place} cannot be compared (${kind}); send JSON values, dates, forms, blobs or buffers.`,
      { cause },
    );
  }
}

/** The whole digest: the walk's own, gone on over the bytes of each blob. */
export async function digestOf(core, walked) {
  let { digest } = walked;
  try {
    for (const blob of walked.blobs) {
      for (let at = 0; at < blob.size; at += PIECE_BYTES) {
        const piece = await blob.slice(at, at + PIECE_BYTES).arrayBuffer();
        digest = core.extendDigest(digest, new Uint8Array(piece));
      }
    }
  } catch (cause) {
    throw new IdempotencyError(
      "payload",
      "A file of the payload cannot be read; choose it again.",
      {
        cause,
      },
    );
  }
  return digest;
}

export function isSameDigest(one, other) {
  return one.every((byte, index) => byte === other[index]);
}

/** Whether what was walked over may outlive the page. */
export function isKept({ bytes, isSensitive }) {
  return bytes <= STORED_BYTES_MAX && !isSensitive;
}

/** A copy of a payload that a page cannot change any more, or undefined where there is none. */
function kept(core, payload, walked) {
  if (isA(payload, "FormData")) return { kind: "form", entries: [...payload] };
  if (isA(payload, "URLSearchParams")) return { kind: "params", text: String(payload) };
  try {
    const value = structuredClone(payload);
    // A clone loses toJSON. What would come back as something else is not kept.
    const isSame =
      !walked.isConverted || isSameDigest(core.digest(value, []).digest, walked.digest);
    return isSame ? { kind: "value", value } : undefined;
  } catch {
    return undefined;
  }
}

/** What a caller asks for: its digest, the payload of each attempt, and what may be stored. */
export function asked(core, payload, asking = payload, isStorable = true) {
  const walked = walk(core, asking);
  // What is not compared is stored all the same.
  const whole = asking === payload ? walked : walk(core, payload);
  const copy = kept(core, payload, whole);
  return digestOf(core, walked).then((digest) => ({
    digest,
    payload: () => (copy ? restored(copy) : payload),
    stored: isStorable && isKept(whole) ? copy : undefined,
  }));
}

/** The payload of a stored form. */
export function restored({ kind, entries, text, value }) {
  if (kind === "params") return new URLSearchParams(text);
  if (kind !== "form") return structuredClone(value);
  return formOf(entries);
}

/** A form of these entries. */
export function formOf(entries) {
  const form = new FormData();
  for (const [name, entry] of entries) form.append(name, entry);
  return form;
}

/** Whether a value is of a class of the browser, of whatever frame. */
export function isA(value, name) {
  return Object.prototype.toString.call(value) === `[object ${name}]`;
}
