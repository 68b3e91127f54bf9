// The bank behind the demo page, where no server answers: the ledger itself as WebAssembly.
//
// The ledger's file lies in this worker's memory, and a copy of it, the image, in IndexedDB. Only
// what is in the image has happened: so each commit writes it before anything is answered.

/* global bankModule */
"use strict";
importScripts("bank/bank.js");

const SCOPE = self.registration.scope;
const WASM = new URL("bank/bank.wasm", SCOPE).href;
const CACHE = `idempotency-demo:${SCOPE}`;
const DATABASE = `idempotency-demo-bank:${SCOPE}`;
const LOCK = `idempotency-demo-bank:${SCOPE}`;

/** The ledger that is open now; nothing behind a crash. */
let memory;
let compiled;
let opened;

self.addEventListener("install", (event) => event.waitUntil(install()));
self.addEventListener("activate", (event) => event.waitUntil(self.clients.claim()));
// A page that was loaded anew past its cache has no worker until one claims it.
self.addEventListener("message", (event) => {
  if (event.data === "claim") event.waitUntil(self.clients.claim());
});
self.addEventListener("fetch", (event) => {
  const { request } = event;
  const path = request.url.startsWith(SCOPE) ? request.url.slice(SCOPE.length) : "";
  if (!path.startsWith("api/") || request.headers.get("Demo-Bank") === "server") return;
  // Like a real bank it goes on when the page that asked has gone.
  const answered = answer(request, path.split("?")[0]);
  event.respondWith(answered);
  event.waitUntil(answered);
});

async function install() {
  const cache = await caches.open(CACHE);
  await cache.add(new Request(WASM, { cache: "reload" }));
  await self.skipWaiting();
}

/** Goes through the steps of a request; what they are is the bank's affair. */
async function answer(request, path) {
  if (path === "api/effects") return Response.json(await effects());
  const asked = JSON.stringify({
    method: request.method,
    path,
    authorization: request.headers.get("Authorization"),
    idempotencyKey: request.headers.get("Idempotency-Key"),
    fault: request.headers.get("Demo-Fault"),
    body: await request.text(),
  });
  const visit = { asked };
  for (;;) {
    const step = await navigator.locks.request(LOCK, () => walk(visit)).catch(unsaved);
    if (step.does === "answer") return response(step);
    if (step.does !== "pause") return Response.error();
    await pause(step.milliseconds);
  }
}

/** Under the lock: as far as the request gets without letting others in between. */
async function walk(visit) {
  const bank = await current();
  // The bank that had this request in memory has died; nobody answers it.
  if (visit.bank && visit.bank !== bank) return { does: "silence" };
  let turn = JSON.parse(visit.bank ? bank.goOn(visit.number) : bank.start(visit.asked));
  Object.assign(visit, { bank, number: turn.number });
  for (;;) {
    const { step } = turn;
    if (step.does === "save") await save();
    else if (step.does === "charge") await charge(step);
    else if (step.does === "hold") await pause(step.milliseconds);
    else if (step.does === "die") die();
    if (!["save", "charge", "hold"].includes(step.does)) return step;
    turn = JSON.parse(bank.goOn(turn.number));
  }
}

/** The bank as the image has it: another worker may have written a newer one. */
async function current() {
  await load();
  const { generation } = await stored(["generation"]);
  if (memory && memory.generation === generation) return memory.bank;
  die();
  const { image } = await stored(["image"]);
  memory = { bank: bankModule.Bank.open(image), generation };
  if (!image) await save();
  return memory.bank;
}

/** Everything that was in memory is gone: claims, and requests under way. */
function die() {
  const { bank } = memory ?? {};
  memory = undefined;
  bank?.free();
}

/** The commit: image and generation in one transaction, on disk when this returns. */
async function save() {
  const { bank, generation = 0 } = memory;
  try {
    const transaction = (await database()).transaction("bank", "readwrite", {
      durability: "strict",
    });
    const store = transaction.objectStore("bank");
    store.put(bank.image(), "image");
    store.put(generation + 1, "generation");
    await ended(transaction);
    memory.generation = generation + 1;
  } catch (error) {
    // Memory is ahead of what is durable, so it must not answer anything any more.
    die();
    throw error;
  }
}

function unsaved(error) {
  // Whatever went wrong, what is durable is right, and the next request begins from there.
  memory = undefined;
  const detail = `The image was not written, so nothing happened: ${error?.message ?? error}`;
  const title = "The ledger cannot be written";
  const body = { type: "about:blank", title, status: 503, detail, code: "storage" };
  const content_type = "application/problem+json";
  return { does: "answer", answer: { status: 503, content_type, body: JSON.stringify(body) } };
}

function response({ answer: { status, content_type, body, retry_after_s }, replayed }) {
  const headers = new Headers({ "Content-Type": content_type, "Cache-Control": "no-store" });
  if (retry_after_s) headers.set("Retry-After", retry_after_s);
  if (replayed) headers.set("Idempotency-Replayed", "true");
  return new Response(body, { status, headers });
}

/** Outside of the ledger, like a real card network: it only ever grows. */
async function charge({ principal, key, amount }) {
  const transaction = (await database()).transaction("network", "readwrite", {
    durability: "strict",
  });
  transaction.objectStore("network").add({ principal, key, amount });
  await ended(transaction);
}

/** How often the network was told to charge, by principal and key. */
async function effects() {
  const transaction = (await database()).transaction("network");
  const rows = await result(transaction.objectStore("network").getAll());
  const counts = new Map();
  for (const { principal, key } of rows) {
    const name = JSON.stringify([principal, key]);
    const known = counts.get(name) ?? { principal, key, count: 0 };
    counts.set(name, { ...known, count: known.count + 1 });
  }
  return [...counts.values()];
}

/** The wasm, compiled once in a worker's life. */
function load() {
  compiled ??= (async () => {
    const cache = await caches.open(CACHE);
    const file = (await cache.match(WASM)) ?? (await fetch(WASM));
    await bankModule({ module_or_path: await file.arrayBuffer() });
  })();
  // A failure is no reason to fail for ever.
  compiled.catch(() => (compiled = undefined));
  return compiled;
}

async function stored(names) {
  const store = (await database()).transaction("bank").objectStore("bank");
  const values = await Promise.all(names.map((name) => result(store.get(name))));
  return Object.fromEntries(names.map((name, at) => [name, values[at]]));
}

function database() {
  opened ??= new Promise((resolve, reject) => {
    const request = indexedDB.open(DATABASE, 1);
    request.onupgradeneeded = () => {
      request.result.createObjectStore("bank");
      request.result.createObjectStore("network", { autoIncrement: true });
    };
    request.onsuccess = () => {
      // Whoever removes the database is not held up.
      request.result.onversionchange = () => {
        request.result.close();
        opened = undefined;
        die();
      };
      resolve(request.result);
    };
    request.onerror = () => {
      opened = undefined;
      reject(request.error);
    };
  });
  return opened;
}

const result = (request) =>
  new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });

const ended = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = () => resolve();
    transaction.onabort = () => reject(transaction.error ?? new Error("the transaction aborted"));
  });

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
