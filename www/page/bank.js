// Which bank the page talks to: a real server where one answers, else the Service Worker.

import { visit } from "./visit.js";

const CONTROL_LIMIT_MS = 10_000;

/** What the bank is, in a word and a sentence; `none` where there can be none. */
export async function findBank() {
  if (await isServed()) {
    await dismissWorkers();
    return { kind: "server", says: "The bank is a real server with the ledger in a file." };
  }
  if (!navigator.serviceWorker) {
    return {
      kind: "none",
      says:
        "This browser has no Service Worker here, so no bank can answer. Open the page over " +
        "https or from localhost, or run `cargo xtask demo`.",
    };
  }
  try {
    await employWorker();
  } catch (error) {
    const says = `The bank's Service Worker does not start (${error.message}). Reload the page.`;
    return { kind: "none", says };
  }
  return {
    kind: "worker",
    says: "The bank is a Service Worker: the ledger itself, compiled to WebAssembly.",
  };
}

async function isServed() {
  try {
    const headers = { "Demo-Bank": "server" };
    const response = await fetch("api/health", { headers, cache: "no-store" });
    return response.ok && (await response.json()).status === "ok";
  } catch {
    // No server, or one that answers every path with a page. A host of files has one of this name,
    // which says so: a path that is missing would stand in the console as an error.
    return false;
  }
}

/** A worker of an earlier visit would answer in the server's place. */
async function dismissWorkers() {
  const registration = await navigator.serviceWorker?.getRegistration();
  if (!registration) return;
  await registration.unregister();
  if (navigator.serviceWorker.controller) location.reload();
}

async function employWorker() {
  await navigator.serviceWorker.register("sw.js", { updateViaCache: "none" });
  const { active } = await within(CONTROL_LIMIT_MS, navigator.serviceWorker.ready);
  if (navigator.serviceWorker.controller) return;
  const controlled = new Promise((resolve) => {
    navigator.serviceWorker.addEventListener("controllerchange", resolve, { once: true });
  });
  // Behind a hard reload the page has no worker, though there is one.
  active.postMessage("claim");
  if (!navigator.serviceWorker.controller) await within(CONTROL_LIMIT_MS, controlled);
}

function within(milliseconds, promise) {
  const late = new Promise((_, reject) => {
    setTimeout(() => reject(new Error("it takes too long")), milliseconds);
  });
  return Promise.race([promise, late]);
}

const asVisitor = (token) => ({
  headers: { Authorization: `Bearer ${token}` },
  cache: "no-store",
});

async function listed(path, token = visit.token) {
  const response = await fetch(path, asVisitor(token));
  if (!response.ok) throw new Error(`${path}: status ${response.status}`);
  return response.json();
}

/** The visitor's payments, oldest first. */
export const transfers = (token) => listed("api/transfers", token);

/** What the card network was told for somebody, by key. */
export async function effects(token) {
  const rows = await listed("api/effects");
  return rows.filter(({ principal }) => principal === token);
}

/** Hands the money of an order back, so that the accounts never run dry; once, by its key. */
export async function refund(token) {
  for (const { id, from, to, amount } of await transfers(token)) {
    const { headers } = asVisitor(`${token}-refunds`);
    headers["Content-Type"] = "application/json";
    headers["Idempotency-Key"] = `"refund-${token}-${id}"`;
    const body = JSON.stringify({ from: to, to: from, amount });
    await fetch("api/transfers", { method: "POST", headers, body });
  }
}
