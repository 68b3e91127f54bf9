// For tests of applications: a client on a memory store, and a clock that a test moves.

import { Client, memoryStore } from "./client.js";
import { systemClock } from "./clock.js";
import { inlinedWasm } from "./inlined.js";
import { clientSettings } from "./settings.js";
import { loadCore } from "./wasm.js";

export { okOrThrow } from "./answers.js";
export { IdempotencyError, NotSent, Rejected } from "./errors.js";

let opened = 0;

/** A client that needs no browser: nothing is stored, and nothing is shared with others. */
export async function openTestClient(options) {
  const { clock = systemClock, ...given } = options ?? {};
  const settings = clientSettings({ dbName: `test-${++opened}`, ...given });
  const core = await loadCore(inlinedWasm);
  const page = { core, settings, clock };
  page.store = memoryStore(page);
  await page.store.open();
  return new Client(page);
}

/** A clock that stands still until a test moves it. */
export class ManualClock {
  #now;
  #sleepers = new Set();

  constructor(now = Date.UTC(2026, 0, 1)) {
    this.#now = now;
    // The client takes them apart from the clock.
    this.now = () => this.#now;
    this.wait = (ms, signal) => this.#wait(ms, signal);
  }

  /** How many waits there are: a test moves the clock once the client waits. */
  get waiting() {
    return this.#sleepers.size;
  }

  /** Moves the clock, and wakes whoever has waited long enough. */
  advance(ms) {
    this.#now += ms;
    for (const sleeper of [...this.#sleepers]) {
      if (sleeper.until <= this.#now) sleeper.wake();
    }
  }

  #wait(ms, signal) {
    return new Promise((resolve) => {
      const wake = () => {
        this.#sleepers.delete(sleeper);
        signal?.removeEventListener("abort", wake);
        resolve();
      };
      const sleeper = { until: this.#now + ms, wake };
      this.#sleepers.add(sleeper);
      signal?.addEventListener("abort", wake);
      if (signal?.aborted || ms <= 0) wake();
    });
  }
}
