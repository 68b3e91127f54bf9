// Runs `decide_intent.json` and `stale_key.json` on the wasm build, through the transition that the
// stores use.
import init, { transition } from "/pkg/idempotency_client.js";

const SALT = new Uint8Array(32);
const NEVER_MS = 2 ** 52;

/** Different fingerprints become different digests; all a browser knows of one is its digest. */
const digestOf = ({ algorithm, digest_hex }) => new TextEncoder().encode(algorithm + digest_hex);

const commandOf = (written) => ({
  verb: "claim",
  principal: null,
  operation: "pay:order-17",
  holder: "this page",
  mayMint: true,
  digest: digestOf(written.fingerprint),
  key: written.seen ?? undefined,
  lock: written.lock,
  isRefusedBusy: written.if_busy === "refuse",
  isNewIntent: written.on_changed === "new-intent",
  calledAt: Number(written.called_at_ms),
  retentionMs: Number(written.retention_ms),
  joinMs: Number(written.join_ms),
  spareMs: Number(written.spare_ms),
});

/** How a store writes this fingerprint: as it does when it makes an intent. */
const storedFingerprint = (fingerprint) => {
  const command = commandOf({ fingerprint, lock: "mine" });
  return transition(undefined, undefined, command, SALT, 0).record.fingerprint;
};

const recordOf = (slot, now) => {
  const [kind] = typeof slot === "string" ? [slot] : Object.keys(slot);
  const written = slot[kind];
  const record = (more) => ({
    v: 1,
    principal: null,
    operation: "pay:order-17",
    number: 1,
    key: written.key,
    attempts: 1,
    createdAt: 0,
    expiresAt: NEVER_MS,
    ...more,
  });
  switch (kind) {
    case "nothing":
      return undefined;
    case "abandoned":
      return record({
        state: "abandoned",
        settledAt: Number(written.at_ms),
        fingerprint: "0".repeat(64),
      });
    case "claimed":
      return record({
        state: "claimed",
        fence: Number(written.fence),
        fingerprint: storedFingerprint(written.fingerprint),
        firstSentAt: written.first_sent_at_ms && Number(written.first_sent_at_ms),
      });
    case "settled":
      return record({
        state: written.ending,
        settledAt: Number(written.settled_at_ms),
        fingerprint: storedFingerprint(written.fingerprint),
        ...(written.value === "present" && { value: {}, valueUntil: now + 1 }),
        ...(written.receipt !== "open" && {
          acknowledgedAt: 1,
          deliveredAt: Number(written.receipt.acknowledged.delivered_at_ms),
        }),
      });
    default:
      throw new Error(`no slot is ${kind}`);
  }
};

/** What the transition has to answer. It mints nothing while others hold the lock. */
const expected = ({ decision, lock, if_busy }) => {
  if (decision === "mint" && lock === "held") {
    return if_busy === "refuse" ? "in-progress" : "wait";
  }
  return decision;
};

const decided = (written) => {
  const now = Number(written.now_ms);
  const answer = transition(recordOf(written.slot, now), undefined, commandOf(written), SALT, now);
  return answer.decision === "mint" && answer.puts.length === 2 ? "replace" : answer.decision;
};

/** The slot of a cell, with the moments that hold for all cells. */
const slotOf = (file, stored) => {
  const key = file.keys.stored;
  const fingerprint = file.fingerprints.stored;
  if (stored === "nothing") return "nothing";
  if (stored === "abandoned") return { abandoned: { key, at_ms: file.settled_at_ms } };
  if (stored.startsWith("claimed")) {
    const first_sent_at_ms = stored === "claimed-sent" ? file.first_sent_at_ms : null;
    return { claimed: { key, fingerprint, fence: "1", first_sent_at_ms } };
  }
  return {
    settled: {
      key,
      fingerprint,
      settled_at_ms: file.settled_at_ms,
      ending: stored.split("-")[0],
      value: stored.includes("-gone") ? "gone" : "present",
      receipt: stored.endsWith("-acknowledged")
        ? { acknowledged: { delivered_at_ms: file.delivered_at_ms } }
        : "open",
    },
  };
};

function* writtenOut(file) {
  const seen = { nothing: null, "its-key": file.keys.stored, "other-key": file.keys.other };
  const { retention_ms, join_ms, spare_ms } = file;
  for (const cell of file.cells) {
    const decisions = cell.decisions.values();
    for (const lock of file.locks) {
      for (const if_busy of file.if_busy) {
        for (const on_changed of file.on_changed) {
          const { called_at_ms, now_ms } = cell;
          yield {
            name: cell.stored,
            slot: slotOf(file, cell.stored),
            fingerprint: file.fingerprints[cell.fingerprint],
            seen: seen[cell.seen],
            lock,
            if_busy,
            on_changed,
            retention_ms,
            join_ms,
            spare_ms,
            called_at_ms,
            now_ms,
            decision: decisions.next().value,
          };
        }
      }
    }
  }
  yield* file.cases;
}

/** Numbers beyond 2^53 are no times of a browser, whose clock counts in doubles. */
const isExpressible = (written) =>
  [...JSON.stringify(written).matchAll(/_ms":"(\d+)"/g)].every(
    ([, digits]) => Number.isSafeInteger(Number(digits)) || digits === String(2 ** 53),
  );

const load = async (name) => {
  await init(await WebAssembly.compileStreaming(fetch("/pkg/idempotency_client_bg.wasm")));
  return (await fetch(`/vectors/${name}.json`)).json();
};

/** The time inside a UUIDv7, as the vectors write it. */
const timeOf = (key) => String(parseInt(key.replaceAll("-", "").slice(0, 12), 16));

window.runStaleKeys = async () => {
  const { fences, cells } = await load("stale_key");
  const result = { run: 0, wrong: [], leftOut: 0 };
  for (const cell of cells) {
    if (!Number.isSafeInteger(Number(cell.attempts))) {
      result.leftOut += 1;
      continue;
    }
    result.run += 1;
    const now = 1_000;
    const fingerprint = { algorithm: "parts", digest_hex: "" };
    const record = {
      ...transition(undefined, undefined, commandOf({ fingerprint, lock: "mine" }), SALT, now)
        .record,
      fence: Number(fences.stored),
      attempts: Number(cell.attempts),
      firstSentAt: now,
      inDoubt: true,
    };
    const { key, number } = record;
    const command = {
      verb: "mint-anew",
      key,
      number,
      fence: Number(fences[cell.fence]),
      serverMs: cell.server_time_ms === null ? undefined : Number(cell.server_time_ms),
    };
    const answer = transition(record, undefined, command, SALT, now);
    const [put, ...more] = answer.puts;
    const isMinted =
      put &&
      !more.length &&
      put.key !== key &&
      timeOf(put.key) === cell.server_time_ms &&
      put.number === number &&
      put.firstSentAt === null &&
      put.inDoubt === false;
    const isAsSaid = answer.decision === cell.decision;
    if (!isAsSaid || Boolean(isMinted) !== (cell.decision === "mint-anew")) {
      result.wrong.push({ cell, answer });
    }
  }
  return result;
};

window.runVectors = async () => {
  const file = await load("decide_intent");
  const result = { run: 0, wrong: [], leftOut: [] };
  for (const written of writtenOut(file)) {
    if (!isExpressible(written)) {
      result.leftOut.push(written.name);
      continue;
    }
    result.run += 1;
    const answer = decided(written);
    if (answer !== expected(written)) {
      result.wrong.push({ written, answer });
    }
  }
  return result;
};
