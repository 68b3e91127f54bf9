// The same form with the client: one key for one order, kept before anything is sent.

import { fetch } from "./watched_fetch.js";

export async function payGuarded(client, id, transfer) {
  return client.submit(`pay:${id}`, transfer, send);
}
export function send({ header, payload, signal }) {
  const headers = { "Content-Type": "application/json" };
  headers["Idempotency-Key"] = header;
  const body = JSON.stringify(payload);
  const init = { method: "POST", headers, body, signal };
  return fetch("api/transfers", init);
}
