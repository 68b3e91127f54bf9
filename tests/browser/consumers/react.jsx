// A payment button under StrictMode, whose effects run twice.
import { StrictMode, useEffect, useState } from "react";
import { createRoot } from "react-dom/client";
import { IdempotencyClient } from "@idempotency-ledger/client";
import { useIdempotentSubmit } from "@idempotency-ledger/client/react";

const client = IdempotencyClient.lazy();
client.then((opened) => {
  window.client = opened;
});
window.effects = 0;

const send = async ({ header, payload }) => {
  const response = await fetch("/api/pay", {
    method: "POST",
    headers: { "Idempotency-Key": header, "X-Page": String(performance.timeOrigin) },
    body: JSON.stringify(payload),
  });
  if (!response.ok) {
    throw Object.assign(new Error("refused"), { status: response.status });
  }
  return response.json();
};

function Payment({ order }) {
  const retry = { maxAttempts: 2, baseMs: 5, maxMs: 10 };
  const hook = useIdempotentSubmit({ client, operation: `pay:${order}`, send, retry });
  const { submit, resume, acknowledge, status, outcome, error, pending } = hook;
  useEffect(() => {
    window.effects += 1;
  }, []);
  const pay = () => submit({ order, amount: 25 }).catch(() => {});
  return (
    <div>
      <button id="pay" onClick={pay}>
        Pay
      </button>
      <button
        id="pay-and-next"
        onClick={() => {
          pay();
          window.setOrder("order-2");
        }}
      >
        Pay, then the next order
      </button>
      <button id="resume" onClick={() => resume().catch(() => {})}>
        Go on
      </button>
      <button id="acknowledge" onClick={acknowledge}>
        Seen
      </button>
      <output
        id="state"
        data-status={status}
        data-receipt={outcome?.value.receipt ?? ""}
        data-code={error?.code ?? ""}
        data-pending={pending?.key ?? ""}
      />
    </div>
  );
}

function Shop() {
  const [order, setOrder] = useState("order-1");
  const [isOpen, setOpen] = useState(true);
  window.setOrder = setOrder;
  window.setOpen = setOpen;
  return isOpen ? <Payment order={order} /> : null;
}

createRoot(document.querySelector("#root")).render(
  <StrictMode>
    <Shop />
  </StrictMode>,
);
