// The one door to time, so that a test can bring its own.

/** The wall clock and the timers of the page. */
export const systemClock = {
  now: () => Date.now(),

  /** Resolves after `ms`, or as soon as `signal` aborts. */
  wait(ms, signal) {
    return new Promise((resolve) => {
      if (signal?.aborted) return resolve();
      // A timer beyond 2^31 ms would ring at once.
      const timer = setTimeout(done, Math.min(ms, 0x7fffffff));
      function done() {
        clearTimeout(timer);
        signal?.removeEventListener("abort", done);
        resolve();
      }
      signal?.addEventListener("abort", done);
    });
  },
};
