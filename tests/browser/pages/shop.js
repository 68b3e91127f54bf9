// A shop: what the tests press, call and look at. `opened` is the life of one client.
import "/pages/jobs.js";
import "/pages/records.js";

const query = new URLSearchParams(location.search);

/** Tells page lives apart in what the server saw. */
window.life = crypto.randomUUID().slice(0, 8);
window.events = [];
window.attempts = [];
window.results = [];
/** Retries that do not make a test wait. */
window.quick = { baseMs: 10, maxMs: 40 };

const EVENTS = ["claimed", "attempt", "retry", "done", "joined", "unknown", "expired"];

window.openClient = async (options = {}) => {
  window.lib ??= await import(query.get("entry") ?? "/pkg/index.js");
  const client = await lib.IdempotencyClient.open(options);
  for (const name of EVENTS) {
    client.on(name, (event) => events.push({ ...event, name }));
  }
  return client;
};

window.opened = (async () => {
  window.client = await openClient(JSON.parse(query.get("options") ?? "{}"));
})();
// Whoever awaits it sees the error; nobody has to.
window.opened.catch(() => {});

/** Sends an attempt to the payment API. */
window.send = (attempt) => {
  attempts.push({ key: attempt.key, number: attempt.attempt });
  return fetch("/api/pay", {
    method: "POST",
    headers: {
      "Content-Type": "application/json",
      "Idempotency-Key": attempt.header,
      "X-Page": life,
      "X-Attempt": String(attempt.attempt),
    },
    body: JSON.stringify(attempt.payload),
    signal: attempt.signal,
  });
};

/** The same, with the receipt as its value and an error that carries its status. */
window.sendForReceipt = async (attempt) => {
  const response = await send(attempt);
  const body = await response.json();
  if (!response.ok) {
    throw Object.assign(new Error(`status ${response.status}`), { status: response.status, body });
  }
  return body;
};

/** An outcome as JSON. */
window.read = async (outcome) => {
  if (outcome === null) {
    return null;
  }
  const { status, key, attempts, value } = outcome;
  const isResponse = value instanceof Response;
  const http = isResponse ? value.status : undefined;
  return { status, key, attempts, http, value: isResponse ? await value.json() : value };
};

const withQuickRetries = (options) => ({ ...options, retry: { ...quick, ...options.retry } });

window.pay = async (order, payload = { order, amount: 25 }, options = {}) =>
  read(await client.submit(`pay:${order}`, payload, send, withQuickRetries(options)));

window.resume = async (order, options = {}) =>
  read(await client.resume(`pay:${order}`, send, withQuickRetries(options)));

/** A promise's end, whichever it is. */
window.ended = (promise) =>
  promise.then(
    (ok) => ({ ok }),
    (error) => ({ thrown: describe(error) }),
  );

document.querySelector("#pay")?.addEventListener("click", () => {
  ended(pay("clicked")).then((result) => {
    results.push(result);
    document.querySelector("#receipt").textContent = JSON.stringify(result);
  });
});
