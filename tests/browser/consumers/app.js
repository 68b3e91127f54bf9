// A small application: what its page needs is on `window` for the test.
import { IdempotencyClient, IdempotencyError, newKey } from "@idempotency-ledger/client";
import { IdempotencyClient as Served } from "@idempotency-ledger/client/web";
import wasm from "@idempotency-ledger/client/wasm?url";

window.app = { IdempotencyClient, IdempotencyError, newKey, Served, wasm: String(wasm) };
