// The client: what a page calls. Who comes first for a slot follows its intent; who comes later
// in the same page listens to the first.

import { handedOut, isResponse, storableOutcome } from "./answers.js";
import { systemClock } from "./clock.js";
import { departures } from "./departures.js";
import { IdempotencyError, refusal } from "./errors.js";
import { Events } from "./events.js";
import { guardForm as guarded } from "./form.js";
import { IndexedDbStore, storageError } from "./indexeddb.js";
import { acquire, slotName } from "./locks.js";
import { asked, isSameDigest } from "./payload.js";
import { Pursuit, pendingIntent } from "./pursuit.js";
import { PASSED_THROUGH, prepared, requestOf, sent } from "./request.js";
import { callSettings, checkOperation, clientSettings, invalid } from "./settings.js";
import { SynchronousStore, memoryShelf, textShelf } from "./synchronous_store.js";
import { loadCore } from "./wasm.js";

const SWEPT_AT_OPEN = 100;
// So long after an outcome came, a press is the rest of the click that asked for it, even where
// its receipt is acknowledged: nobody reads and decides faster.
const SPARED_MS = 1000;
const EVENTS = ["claimed", "attempt", "retry", "done", "joined", "unknown", "expired"];

// The memory of the page, by database name: several clients of a page share it.
const memories = new Map();

/** Opens a client. The entries of the package differ in where the core comes from. */
export function openClient(Client, source, options) {
  const opening = opened(Client, source, options);
  // Who uses it meets the error. A page that is rendered on a server uses it later or never, and
  // a rejection that waits unseen until then would end the server.
  opening.catch(() => {});
  return opening;
}

/** A promise of a client that begins at its first use. One that failed begins again. */
export function lazyClient(open) {
  let opening;
  return {
    then(onOpened, onFailed) {
      opening ??= open().catch((error) => {
        opening = undefined;
        throw error;
      });
      return opening.then(onOpened, onFailed);
    },
  };
}

async function opened(Client, source, options) {
  const settings = clientSettings(options);
  if (!isBrowser()) {
    throw new IdempotencyError(
      "unsupported",
      "This is not a browser; open the client in a page or worker, or with lazy().",
    );
  }
  const core = await loadCore(source);
  const page = { core, settings, clock: systemClock, locks: globalThis.navigator?.locks };
  page.store = await openStore(page);
  return new Client(page);
}

function isBrowser() {
  const isServer = Boolean(globalThis.process?.versions?.node);
  const hasPage = typeof document === "object" || typeof WorkerGlobalScope === "function";
  return factoryOf() ? true : hasPage && !isServer;
}

/** IndexedDB, or nothing where it is absent or even looking at it is forbidden. */
function factoryOf() {
  try {
    return globalThis.indexedDB;
  } catch {
    return undefined;
  }
}

/**
 * Another store is used only where IndexedDB cannot be: a slow or full database is no reason,
 * since the key that another page stored there would not be seen.
 */
async function openStore(page) {
  const { core, settings, clock } = page;
  const factory = factoryOf();
  if (factory) {
    const store = new IndexedDbStore(core, factory, settings, clock);
    try {
      await store.open();
      return store;
    } catch (error) {
      if (error?.name !== "SecurityError") throw storageError(error);
    }
  }
  const store = localStore(page) ?? memoryStore(page);
  await store.open();
  return store;
}

function localStore({ core, settings, clock, locks }) {
  try {
    const shelf = textShelf(globalThis.localStorage);
    shelf.keys();
    if (!locks) return undefined;
    const exclusively = (step) => locks.request(`idempotency.store:${settings.dbName}`, step);
    return new SynchronousStore("localstorage", core, shelf, settings, clock, exclusively);
  } catch {
    return undefined;
  }
}

export function memoryStore({ core, settings, clock }) {
  if (!memories.has(settings.dbName)) memories.set(settings.dbName, new Map());
  const shelf = memoryShelf(memories.get(settings.dbName));
  return new SynchronousStore("memory", core, shelf, settings, clock);
}

/** Guards a form before its client is there. */
export function guardForm(client, form, options) {
  if (!(client instanceof Client) && typeof client?.then !== "function") {
    throw invalid("client", "a client or a promise of one");
  }
  return guarded(client, form, options, insideOf);
}

/** What a guarded form needs of a client and no page does. */
let insideOf;

/** One client of a page. */
export class Client {
  #page;
  #entries = new Map();
  #isClosed = false;
  #persistence;
  // A call that is made after an outcome is known comes later, even in the same millisecond.
  #calledFrom = 0;

  constructor(page) {
    this.#page = page;
    const { settings, store } = page;
    this.mode = store.mode;
    // Memory belongs to one page, and its clients meet in the store.
    if (store.mode === "memory") page.locks = undefined;
    page.holder = page.core.newKey(page.clock.now());
    page.events = new Events(settings.dbName);
    page.principal = () => principalOf(settings);
    page.seen = new Map();
    const { retentionMs, leaseMs, joinMs, outcomeMs } = settings;
    const spareMs = Math.min(SPARED_MS, joinMs);
    const standing = { holder: page.holder, retentionMs, leaseMs, joinMs, outcomeMs, spareMs };
    // Memory ends with its page, and where there are locks they do.
    const left = store.mode === "indexeddb" && !page.locks ? departures(page) : () => [];
    page.send = (verb, slot, more) =>
      store.apply({ verb, ...slot, ...standing, left: left(), ...more });
    page.knows = ({ settledAt = 0 }) => {
      this.#calledFrom = Math.max(this.#calledFrom, settledAt + 1);
    };
    store.sweep(SWEPT_AT_OPEN).catch(() => {});
  }

  async submit(operation, payload, send, options) {
    const call = this.#called(operation, send, options);
    return this.#follow(call, asked(this.#page.core, payload));
  }

  async resume(operation, send, options) {
    const call = this.#called(operation, send, options);
    return this.#follow({ ...call, mayMint: false }, Promise.resolve({}));
  }

  async pending() {
    this.#checkOpen();
    const { store, settings, clock, principal } = this.#page;
    const records = await store.list(principal());
    const claimed = records.filter(({ state }) => state === "claimed");
    return claimed.map((record) => pendingIntent(record, settings, clock.now()));
  }

  async acknowledge(operation, key) {
    return this.#note("acknowledge", operation, key, {});
  }

  async resolve(operation, key, what) {
    if (typeof what?.happened !== "boolean") throw invalid("happened", "true or false");
    const { core } = this.#page;
    const held = what.happened
      ? { kind: "value", value: what.value }
      : { kind: "error", error: { message: "It did not happen." } };
    const state = what.happened ? "succeeded" : "rejected";
    const value = storableOutcome(core, held);
    const more = { state, value, hasValue: value !== undefined };
    return this.#unlessRunning("settle", operation, key, more);
  }

  async abandon(operation, key) {
    return this.#unlessRunning("abandon", operation, key, {});
  }

  async clear(principal) {
    this.#checkOpen();
    const { store, events, seen } = this.#page;
    const owner = principal === undefined ? this.#page.principal() : principalOf({ principal });
    await store.clear(owner);
    for (const [name, intent] of seen) {
      if (intent.principal === owner) seen.delete(name);
    }
    events.changed();
  }

  async fetch(input, init) {
    const { operation, submit, ...rest } = init ?? {};
    const made = requestOf(input, rest);
    const { signal } = made.request;
    const either = submit?.signal && AbortSignal.any?.([signal, submit.signal]);
    const options = { ...submit, signal: either ?? submit?.signal ?? signal };
    const call = this.#called(operation, (attempt) => sent(made, attempt), options);
    try {
      const ready = prepared(this.#page.core, made);
      const { value, key } = await this.#follow({ ...call, prefersStored: true }, ready);
      // What somebody resolved by hand is no response yet.
      const response = isResponse(value) ? value : Response.json(value ?? null);
      return keyed(response, key);
    } catch (error) {
      if (error?.code !== "rejected" || !isResponse(error.cause)) throw error;
      return keyed(error.cause, error.intent.key);
    }
  }

  fetchFor(operation) {
    return async (input, init) => {
      const isRequest = input instanceof Request;
      const method = init?.method ?? (isRequest ? input.method : "GET");
      if (PASSED_THROUGH.includes(method.toUpperCase())) return fetch(input, init);
      const name =
        typeof operation === "function"
          ? operation(new Request(isRequest ? input.clone() : input, init))
          : operation;
      return this.fetch(input, { ...init, operation: name });
    };
  }

  guardForm(form, options) {
    this.#checkOpen();
    return guardForm(this, form, options);
  }

  static {
    insideOf = (client) => ({
      client,
      clock: client.#page.clock,
      follow: async (operation, send, what) => {
        const call = client.#called(operation, send, {}, what.heldMs);
        const ready = asked(client.#page.core, what.payload, what.asking, what.isStorable);
        return client.#follow({ ...call, isOnlyClaim: what.isOnlyClaim }, ready);
      },
    });
  }

  requestPersistence() {
    this.#persistence ??= Promise.resolve(globalThis.navigator?.storage?.persist?.())
      .then(Boolean)
      .catch(() => false);
    return this.#persistence;
  }

  on(event, listener) {
    if (!EVENTS.includes(event)) throw invalid("event", EVENTS.join(", "));
    return this.#page.events.on(event, listener);
  }

  close() {
    this.#isClosed = true;
    if (this.#entries.size === 0) this.#release();
  }

  /** What every call notes before anything else is done. */
  #called(operation, send, options, heldMs = 0) {
    const { clock, principal } = this.#page;
    const calledAt = Math.max(clock.now() - heldMs, this.#calledFrom);
    this.#checkOpen();
    checkOperation(operation);
    if (typeof send !== "function") throw invalid("send", "a function");
    const settings = callSettings(options);
    if (settings.signal?.aborted) throw refusal("aborted", {});
    const slot = { principal: principal(), operation };
    return { calledAt, slot, send, options: settings, mayMint: true };
  }

  /** Follows an intent, or listens to whoever in this page is at it already. */
  async #follow(call, ready) {
    const name = slotName("", call.slot);
    const first = this.#entries.get(name);
    if (first?.stop.signal.aborted) {
      // Its last caller has just left; this one is not among those.
      await first.ended.catch(() => {});
      return this.#follow(call, ready);
    }
    if (first) return this.#join(first, call, ready);
    const stop = new AbortController();
    const entry = { ready, stop, listeners: 0 };
    this.#entries.set(name, entry);
    entry.ended = this.#run(call, entry).finally(() => {
      this.#entries.delete(name);
      if (this.#isClosed && this.#entries.size === 0) this.#release();
    });
    return this.#delivered(await this.#listen(entry, call).ended, "done");
  }

  async #run(call, { ready, stop }) {
    const { persist } = this.#page.settings;
    const known = await ready;
    if (persist === "fingerprint") delete known.stored;
    return new Pursuit(this.#page, { ...call, ready: known, signal: stop.signal }).outcome();
  }

  async #join(entry, call, ready) {
    const listening = this.#listen(entry, call);
    listening.ended.catch(() => {});
    const { deadlineMs, ifBusy } = call.options;
    const { clock, events } = this.#page;
    const ended = new AbortController();
    clock
      .wait(call.calledAt + deadlineMs - clock.now(), ended.signal)
      .then(() => listening.leave("unknown"));
    try {
      const own = await ready;
      const found = await this.#compared(entry, call, own);
      if (found) return this.#delivered(found, "joined");
      const end = await listening.ended;
      if (end) {
        events.emit("joined", { ...call.slot, key: end.record.key, at: clock.now() });
        return this.#delivered(end, "joined");
      }
      // The first was a resume that found nothing.
      if (!own.digest) return null;
    } catch (error) {
      // The first had nothing to send, or would not wait; this call has, and will.
      const isItsOwn = ["payload", "payload-needed", "in-progress"].includes(error?.code);
      if (!isItsOwn || !call.mayMint || ifBusy === "refuse") throw error;
    } finally {
      ended.abort();
      listening.leave("aborted");
    }
    return this.#follow(call, ready);
  }

  /** Compares payloads before joining; a resume has none, so there the stored intent is asked. */
  async #compared(entry, call, own) {
    const theirs = await entry.ready.catch(() => ({}));
    const isSame = !own.digest || !theirs.digest || isSameDigest(own.digest, theirs.digest);
    if (!isSame) throw refusal("unresolved", {});
    if (call.options.ifBusy === "refuse") throw refusal("in-progress", {});
    if (!own.digest || theirs.digest) return undefined;
    return new Pursuit(this.#page, { ...call, ready: own, signal: entry.stop.signal }).look();
  }

  /** What one caller gets of an end that several share. */
  #delivered(ended, status) {
    if (!ended) return null;
    const { record, held, state } = ended;
    const { key, attempts } = record;
    const value = held && handedOut(held);
    if (state === "rejected") {
      const { settings, clock } = this.#page;
      const why = value?.status ?? value?.message ?? "without a reason";
      throw new IdempotencyError("rejected", `It was refused (${why}), so nothing happened.`, {
        cause: value,
        intent: pendingIntent(record, settings, clock.now()),
      });
    }
    return { status: status === "joined" ? status : ended.status, key, attempts, value };
  }

  /** The end of an entry, or the caller's own; with the last listener the attempt ends too. */
  #listen(entry, { options }) {
    const { signal } = options;
    let isListening = true;
    let leave;
    entry.listeners++;
    const ended = new Promise((resolve, reject) => {
      leave = (code) => {
        if (!isListening) return;
        isListening = false;
        if (--entry.listeners === 0) entry.stop.abort();
        reject(refusal(code, {}));
      };
      const onAbort = () => leave("aborted");
      signal?.addEventListener("abort", onAbort);
      const done = () => {
        isListening = false;
        signal?.removeEventListener("abort", onAbort);
      };
      entry.ended.finally(done).then(resolve, reject);
      if (signal?.aborted) onAbort();
    });
    return { ended, leave };
  }

  async #note(verb, operation, key, more) {
    this.#checkOpen();
    checkOperation(operation);
    const { settings, send, events, principal, seen } = this.#page;
    const slot = { principal: principal(), operation };
    const name = slotName(settings.dbName, slot);
    const isSeen = () => seen.get(name)?.record.key === key;
    const deliveredAt = isSeen() ? seen.get(name).deliveredAt : undefined;
    const { decision, puts } = await send(verb, slot, { key, deliveredAt, ...more });
    puts.forEach(this.#page.knows);
    if (puts.length) events.changed();
    // What is in progress stays; what is gone from the store was given up by saying so.
    const isLeft = decision === "in-progress" || decision === "settled";
    const isForgotten = !isLeft && isSeen();
    if (isForgotten) seen.delete(name);
    return puts.length > 0 || isForgotten;
  }

  /** Under the lock of the slot, if nobody has it. */
  async #unlessRunning(verb, operation, key, more) {
    this.#checkOpen();
    const { locks, settings, principal } = this.#page;
    const slot = { principal: principal(), operation };
    if (this.#entries.has(slotName("", slot))) return false;
    if (!locks) return this.#note(verb, operation, key, { lock: "lease", ...more });
    const lease = await acquire(locks, slotName(settings.dbName, slot), { ifAvailable: true });
    if (!lease) return false;
    try {
      return await this.#note(verb, operation, key, { lock: "mine", ...more });
    } finally {
      lease.release();
    }
  }

  #checkOpen() {
    if (this.#isClosed) throw refusal("closed", {});
  }

  #release() {
    this.#page.store.close();
    this.#page.events.close();
  }
}

/** A response that says under which key it came, for `acknowledge`. */
function keyed(response, key) {
  return Object.defineProperty(response, "idempotencyKey", { value: key });
}

function principalOf({ principal }) {
  let name = principal;
  try {
    if (typeof principal === "function") name = principal();
    name ??= null;
    if (name === null || (typeof name === "string" && name.length <= 1024)) return name;
  } catch (cause) {
    name = cause;
  }
  throw new IdempotencyError(
    "principal",
    "The principal must be a name of at most 1024 characters, or null where nobody is signed in.",
    { cause: name },
  );
}
