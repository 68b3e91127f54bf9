// The reduced stores, for pages that may not use IndexedDB at all: localStorage where Web Locks
// can order the pages, else the memory of this page. The transitions are the core's, as always.

import { storageError } from "./indexeddb.js";
import { slotName } from "./locks.js";
import { isSameDigest } from "./payload.js";

// As in the core: what has another version is left alone.
const RECORD_VERSION = 1;

/** A store over `{ get, set, delete, keys }`, ordered between pages by `exclusively`. */
export class SynchronousStore {
  #core;
  #shelf;
  #now;
  #prefix;
  #exclusively;
  #salt;

  constructor(mode, core, shelf, settings, clock, exclusively = (step) => step()) {
    this.mode = mode;
    this.#core = core;
    this.#shelf = shelf;
    this.#now = clock.now;
    this.#prefix = slotName(settings.dbName, { principal: null, operation: "" });
    this.#exclusively = exclusively;
  }

  async open() {
    await this.#step(() => {
      const name = `${this.#prefix}salt`;
      const salt = this.#shelf.get(name) ?? [...crypto.getRandomValues(new Uint8Array(32))];
      this.#shelf.set(name, salt);
      this.#salt = Uint8Array.from(salt);
    });
  }

  apply(command) {
    return this.#step(() => {
      const name = this.#place(command);
      const records = this.#shelf.get(name) ?? [];
      const seen = records.find(({ number }) => number === command.number);
      const newest = records.at(-1);
      const answer = this.#core.transition(newest, seen, command, this.#salt, this.#now());
      const isOld = ({ number }) => !answer.puts.some((put) => put.number === number);
      const others = records.filter(isOld);
      const { puts } = answer;
      if (this.mode === "localstorage") puts.forEach((put) => this.#keepTexts(put));
      if (puts.length) this.#shelf.set(name, [...others, ...puts].sort(byNumber));
      if (command.sweepMax) this.#sweepAll();
      return answer;
    });
  }

  list(principal) {
    return this.#step(() =>
      this.#slots().flatMap((name) =>
        this.#shelf.get(name).filter((one) => one.principal === principal),
      ),
    );
  }

  clear(principal) {
    return this.#step(() => this.#keepOnly((record) => record.principal !== principal));
  }

  sweep() {
    return this.#step(() => this.#sweepAll());
  }

  close() {}

  async #step(step) {
    try {
      return await this.#exclusively(step);
    } catch (error) {
      throw storageError(error);
    }
  }

  #sweepAll() {
    const now = this.#now();
    this.#keepOnly((record) => {
      if (record.v === RECORD_VERSION && record.valueUntil <= now) {
        delete record.value;
        delete record.valueUntil;
      }
      return record.v !== RECORD_VERSION || !(record.expiresAt <= now);
    });
  }

  /** What JSON would turn into something else is left out rather than stored wrong. */
  #keepTexts(record) {
    for (const [member, more] of [["payload"], ["value", "valueUntil"]]) {
      if (!this.#survives(record[member])) {
        delete record[member];
        delete record[more];
      }
    }
  }

  #survives(value) {
    try {
      const { digest } = this.#core.digest(value, []);
      return isSameDigest(this.#core.digest(parsed(written(value)), []).digest, digest);
    } catch {
      return false;
    }
  }

  #place({ principal, operation }) {
    return `${this.#prefix}${JSON.stringify([principal, operation])}`;
  }

  #slots() {
    return this.#shelf.keys().filter((name) => name.startsWith(`${this.#prefix}[`));
  }

  #keepOnly(isKept) {
    for (const name of this.#slots()) {
      const records = this.#shelf.get(name).filter(isKept);
      if (records.length) this.#shelf.set(name, records);
      else this.#shelf.delete(name);
    }
  }
}

const byNumber = (one, other) => one.number - other.number;

/** Texts of localStorage. */
export function textShelf(storage) {
  return {
    get: (name) => parsed(storage.getItem(name)) ?? undefined,
    set: (name, value) => storage.setItem(name, written(value)),
    delete: (name) => storage.removeItem(name),
    keys: () => Object.keys(storage),
  };
}

// The body of a request or of a response is a buffer, which JSON has not.
const written = (value) =>
  JSON.stringify(value, (_, part) =>
    part instanceof ArrayBuffer ? { $bytes: [...new Uint8Array(part)] } : part,
  );
const parsed = (text) =>
  JSON.parse(text, (_, part) => (part?.$bytes ? Uint8Array.from(part.$bytes).buffer : part));

/** The memory of a page: clones, so that nobody changes what is stored. */
export function memoryShelf(map = new Map()) {
  return {
    get: (name) => structuredClone(map.get(name)),
    set: (name, value) => map.set(name, structuredClone(value)),
    delete: (name) => map.delete(name),
    keys: () => [...map.keys()],
  };
}
