// The form as it is usually written: the button is disabled while a request runs.

import { fetch } from "./watched_fetch.js";

export async function payOrdinary(button, transfer, show) {
  button.disabled = true; // no double click
  const headers = { "Content-Type": "application/json" };
  const body = JSON.stringify(transfer);
  const signal = AbortSignal.timeout(3000);
  const init = { method: "POST", headers, body, signal };
  const got = await fetch("api/transfers", init).catch(() => {});
  show(got?.ok ? "Paid. Thank you." : "Failed. Try again.");
  button.disabled = false;
}
