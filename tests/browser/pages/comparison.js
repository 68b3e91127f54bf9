// The client against a plain JavaScript twin that does the same work for each payment: the lock,
// the hash, the strict claim, the send, the outcome.
import { IdempotencyClient } from "/pkg/index.js";

const request = (made) =>
  new Promise((resolve, reject) => {
    made.onsuccess = () => resolve(made.result);
    made.onerror = () => reject(made.error);
  });

const committed = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });

const hex = (bytes) => Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

async function openTwin() {
  const opening = indexedDB.open("twin");
  opening.onupgradeneeded = () => opening.result.createObjectStore("intents");
  const database = await request(opening);
  const salt = crypto.getRandomValues(new Uint8Array(32));

  /** Reads, decides and writes in one transaction. */
  const change = async (slot, durability, decide) => {
    const transaction = database.transaction("intents", "readwrite", { durability });
    const end = committed(transaction);
    const store = transaction.objectStore("intents");
    const written = decide(await request(store.get(slot)));
    store.put(written, slot);
    await end;
    return written;
  };

  return async (operation, payload, send) => {
    const text = new TextEncoder().encode(JSON.stringify(payload));
    const salted = new Uint8Array(salt.length + text.length);
    salted.set(salt);
    salted.set(text, salt.length);
    const fingerprint = hex(new Uint8Array(await crypto.subtle.digest("SHA-256", salted)));
    return navigator.locks.request(`twin:${operation}`, async () => {
      const record = await change(operation, "strict", (found) => {
        if (found) throw new Error("each payment is a new one");
        const now = Date.now();
        return {
          key: crypto.randomUUID(),
          state: "claimed",
          fingerprint,
          payload,
          fence: 1,
          attempts: 1,
          createdAt: now,
          firstSentAt: now,
        };
      });
      const value = await send(record);
      await change(operation, "relaxed", (found) => ({
        ...found,
        state: "succeeded",
        value,
        settledAt: Date.now(),
        payload: undefined,
      }));
      return value;
    });
  };
}

const median = (numbers) => [...numbers].sort((one, other) => one - other)[numbers.length >> 1];
const spread = (numbers) => [Math.min(...numbers), median(numbers), Math.max(...numbers)];

/** Payments a second of both, in interleaved rounds, and the client's part of the twin's. */
window.compare = async ({ rounds, payments }) => {
  const client = await IdempotencyClient.open({ dbName: "compared" });
  const twin = await openTwin();
  const runners = {
    client: (operation, payload, send) => client.submit(operation, payload, send),
    twin,
  };
  const send = async ({ key }) => ({ receipt: key });
  const rates = { client: [], twin: [] };
  const ratios = [];
  for (let round = -1; round < rounds; round += 1) {
    // Who comes first changes with each round; the first round of all only warms up.
    const names = round % 2 ? ["client", "twin"] : ["twin", "client"];
    const rate = {};
    for (const name of names) {
      const start = performance.now();
      for (let count = 0; count < payments; count += 1) {
        const payload = { order: `order-${count}`, amount: 25, currency: "EUR" };
        await runners[name](`pay:${round}:${count}`, payload, send);
      }
      rate[name] = (payments * 1_000) / (performance.now() - start);
    }
    if (round >= 0) {
      rates.client.push(rate.client);
      rates.twin.push(rate.twin);
      ratios.push(rate.client / rate.twin);
    }
  }
  return { client: spread(rates.client), twin: spread(rates.twin), ratio: spread(ratios) };
};
