import { Client, type ClientOptions } from "./client.js";

export { IdempotencyError, NotSent, Rejected } from "./client.js";

export type {
  Attempt,
  Client,
  ClientOptions,
  Code,
  EventName,
  GuardOptions,
  IntentEvent,
  Outcome,
  PendingIntent,
  RetryOptions,
  SubmitOptions,
  Verdict,
} from "./client.js";

export class IdempotencyClient extends Client {
  /** Opens the store and loads the WebAssembly that travels inside the package. */
  static open(options?: ClientOptions): Promise<IdempotencyClient>;
}

/** A UUIDv7, for callers that keep keys themselves. */
export function newKey(): string;
