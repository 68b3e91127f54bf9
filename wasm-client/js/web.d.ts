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

export interface WebOptions extends ClientOptions {
  /**
   * Where the WebAssembly file is, or what is in it. By default it is looked for beside the
   * module.
   */
  wasm?: string | URL | Response | Promise<Response> | BufferSource | WebAssembly.Module;
}

export class IdempotencyClient extends Client {
  /** Opens the store and fetches the WebAssembly file. */
  static open(options?: WebOptions): Promise<IdempotencyClient>;

  /**
   * A promise of a client that begins to open at its first use: an `await`, a guarded form or the
   * hook. So it may be made anywhere, at module level and on a server too.
   */
  static lazy(options?: WebOptions): PromiseLike<IdempotencyClient>;
}

/** A UUIDv7, for callers that keep keys themselves. */
export function newKey(): string;
