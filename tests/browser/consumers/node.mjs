// In Node: every entry is imported without effect, and a client says that it is no browser.
import assert from "node:assert/strict";

const names = () => Reflect.ownKeys(globalThis).map(String).sort();
const before = names();
// Whoever looks at one of these while being imported would break server rendering.
const forbidden = [
  "window",
  "document",
  "indexedDB",
  "localStorage",
  "BroadcastChannel",
  "WebAssembly",
];
for (const name of forbidden) {
  const real = Object.getOwnPropertyDescriptor(globalThis, name);
  Object.defineProperty(globalThis, name, {
    configurable: true,
    get() {
      throw new Error(`${name} was touched while importing`);
    },
  });
  forbidden[forbidden.indexOf(name)] = { name, real };
}
const entries = ["", "/inline", "/web", "/react", "/testing"];
const modules = [];
for (const entry of entries) {
  modules.push(await import(`@idempotency-ledger/client${entry}`));
}
for (const { name, real } of forbidden) {
  if (real) Object.defineProperty(globalThis, name, real);
  else delete globalThis[name];
}
assert.deepEqual(names(), before, "no global was added");

const [index, inline, web, , testing] = modules;
assert.equal(inline.IdempotencyClient, index.IdempotencyClient);
for (const { IdempotencyClient, IdempotencyError } of [index, web]) {
  await assert.rejects(IdempotencyClient.open(), (error) => {
    assert.ok(error instanceof IdempotencyError);
    assert.equal(error.code, "unsupported");
    return true;
  });
}
assert.equal(web.IdempotencyError, index.IdempotencyError, "one class of errors for all entries");

// Tests of applications run here, on a memory store and a clock of their own.
const clock = new testing.ManualClock();
const client = await testing.openTestClient({ clock });
assert.equal(client.mode, "memory");
const keys = [];
const send = async ({ key }) => {
  keys.push(key);
  if (keys.length === 1) throw new Error("lost");
  return "paid";
};
const paying = client.submit("pay:order-17", { amount: 25 }, send);
while (keys.length < 2) {
  await new Promise((resolve) => setImmediate(resolve));
  clock.advance(10);
}
const outcome = await paying;
assert.deepEqual([outcome.status, outcome.value, outcome.attempts], ["done", "paid", 2]);
assert.equal(keys[0], keys[1]);
assert.equal((await client.submit("pay:order-17", { amount: 25 }, send)).status, "joined");
clock.advance(10_000);
assert.equal((await client.submit("pay:order-17", { amount: 25 }, send)).status, "done");
client.close();
console.log("ok");
