// The connection to IndexedDB. What happens inside a transaction is the core's affair; here are
// opening, time limits, and the ways in which a browser takes a database away.

import { IdempotencyError } from "./errors.js";

/** Why nothing was written, in a sentence. */
export function storageError(cause) {
  if (cause instanceof IdempotencyError) return cause;
  const reason =
    cause === "unreadable"
      ? "it was written by a newer version or is not ours; reload the page"
      : (cause?.name ?? cause);
  return new IdempotencyError(
    "storage",
    `The store cannot be used (${reason}), so nothing more was sent;` +
      " free or allow storage, then try again.",
    { cause },
  );
}

/** The intent store of every page that may use IndexedDB. */
export class IndexedDbStore {
  mode = "indexeddb";
  #core;
  #factory;
  #name;
  #limitMs;
  #now;
  #connection;

  constructor(core, factory, settings, clock) {
    this.#core = core;
    this.#factory = factory;
    this.#name = settings.dbName;
    // A timer beyond 2^31 ms would ring at once.
    this.#limitMs = Math.min(settings.openTimeoutMs, 0x7fffffff);
    this.#now = clock.now;
  }

  /** Opens it now, so that a caller learns of trouble before it is needed. */
  open() {
    this.#connection ??= this.#connect().catch((error) => {
      this.#connection = undefined;
      throw error;
    });
    return this.#connection;
  }

  async apply(command) {
    const apply = (given) =>
      this.#run(({ database, salt }, outcome) =>
        this.#core.applyTo(database, salt, given, this.#now, outcome),
      );
    try {
      return await apply(command);
    } catch (error) {
      // What cannot be kept, like a file in a private window of WebKit, is not kept; the key is.
      if (!command.payload || typeof error.cause === "string") throw error;
      return apply({ ...command, payload: undefined });
    }
  }

  list(principal) {
    return this.#run(({ database }, outcome) => this.#core.listOf(database, principal, outcome));
  }

  clear(principal) {
    return this.#run(({ database }, outcome) => this.#core.clearOf(database, principal, outcome));
  }

  sweep(max) {
    return this.#run(({ database }, outcome) =>
      this.#core.sweepOf(database, this.#now(), max, outcome),
    );
  }

  close() {
    this.#connection?.then(
      ({ database }) => database.close(),
      () => {},
    );
    this.#connection = undefined;
  }

  async #connect() {
    // Without a version number, so that no page is ever too old for the database.
    const request = this.#factory.open(this.#name);
    request.onupgradeneeded = () => create(request.result);
    const database = await this.#opened(request);
    try {
      const salt = await this.#saltOf(database);
      const lost = () => this.#lose(database);
      database.onversionchange = lost;
      database.onclose = lost;
      return { database, salt };
    } catch (error) {
      database.close();
      throw error;
    }
  }

  #opened(request) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        // Nobody waits for it any more, and an open one would hold up whoever removes it.
        request.onsuccess = () => request.result.close();
        reject("it did not open in time");
      }, this.#limitMs);
      request.onsuccess = () => {
        clearTimeout(timer);
        resolve(request.result);
      };
      request.onerror = () => {
        clearTimeout(timer);
        reject(request.error);
      };
    });
  }

  /** A database without a salt is not ours. */
  async #saltOf(database) {
    const transaction = database.transaction("settings");
    const outcome = {};
    transaction.objectStore("settings").get("salt").onsuccess = ({ target }) => {
      outcome.answer = target.result;
    };
    const salt = await this.#ended(transaction, outcome);
    if (!salt) throw "unreadable";
    return salt;
  }

  /** Another page upgrades or removes the database, or the browser has taken it. */
  #lose(database) {
    database.close();
    this.#connection = undefined;
  }

  async #run(start) {
    for (let isAgain = false; ; isAgain = true) {
      try {
        const connection = await this.open();
        const outcome = {};
        let transaction;
        try {
          transaction = start(connection, outcome);
        } catch (error) {
          // The connection is closing: whoever wanted that has it now, so open anew, once.
          if (isAgain || error?.name !== "InvalidStateError") throw error;
          this.#lose(connection.database);
          continue;
        }
        return await this.#ended(transaction, outcome);
      } catch (error) {
        throw storageError(error);
      }
    }
  }

  /** An answer counts once its transaction has committed. */
  #ended(transaction, outcome) {
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => {
        reject("it did not answer in time");
        undo(transaction);
      }, this.#limitMs);
      transaction.oncomplete = () => {
        clearTimeout(timer);
        resolve(outcome.answer);
      };
      // A request has failed, and nothing of its transaction counts. An error that is left alone
      // would go on to the page's own `window.onerror`.
      transaction.onerror = (event) => {
        event.preventDefault();
        outcome.error ??= event.target.error;
        undo(transaction);
      };
      transaction.onabort = () => {
        clearTimeout(timer);
        reject(outcome.error ?? transaction.error ?? "it was closed");
      };
    });
  }
}

/** Or it has ended already: a key that was committed at this very moment waits for a resume. */
function undo(transaction) {
  try {
    transaction.abort();
  } catch {
    // What it did, its own events say.
  }
}

/** Makes a new database ours. Its salt is random: a bare hash of a card number can be guessed. */
function create(database) {
  database.createObjectStore("intents").createIndex("dueAt", "dueAt");
  const salt = crypto.getRandomValues(new Uint8Array(32));
  database.createObjectStore("settings").put(salt, "salt");
}
