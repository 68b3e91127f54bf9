"use client";
// A hook over a client. The client's own guard is what makes it safe: effects that run twice,
// and components that come and go, only add and remove listeners.

import { useCallback, useEffect, useRef, useState } from "react";
import { isLeftToUser } from "./leftover.js";

const IDLE = { status: "idle", outcome: null, error: null };

/** See `react.d.ts`. */
export function useIdempotentSubmit(options) {
  const { client, operation } = options;
  const latest = useRef(options);
  latest.current = options;
  const [state, setState] = useState(IDLE);
  const [pending, setPending] = useState(null);
  // Which call the state belongs to: a slow answer must not hide a newer one.
  const newest = useRef(0);

  const follow = useCallback(async (start) => {
    const number = ++newest.current;
    const isNewest = () => newest.current === number;
    setState({ status: "pending", outcome: null, error: null });
    try {
      const outcome = await start(await latest.current.client);
      if (isNewest()) setState(outcome ? { status: "success", outcome, error: null } : IDLE);
      return outcome;
    } catch (error) {
      if (isNewest()) setState({ status: "error", outcome: null, error });
      throw error;
    } finally {
      intentOf(latest.current)
        .catch(() => null)
        .then((intent) => isNewest() && setPending(intent));
    }
  }, []);

  // What is bought is what was shown at the click, even if the next render shows something else.
  const submit = useCallback(
    (payload) => {
      const { operation, send, ...options } = latest.current;
      return follow((client) => client.submit(operation, payload, send, callOptions(options)));
    },
    [follow],
  );

  const resume = useCallback(() => {
    const { operation, send, ...options } = latest.current;
    return follow((client) => client.resume(operation, send, callOptions(options)));
  }, [follow]);

  const acknowledge = useCallback(async () => {
    const { outcome } = state;
    if (!outcome) return false;
    return (await latest.current.client).acknowledge(latest.current.operation, outcome.key);
  }, [state]);

  useEffect(() => {
    let isMounted = true;
    newest.current++;
    setState(IDLE);
    setPending(null);
    pickUp().catch((error) => isMounted && setState({ status: "error", outcome: null, error }));
    return () => {
      isMounted = false;
      newest.current++;
    };

    /** What an earlier page life left: resumed while it is fresh, shown to the user later. */
    async function pickUp() {
      const intent = await intentOf(latest.current);
      if (!isMounted) return;
      setPending(intent);
      if (isLeftToUser(intent, Date.now())) return;
      // What it throws is in the state.
      if (intent) return void (await resume().catch(() => {}));
      // An outcome may have come before its receipt was shown.
      const { send } = latest.current;
      const outcome = await (await client).resume(operation, send, callOptions(latest.current));
      if (isMounted && outcome) setState({ status: "success", outcome, error: null });
    }
  }, [client, operation, resume]);

  return { submit, resume, acknowledge, ...state, pending };
}

async function intentOf({ client, operation }) {
  const opened = await client;
  const intents = opened ? await opened.pending() : [];
  return intents.find((intent) => intent.operation === operation) ?? null;
}

function callOptions({ ifBusy, onChanged, signal, retry }) {
  return { ifBusy, onChanged, signal, retry };
}
