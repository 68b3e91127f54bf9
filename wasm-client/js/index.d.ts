import { Client, type ClientOptions } from "./client.js";

export { IdempotencyError, NotSent, Rejected, guardForm, okOrThrow } from "./client.js";

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

  /**
   * A promise of a client that begins to open at its first use: an `await`, a guarded form or the
   * hook. So it may be made anywhere, at module level and on a server too.
   */
  static lazy(options?: ClientOptions): PromiseLike<IdempotencyClient>;
}

/** A UUIDv7, for callers that keep keys themselves. */
export function newKey(): string;
