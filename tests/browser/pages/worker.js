// A dedicated worker that submits what it is told.
import { IdempotencyClient } from "/pkg/index.js";

const opened = IdempotencyClient.open();

self.onmessage = async ({ data: { operation, payload } }) => {
  const client = await opened;
  const { status, key } = await client.submit(operation, payload, async (attempt) => {
    const response = await fetch("/api/pay", {
      method: "POST",
      headers: { "Idempotency-Key": attempt.header, "X-Page": "worker" },
      body: JSON.stringify(attempt.payload),
      signal: attempt.signal,
    });
    return response.json();
  });
  self.postMessage({ mode: client.mode, outcome: { status, key } });
};
