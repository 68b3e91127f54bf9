// Careless callers of one page, in Node on the memory store: what they get is never a second key,
// never another's payment, and never an error in place of a success.
import assert from "node:assert/strict";
import test from "node:test";

import { ManualClock, openTestClient } from "@idempotency-ledger/client/testing";

const once = { retry: { maxAttempts: 1 } };
const quick = { retry: { baseMs: 1, maxMs: 1 } };
const refused = (code) => (error) => error.name === "IdempotencyError" && error.code === code;
const lose = async () => {
  throw new Error("the answer was lost");
};
const hang = () => new Promise(() => {});

/** A `send` that a test lets go on, and that says when it was called. */
function held() {
  let open;
  let tell;
  const gate = new Promise((resolve) => (open = resolve));
  const called = new Promise((resolve) => (tell = resolve));
  const send = async (attempt) => {
    tell(attempt);
    await gate;
    return { paid: attempt.payload };
  };
  return { send, open, called };
}

test("a caller that leaves at once sends nothing", async () => {
  const client = await openTestClient();
  const controller = new AbortController();
  let sent = 0;
  const leaving = client.submit("pay", 1, async () => (sent += 1), { signal: controller.signal });
  controller.abort();
  await assert.rejects(leaving, refused("aborted"));
  assert.equal((await client.submit("pay", 1, async () => "paid")).value, "paid");
  assert.equal(sent, 0);
});

test("a caller that comes while the last one leaves is not among those who left", async () => {
  const client = await openTestClient();
  const controller = new AbortController();
  const { send, called } = held();
  const leaving = client.submit("pay", 1, send, { signal: controller.signal });
  await called;
  controller.abort();
  const staying = client.submit("pay", 1, async () => "paid");
  await assert.rejects(leaving, refused("aborted"));
  assert.equal((await staying).value, "paid");
});

test("a caller that was refused keeps no attempt alive", async () => {
  const client = await openTestClient();
  const controller = new AbortController();
  let attempt;
  const send = (made) => ((attempt = made), hang());
  const first = client.submit("pay", 1, send, { signal: controller.signal });
  await assert.rejects(client.submit("pay", 2, send), refused("unresolved"));
  controller.abort();
  await assert.rejects(first, refused("aborted"));
  assert.equal(attempt.signal.aborted, true);
});

test("a caller waits though the first one would not, and no longer than it said", async () => {
  const dbName = "shared";
  const [client, other] = [await openTestClient({ dbName }), await openTestClient({ dbName })];
  const { send, open, called } = held();
  const paying = other.submit("pay", 1, send);
  await called;
  const refusing = client.submit("pay", 1, send, { ifBusy: "refuse" });
  const waiting = client.submit("pay", 1, send);
  await assert.rejects(refusing, refused("in-progress"));
  const brief = client.submit("pay", 1, send, { retry: { deadlineMs: 20 } });
  await assert.rejects(brief, refused("unknown"));
  open();
  assert.deepEqual((await waiting).value, (await paying).value);
  assert.equal((await waiting).status, "joined");
});

test("another payload does not join a resume", async () => {
  const client = await openTestClient();
  await assert.rejects(client.submit("pay", { amount: 25 }, lose, once), refused("unknown"));
  const { send, open, called } = held();
  const resuming = client.resume("pay", send);
  await called;
  await assert.rejects(client.submit("pay", { amount: 26 }, send), refused("unresolved"));
  const same = client.submit("pay", { amount: 25 }, send);
  open();
  assert.deepEqual((await resuming).value, { paid: { amount: 25 } });
  assert.deepEqual((await same).value, { paid: { amount: 25 } });
});

test("a response that was read already is as true as before", async () => {
  const client = await openTestClient();
  let sent = 0;
  const send = async () => {
    sent += 1;
    const response = Response.json({ receipt: 1 });
    await response.json();
    return response;
  };
  const { value } = await client.submit("pay", 1, send, quick);
  assert.deepEqual([value.status, sent], [200, 1]);
});

test("a refusal whose reason was read already proves nothing", async () => {
  const client = await openTestClient();
  for (const status of [409, 422]) {
    const send = async () => {
      const response = Response.json({ code: "mismatch" }, { status });
      await response.text();
      throw Object.assign(new Error("refused"), { response });
    };
    await assert.rejects(client.submit(`pay:${status}`, 1, send, quick), refused("unknown"));
  }
  assert.equal((await client.pending()).length, 2);
});

test("a response that hides what it is leaves the outcome unknown", async () => {
  const client = await openTestClient();
  const send = async () => Response.error();
  await assert.rejects(client.submit("pay", 1, send, once), refused("unknown"));
});

test("no payload brings the core down", async () => {
  const client = await openTestClient();
  for (let tries = 0; tries < 3; tries += 1) {
    let deep = [];
    for (let depth = 0; depth < 100_000; depth += 1) deep = [deep];
    await assert.rejects(
      client.submit("deep", deep, async () => 1),
      (error) => refused("payload")(error) && error.message.length < 300,
    );
  }
  assert.equal((await client.submit("pay", { amount: 25 }, async () => "paid")).value, "paid");
});

test("an attempt gets the payload as it was at the call, whatever a send does to its", async () => {
  const client = await openTestClient();
  const seen = [];
  const send = async ({ payload }) => {
    seen.push([payload.amount, payload.notes.length]);
    payload.notes.push("sent");
    throw Object.assign(new Error("busy"), { status: 503 });
  };
  // Beyond what is stored, too.
  for (const notes of [[], ["x".repeat(70_000)]]) {
    const payload = { amount: 25, notes };
    const paying = client.submit(`pay:${notes.length}`, payload, send, quick);
    payload.amount = 99;
    await assert.rejects(paying, refused("unknown"));
  }
  assert.deepEqual(new Set(seen.map(String)), new Set(["25,0", "25,1"]));
});

test("without locks nobody ends an intent by hand while another page is at it", async () => {
  const dbName = "by hand";
  const [first, second] = [await openTestClient({ dbName }), await openTestClient({ dbName })];
  const { send, open, called } = held();
  const paying = first.submit("pay", 1, send);
  const { key } = await called;
  assert.equal(await second.abandon("pay", key), false);
  assert.equal(await second.resolve("pay", key, { happened: false }), false);
  open();
  assert.equal((await paying).status, "done");
});

test("a client that is closed right behind a call says nothing about it", async () => {
  const client = await openTestClient();
  const { key } = await client.submit("pay", 1, async () => "paid");
  const acknowledged = client.acknowledge("pay", key);
  client.close();
  assert.equal(await acknowledged, true);
});

test("a classify that cannot be used is asked once, and what happened stays unknown", async () => {
  const client = await openTestClient({ classify: async () => "success" });
  let sent = 0;
  const paying = client.submit("pay", 1, async () => (sent += 1), quick);
  await assert.rejects(paying, (error) => {
    assert.equal(error.cause.code, "options");
    return refused("unknown")(error);
  });
  assert.equal(sent, 1);
});

test("a deadline that is over before the first attempt sends nothing", async () => {
  const client = await openTestClient();
  let sent = 0;
  const blob = new Blob([new Uint8Array(40 * 1024 * 1024)]);
  const paying = client.submit("pay", blob, async () => (sent += 1), { retry: { deadlineMs: 1 } });
  await assert.rejects(paying, refused("unknown"));
  assert.equal(sent, 0);
});

test("a listener that was added twice leaves once", async () => {
  const client = await openTestClient();
  let heard = 0;
  const listener = () => (heard += 1);
  const off = client.on("done", listener);
  client.on("done", listener);
  off();
  await client.submit("pay", 1, async () => "paid");
  assert.equal(heard, 1);
});

test("options that are null are no options", async () => {
  const client = await openTestClient(null);
  assert.equal((await client.submit("pay", 1, async () => "paid", null)).value, "paid");
  await client.submit("pay:2", 1, async () => "paid", { retry: null });
});

test("a fetch for libraries rejects, and never throws", async () => {
  const client = await openTestClient();
  const naming = () => {
    throw new TypeError("no name");
  };
  const calls = [client.fetchFor(naming)("http://localhost/", { method: "POST" })];
  calls.push(client.fetchFor("pay")("http://:::", { method: "POST" }));
  for (const call of calls) await assert.rejects(call);
});

test("a conflict without a code may be the first request, still running", async () => {
  const client = await openTestClient();
  const answers = [409, 408, 200].map((status) => Response.json({ error: "wait" }, { status }));
  const keys = [];
  const send = async ({ key }) => (keys.push(key), answers.shift());
  assert.equal((await client.submit("pay", 1, send, quick)).value.status, 200);
  assert.deepEqual([keys.length, new Set(keys).size], [3, 1]);
});

test("the code of a library's error is not the code of the server", async () => {
  const client = await openTestClient();
  const busy = { status: 409, data: { code: "in-progress" } };
  const answers = [
    busy,
    { status: 409, data: {} },
    undefined,
    { status: 409, data: { code: "sold-out" } },
  ];
  const send = async () => {
    const response = answers.shift();
    if (response) throw Object.assign(new Error(), { code: "ERR_BAD_REQUEST", response });
  };
  await client.submit("pay:1", 1, send, quick);
  await assert.rejects(client.submit("pay:2", 1, send, quick), refused("rejected"));
});

test("what fetch made of a request is nothing for another send", async () => {
  const client = await openTestClient();
  const real = globalThis.fetch;
  globalThis.fetch = lose;
  const pay = { method: "POST", body: "25", operation: "pay", submit: once };
  await assert.rejects(client.fetch("http://localhost/", pay), refused("unknown"));
  const [intent] = await client.pending();
  assert.equal(intent.hasPayload, false);
  await assert.rejects(
    client.resume("pay", async () => "paid"),
    refused("payload-needed"),
  );
  const sent = [];
  globalThis.fetch = async (url, { headers }) => (sent.push(headers), new Response("paid"));
  const response = await client.fetch("http://localhost/", pay);
  globalThis.fetch = real;
  assert.equal(response.idempotencyKey, intent.key);
  assert.equal(sent[0].get("Idempotency-Key"), JSON.stringify(intent.key));
});

test("a body that is an object is refused, and what went wrong last is said", async () => {
  const client = await openTestClient();
  for (const body of [{ amount: 25 }, [25]]) {
    const pay = client.fetch("http://localhost/", { method: "POST", body, operation: "pay" });
    await assert.rejects(pay, refused("payload"));
  }
  await assert.rejects(client.submit("pay", 1, lose, once), /the answer was lost/);
});

test("a file that cannot be read fails whoever gave it, and nobody else", async () => {
  const client = await openTestClient();
  class Gone extends Blob {
    slice() {
      return { arrayBuffer: () => Promise.reject(new DOMException("gone", "NotFoundError")) };
    }
  }
  const bad = client.submit("pay", new Gone(["25"]), async () => "never");
  const good = client.submit("pay", "25", async () => "paid");
  await assert.rejects(bad, refused("payload"));
  assert.equal((await good).value, "paid");
});

test("an acknowledgement spares presses for a second after the outcome", async () => {
  const clock = new ManualClock();
  const client = await openTestClient({ clock });
  const keys = new Set();
  const press = () => client.submit("pay", 1, async ({ key }) => keys.add(key) && "paid");
  const { key } = await press();
  await client.acknowledge("pay", key);
  for (const gap of [60, 120, 250, 450, 119]) {
    clock.advance(gap);
    assert.equal((await press()).status, "joined", `after ${gap} ms more`);
  }
  clock.advance(1);
  assert.equal((await press()).status, "done", "a second after the first outcome");
  assert.equal(keys.size, 2);
});

test("an outcome that is acknowledged a second after it came spares nothing", async () => {
  const clock = new ManualClock();
  const client = await openTestClient({ clock });
  const { key } = await client.submit("pay", 1, async () => "paid");
  clock.advance(1_000);
  assert.equal(await client.acknowledge("pay", key), true);
  assert.equal((await client.submit("pay", 1, async () => "paid")).status, "done");
});

test("without a time to join, an acknowledgement spares nothing either", async () => {
  const client = await openTestClient({ joinMs: 0, clock: new ManualClock() });
  const { key } = await client.submit("pay", 1, async () => "paid");
  await client.acknowledge("pay", key);
  assert.equal((await client.submit("pay", 1, async () => "paid")).status, "done");
});
