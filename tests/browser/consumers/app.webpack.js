// The same application for webpack, which makes a file of what `new URL` names.
import { IdempotencyClient, IdempotencyError, newKey } from "@idempotency-ledger/client";
import { IdempotencyClient as Served } from "@idempotency-ledger/client/web";

const wasm = new URL("@idempotency-ledger/client/wasm", import.meta.url);

window.app = { IdempotencyClient, IdempotencyError, newKey, Served, wasm: String(wasm) };
