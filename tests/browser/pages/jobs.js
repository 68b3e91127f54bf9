// Scripts that a test starts and comes back to, and errors as data.

const jobs = new Map();

/** An error as plain data, with everything that a caller of the client may read. */
globalThis.describe = (error) => {
  if (typeof error !== "object" || error === null) {
    return { name: typeof error, message: String(error) };
  }
  const isOurs = globalThis.lib?.IdempotencyError && error instanceof lib.IdempotencyError;
  return {
    name: error.name,
    message: error.message,
    code: error.code,
    isOurs: Boolean(isOurs),
    intent: error.intent && JSON.parse(JSON.stringify(error.intent)),
    cause: error.cause && String(error.cause),
    status: error.status,
  };
};

globalThis.startJob = (name, run) => {
  const job = run();
  // Its end is asked for later.
  job.catch(() => {});
  jobs.set(name, job);
};

globalThis.endOfJob = (name) => jobs.get(name);

/** Waits until `is` says so, looking again after each task of the page. */
globalThis.until = async (is) => {
  for (;;) {
    const value = await is();
    if (value) {
      return value;
    }
    await new Promise((resolve) => {
      const channel = new MessageChannel();
      channel.port1.onmessage = () => {
        channel.port1.close();
        resolve();
      };
      channel.port2.postMessage(null);
    });
  }
};

/** Waits until all tabs have come to this meeting, then until `laterMs` after that. */
globalThis.meet = async (tabs, name, laterMs = 0) => {
  await fetch(`/meeting/${tabs}/${name}`, { cache: "no-store" });
  const start = performance.now();
  while (performance.now() < start + laterMs) {
    // A timer may fire late; this does not.
  }
};
