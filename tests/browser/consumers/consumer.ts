// What a strict TypeScript application writes. It is only checked, never run.
import {
  IdempotencyClient,
  IdempotencyError,
  NotSent,
  Rejected,
  guardForm,
  newKey,
  okOrThrow,
} from "@idempotency-ledger/client";
import type { ClientOptions, Code, Outcome, PendingIntent } from "@idempotency-ledger/client";
import { IdempotencyClient as Inlined } from "@idempotency-ledger/client/inline";
import { ManualClock, openTestClient } from "@idempotency-ledger/client/testing";
import { IdempotencyClient as Served } from "@idempotency-ledger/client/web";

interface Receipt {
  receipt: number;
}

const options: ClientOptions = {
  dbName: "shop",
  principal: () => null,
  retentionMs: 3_600_000,
  persist: "fingerprint",
  headerFormat: "raw",
  classify: (answer) => (answer === "ok" ? "success" : "unknown"),
};

export async function pay(order: string, amount: number): Promise<Receipt> {
  const client = await IdempotencyClient.open(options);
  const mode: "indexeddb" | "localstorage" | "memory" = client.mode;
  console.assert(mode.length > 0);
  const outcome: Outcome<Receipt> = await client.submit(
    `pay:${order}`,
    { amount },
    async ({ key, header, attempt, signal, payload, fetch }) => {
      console.assert(key.length + header.length + attempt > 0 && !signal.aborted);
      const body = JSON.stringify(payload);
      const response = okOrThrow(await fetch("/api/pay", { method: "POST", body }));
      if (response.status === 418) throw new NotSent("no");
      if (response.status === 402) throw new Rejected("declined");
      return (await response.json()) as Receipt;
    },
    { ifBusy: "refuse", onChanged: "refuse", retry: { maxAttempts: 3, deadlineMs: 10_000 } },
  );
  const status: "done" | "joined" = outcome.status;
  console.assert(status.length > 0);
  await client.acknowledge(`pay:${order}`, outcome.key);
  return outcome.value;
}

export async function recover(client: IdempotencyClient): Promise<void> {
  const pending: PendingIntent[] = await client.pending();
  for (const { operation, key, hasPayload, firstSentAt } of pending) {
    const at: number | null = firstSentAt;
    if (hasPayload && at !== null) {
      const resumed: Outcome<Receipt> | null = await client.resume(operation, async () => {
        return { receipt: 1 };
      });
      console.assert(resumed === null || resumed.value.receipt > 0);
    }
    const happened: boolean = await client.resolve(operation, key, { happened: true, value: 1 });
    const not: boolean = await client.resolve(operation, key, { happened: false });
    const given: boolean = await client.abandon(operation, key);
    console.assert(happened || not || given);
  }
  await client.clear();
  await client.clear(null);
  const persisted: boolean = await client.requestPersistence();
  console.assert(persisted);
  const leave: () => void = client.on("retry", (event) => console.log(event.operation, event.key));
  leave();
  const guarded: typeof fetch = client.fetchFor((request) => request.url);
  const response: Response = await client.fetch("/api/pay", { method: "POST", operation: "pay:1" });
  console.assert((await guarded("/api")).ok && response.ok);
  const form = document.querySelector("form");
  if (form) {
    const release: () => void = client.guardForm(form, {
      operation: "checkout:1",
      exclude: ["csrf"],
      send: ({ payload, header }) =>
        fetch("/", { method: "POST", body: payload, headers: { "Idempotency-Key": header } }),
      onOutcome: (outcome) => console.log(outcome.key),
      onError: (error) => console.error(error),
    });
    release();
    const early: () => void = guardForm(IdempotencyClient.lazy(options), form, {
      operation: "checkout:2",
      mode: "native",
      ifUnavailable: "block",
    });
    early();
  }
  client.close();
}

export function explain(error: unknown): string {
  if (!(error instanceof IdempotencyError)) return String(error);
  const code: Code = error.code;
  const intent: PendingIntent | undefined = error.intent;
  switch (code) {
    case "in-progress":
    case "unresolved":
    case "unknown":
    case "rejected":
    case "mismatch":
    case "needs-reconcile":
    case "abandoned":
    case "outcome-lost":
    case "key-lost":
    case "payload":
    case "payload-needed":
    case "operation":
    case "options":
    case "principal":
    case "storage":
    case "unsupported":
    case "wasm-blocked":
    case "aborted":
    case "closed":
      return `${code} ${intent?.operation ?? ""}`;
    default: {
      // The list is closed: nothing is left for this arm.
      const none: never = code;
      return none;
    }
  }
}

export async function others(): Promise<string> {
  const clock = new ManualClock();
  clock.advance(1_000);
  const tested = await openTestClient({ clock });
  const served = await Served.open({ wasm: new URL("https://example.com/client.wasm") });
  const inlined = await Inlined.open();
  for (const client of [tested, served, inlined]) client.close();
  return newKey();
}

export async function mistakes(client: IdempotencyClient): Promise<void> {
  // @ts-expect-error An operation is needed.
  await client.fetch("/api/pay", { method: "POST" });
  // @ts-expect-error A wish of the closed list.
  await client.submit("pay:1", 1, async () => 1, { ifBusy: "perhaps" });
  // @ts-expect-error A client is opened, not constructed.
  new IdempotencyClient();
  // @ts-expect-error An event of the closed list.
  client.on("nonsense", () => {});
  // @ts-expect-error What happened has to be said.
  await client.resolve("pay:1", "key", {});
  // @ts-expect-error The mode is the client's to say.
  client.mode = "memory";
}
