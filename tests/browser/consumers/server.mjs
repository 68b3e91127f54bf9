// What a server does with the modules of a page: it imports and renders them, and lives on.
import assert from "node:assert/strict";
import { createElement } from "react";
import { renderToString } from "react-dom/server";
import { IdempotencyClient } from "@idempotency-ledger/client";
import { useIdempotentSubmit } from "@idempotency-ledger/client/react";
import { IdempotencyClient as Served } from "@idempotency-ledger/client/web";

// Nobody looks at these: an unhandled rejection would end the process.
IdempotencyClient.open();
Served.open();

const client = IdempotencyClient.lazy({ principal: null });

function PayButton() {
  const send = async () => 1;
  const { status } = useIdempotentSubmit({ client, operation: "pay:order-17", send });
  return createElement("button", null, status);
}

assert.equal(renderToString(createElement(PayButton)), "<button>idle</button>");
// The queue of rejections is looked at between two turns.
for (let turns = 0; turns < 3; turns += 1) await new Promise((resolve) => setImmediate(resolve));

for (const opening of [client, client, Served.lazy()]) {
  await assert.rejects(async () => opening, { name: "IdempotencyError", code: "unsupported" });
}
console.log("served");
