// Events of this page, and the hint to other pages that something changed.

/** Tells listeners what happened, and other pages that something did. */
export class Events {
  #listeners = new Map();
  #channel;
  #changed = new Set();

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
    this.#listeners.set(type, listeners.add(listener));
    return () => listeners.delete(listener);
  }

  emit(type, intent, more) {
    for (const listener of this.#listeners.get(type) ?? []) {
      try {
        listener({ type, ...intent, ...more });
      } catch (error) {
        // Whoever listens must not change what happens to a payment.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  /** Says that something changed. No value leaves the page this way. */
  changed() {
    this.#channel?.postMessage("changed");
    this.#ring();
  }

  /** Calls `listener` when something changed, here or elsewhere. */
  onChange(listener) {
    this.#changed.add(listener);
    return () => this.#changed.delete(listener);
  }

  close() {
    this.#channel?.close();
  }

  #ring() {
    for (const listener of [...this.#changed]) listener();
  }
}
