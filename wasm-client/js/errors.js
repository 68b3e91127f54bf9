// The errors that callers meet. Each says what is true now and what to do.

/** Every refusal and every unknown outcome, with a code of a closed list. */
export class IdempotencyError extends Error {
  constructor(code, message, details = {}) {
    super(message, "cause" in details ? { cause: details.cause } : undefined);
    this.name = "IdempotencyError";
    this.code = code;
    if (details.intent) this.intent = details.intent;
  }
}

/** Thrown by `send`: it was certainly not sent. */
export class NotSent extends Error {
  name = "NotSent";
}

/** Thrown by `send`: it was definitely refused. */
export class Rejected extends Error {
  name = "Rejected";
}

const SENTENCES = {
  "in-progress": "Another attempt of this operation is running; wait for its outcome.",
  unresolved:
    "An earlier intent of this operation asked for something else and is not known to have ended:" +
    " resume, resolve or abandon it.",
  "needs-reconcile":
    "Only the server can tell. Look up on the server whether this happened, then call resolve().",
  abandoned: "This intent was given up; submit again to start a new one.",
  "outcome-lost":
    "This has ended, but its outcome is not stored any more. Look it up on the server.",
  "key-lost":
    "The stored key is gone. Look up on the server whether this happened, then call abandon().",
  "payload-needed": "What was sent is not stored; call submit() or fetch() again with the same.",
  unknown:
    "Whether it happened is not known: the key is kept. Submit the same again or call resume().",
  aborted: "Nobody waits any more. Whether it happened is not known: the key is kept.",
  closed: "This client is closed; open another one.",
};

/** An error with the sentence of its code. */
export function refusal(code, details) {
  return new IdempotencyError(code, SENTENCES[code], details);
}
