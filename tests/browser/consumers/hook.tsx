// A strict React component over the hook. It is only checked, never run.
import { IdempotencyClient } from "@idempotency-ledger/client";
import { useIdempotentSubmit } from "@idempotency-ledger/client/react";

interface Receipt {
  receipt: number;
}

const client = IdempotencyClient.lazy();

export function PayButton({ order }: { order: string }) {
  const { submit, resume, acknowledge, status, outcome, error, pending } = useIdempotentSubmit<
    { amount: number },
    Receipt
  >({
    client,
    operation: `pay:${order}`,
    send: async ({ header }) => {
      const headers = { "Idempotency-Key": header };
      const response = await fetch("/api/pay", { method: "POST", headers });
      return (await response.json()) as Receipt;
    },
  });
  const receipt: number | undefined = outcome?.value.receipt;
  return (
    <div>
      <button aria-busy={status === "pending"} onClick={() => void submit({ amount: 25 })}>
        Pay
      </button>
      {pending && <button onClick={() => void resume()}>Go on with {pending.operation}</button>}
      {receipt !== undefined && <p onClick={() => void acknowledge()}>{receipt}</p>}
      {error instanceof Error && <p>{error.message}</p>}
    </div>
  );
}
