// Options, read once and checked before anything is opened or sent.

import { IdempotencyError } from "./errors.js";

const SECOND = 1000;
const RETENTION_MS = 23 * 3600 * SECOND;

const CHOICES = {
  durability: ["strict", "relaxed"],
  persist: ["payload", "fingerprint"],
  headerFormat: ["quoted", "raw"],
  ifBusy: ["wait", "refuse"],
  onChanged: ["refuse", "new-intent"],
  mode: ["fetch", "native"],
  ifUnavailable: ["explain", "block", "send"],
};

/** The settings of a client. Names that are not known are ignored. */
export function clientSettings(options) {
  options ??= {};
  const retentionMs = span(options, "retentionMs", RETENTION_MS);
  // A default gives way to a short retention; a wish that contradicts it is a mistake.
  const within = (name, fallback, least) => {
    const ms = span(options, name, Math.min(fallback, retentionMs), least);
    if (ms > retentionMs) throw invalid(name, `at most retentionMs (${retentionMs})`);
    return ms;
  };
  const { dbName = "idempotency", principal = null, classify } = options;
  if (typeof dbName !== "string" || !dbName) throw invalid("dbName", "a name");
  if (!["string", "function"].includes(typeof principal) && principal !== null) {
    throw invalid("principal", "a string, null, or a function that returns one of them");
  }
  if (classify !== undefined && typeof classify !== "function") {
    throw invalid("classify", "a function");
  }
  return {
    dbName,
    principal,
    classify,
    retentionMs,
    leaseMs: within("leaseMs", 30 * SECOND),
    joinMs: within("joinMs", 10 * SECOND, 0),
    outcomeMs: within("outcomeMs", 600 * SECOND, 0),
    openTimeoutMs: span(options, "openTimeoutMs", 5 * SECOND),
    durability: choice(options, "durability"),
    persist: choice(options, "persist"),
    headerFormat: choice(options, "headerFormat"),
  };
}

/** The settings of one call. */
export function callSettings(options) {
  options ??= {};
  const { signal } = options;
  const retry = options.retry ?? {};
  if (signal !== undefined && signal !== null && typeof signal.addEventListener !== "function") {
    throw invalid("signal", "an AbortSignal");
  }
  const maxAttempts = retry.maxAttempts ?? 5;
  if (!(Number.isInteger(maxAttempts) && maxAttempts > 0)) {
    throw invalid("retry.maxAttempts", "a whole number above zero");
  }
  return {
    signal,
    ifBusy: choice(options, "ifBusy"),
    onChanged: choice(options, "onChanged"),
    maxAttempts,
    baseMs: span(retry, "baseMs", SECOND / 2, 0),
    maxMs: span(retry, "maxMs", 5 * SECOND, 0),
    attemptTimeoutMs: span(retry, "attemptTimeoutMs", 20 * SECOND),
    deadlineMs: span(retry, "deadlineMs", 60 * SECOND),
  };
}

/** The name of an operation, whole and not too long for an index. */
export function checkOperation(operation) {
  if (typeof operation !== "string" || !operation || operation.length > 1024) {
    throw new IdempotencyError(
      "operation",
      "An operation is a name of 1 to 1024 characters that says what is bought," +
        ' like "pay:order-17".',
    );
  }
  return operation;
}

/** One of a closed list; the first where nothing was said. */
export function choice(options, name) {
  const allowed = CHOICES[name];
  const value = options?.[name] ?? allowed[0];
  if (!allowed.includes(value)) throw invalid(name, `"${allowed.join('" or "')}"`);
  return value;
}

function span(options, name, fallback, least = 1) {
  const ms = options[name] ?? fallback;
  if (!(Number.isFinite(ms) && ms >= least)) {
    throw invalid(name, `a number of milliseconds, at least ${least}`);
  }
  return ms;
}

/** A setting that cannot be used. */
export function invalid(name, expected) {
  return new IdempotencyError("options", `${name} must be ${expected}.`);
}
