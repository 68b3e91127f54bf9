// Events of this page, and the hint to other pages that something changed.

// Between two hints of a page.
const TOLD_EVERY_MS = 50;

/** A mistake in a listener of the page is the page's, and changes nothing about a payment. */
export function tell(listener, value) {
  try {
    listener?.(value);
  } catch (error) {
    queueMicrotask(() => {
      throw error;
    });
  }
}

/** Tells listeners what happened, and other pages that something did. */
export class Events {
  #listeners = new Map();
  #channel;
  #changed = new Set();
  #isTelling = false;
  #isUntold = false;

  constructor(dbName) {
    if (typeof BroadcastChannel !== "function") return;
    try {
      this.#channel = new BroadcastChannel(`idempotency:${dbName}`);
      this.#channel.onmessage = () => this.#ring();
      // In Node an open channel would keep the process alive.
      this.#channel.unref?.();
    } catch {
      // A page without an origin has no channel; waiting then polls.
    }
  }

  on(type, listener) {
    const listeners = this.#listeners.get(type) ?? new Set();
    // The same function may listen twice, and each leaves alone.
    const call = (event) => listener(event);
    this.#listeners.set(type, listeners.add(call));
    return () => listeners.delete(call);
  }

  emit(type, intent, more) {
    for (const listener of this.#listeners.get(type) ?? []) {
      tell(listener, { type, ...intent, ...more });
    }
  }

  /** Says that something changed. No value leaves the page this way. */
  changed() {
    this.#ring();
    this.#isUntold = true;
    if (this.#isTelling) return;
    this.#isTelling = true;
    this.#tell();
  }

  /** At once, and then once more for all that changes within the next moment. */
  #tell() {
    this.#isTelling = this.#isUntold;
    if (!this.#isUntold) return;
    this.#isUntold = false;
    this.#channel?.postMessage("changed");
    setTimeout(() => this.#tell(), TOLD_EVERY_MS);
  }

  /** Calls `listener` when something changed, here or elsewhere. */
  onChange(listener) {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  close() {
    this.#channel?.close();
    this.#channel = undefined;
  }

  #ring() {
    for (const listener of [...this.#changed]) listener();
  }
}
