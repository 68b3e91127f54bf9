import { Client, ClientOptions } from "./client.js";

export { IdempotencyError, NotSent, Rejected, okOrThrow } from "./client.js";

/** The door to time. */
export interface Clock {
  /** Unix milliseconds. */
  now(): number;
  /** Resolves after `ms`, or as soon as `signal` aborts. */
  wait(ms: number, signal?: AbortSignal): Promise<void>;
}

/** A clock that stands still until a test moves it. */
export class ManualClock implements Clock {
  constructor(now?: number);
  now(): number;
  wait(ms: number, signal?: AbortSignal): Promise<void>;
  /** How many waits there are: a test moves the clock once the client waits. */
  readonly waiting: number;
  /** Moves the clock, and wakes whoever has waited long enough. */
  advance(ms: number): void;
}

export interface TestOptions extends ClientOptions {
  clock?: Clock;
}

/**
 * A client on a memory store of its own, in Node as in a browser. Give two of them the same
 * `dbName` and they share a store, as two pages would.
 */
export function openTestClient(options?: TestOptions): Promise<Client>;
