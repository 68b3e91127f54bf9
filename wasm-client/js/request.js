// A request as bytes that can be sent again, also by a later page.
//
// A form body gets a new multipart boundary each time the browser turns it into bytes, and a
// server that compares bytes would see another request. So forms are encoded here, with a
// boundary made of what they contain.

import { IdempotencyError } from "./errors.js";
import { digestOf, formOf, isA, isKept, walk } from "./payload.js";

/** Methods that change nothing, and so need no key. */
export const PASSED_THROUGH = ["GET", "HEAD", "OPTIONS"];
const COPIED_FIELDS = [
  "cache",
  "credentials",
  "integrity",
  "keepalive",
  "mode",
  "referrer",
  "referrerPolicy",
];

/** The request that `fetch` would make, with the options that make it again. */
export function requestOf(input, init) {
  const isRequest = isA(input, "Request");
  if (isA(init.body, "ReadableStream")) {
    throw new IdempotencyError(
      "payload",
      "A stream can be read only once; give the body as text, bytes, a blob or a form.",
    );
  }
  if (isA(init.body, "Object") || isA(init.body, "Array")) {
    throw new IdempotencyError("payload", "The body is an object; give it as JSON.stringify(it).");
  }
  const request = new Request(input, init);
  const fields = isRequest ? COPIED_FIELDS.map((name) => [name, input[name]]) : [];
  const wanted = init.redirect ?? input.redirect;
  const redirect = wanted === undefined || wanted === "follow" ? "error" : wanted;
  const options = { ...Object.fromEntries(fields), ...init, redirect: init.redirect ?? redirect };
  // A copy, since the page may go on with its own.
  const form = isA(init.body, "FormData") ? formOf(init.body) : undefined;
  return { request, options, form };
}

/** Reads the body once: what it asks for, and the bytes that are sent each time. */
export async function prepared(core, { request, form }) {
  const { method, url } = request;
  let type = request.headers.get("content-type") ?? "";
  try {
    if (!form && type.startsWith("multipart/form-data")) form = await request.clone().formData();
    const given = form ? undefined : await request.clone().arrayBuffer();
    const asked = { method, url, type: form ? "form" : type, body: form ?? given };
    const walked = walk(core, asked);
    const digest = await digestOf(core, walked);
    const boundary = `idempotency-${hex(digest)}`;
    const body = form ? await encoded(form, boundary) : given;
    if (form) type = `multipart/form-data; boundary=${boundary}`;
    const payload = { method, url, type, body };
    const what = {
      bytes: body.byteLength,
      isSensitive: walked.isSensitive || isSensitive(core, type, body),
    };
    const stored = isKept(what) ? { kind: "request", value: payload } : undefined;
    return { digest, payload: () => payload, stored };
  } catch (cause) {
    if (cause instanceof IdempotencyError) throw cause;
    throw new IdempotencyError("payload", "The body cannot be read; give it anew.", { cause });
  }
}

/** Sends an attempt. */
export function sent({ request, options }, { payload, header, signal }) {
  const { method, url, type, body } = payload;
  const headers = new Headers(request.headers);
  headers.set("Idempotency-Key", header);
  if (type) headers.set("Content-Type", type);
  const bytes = body.byteLength ? { body } : { body: undefined };
  return fetch(url, { ...options, ...bytes, method, headers, signal });
}

/**
 * The `fetch` of an attempt. It brings the key and the signal along, and `seen()` is what the
 * server said: where one request was made, and no further one that could have done something else.
 */
export function watched({ header, signal }) {
  let made = 0;
  let response;
  const attemptFetch = async (input, init) => {
    const isRequest = isA(input, "Request");
    const method = init?.method ?? (isRequest ? input.method : "GET");
    if (PASSED_THROUGH.includes(method.toUpperCase())) return fetch(input, { signal, ...init });
    const headers = new Headers(init?.headers ?? (isRequest ? input.headers : undefined));
    if (!headers.has("Idempotency-Key")) headers.set("Idempotency-Key", header);
    made++;
    const answer = await fetch(input, { signal, ...init, headers });
    // `send` reads the body of the one, and what a refusal means is read from the other.
    response = answer.ok ? answer : answer.clone();
    return answer;
  };
  return { fetch: attemptFetch, seen: () => (made === 1 ? response : undefined) };
}

/** Whether a body has something in it that is not to be stored. */
function isSensitive(core, type, body) {
  const text = new TextDecoder().decode(body);
  let said = text;
  try {
    if (type.includes("json")) said = JSON.parse(text);
    if (type.includes("urlencoded")) said = new URLSearchParams(text);
    return core.digest(said, []).isSensitive;
  } catch {
    return core.digest(text, []).isSensitive;
  }
}

/** A form as multipart/form-data, as browsers write it. */
async function encoded(form, boundary) {
  const lines = (text) => text.replace(/\r\n?|\n/g, "\r\n");
  const quoted = (name) =>
    name.replace(/[\r\n"]/g, (letter) =>
      letter === '"' ? "%22" : letter === "\r" ? "%0D" : "%0A",
    );
  const parts = [];
  for (const [name, value] of form) {
    const head = `--${boundary}\r\nContent-Disposition: form-data; name="${quoted(lines(name))}"`;
    if (typeof value === "string") {
      parts.push(`${head}\r\n\r\n${lines(value)}\r\n`);
    } else {
      const type = value.type || "application/octet-stream";
      parts.push(`${head}; filename="${quoted(value.name)}"\r\nContent-Type: ${type}\r\n\r\n`);
      parts.push(value, "\r\n");
    }
  }
  return new Blob([...parts, `--${boundary}--\r\n`]).arrayBuffer();
}

function hex(bytes) {
  return [...bytes.subarray(0, 16)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}
