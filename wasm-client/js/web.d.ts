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
}

/** A UUIDv7, for callers that keep keys themselves. */
export function newKey(): string;
