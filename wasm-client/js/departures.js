// Pages that have ended, where no Web Lock shows it: what one of them held is free at once.
//
// The mark is written while the page unloads. A transaction would not come to its end then, so it
// lies in localStorage, beside the record; without it the record's lease decides as before.

// A page that ended before so many others did has a lease that is over, or none.
const KEPT = 16;

/** Marks this page when it unloads; what comes back says which holders have. */
export function departures({ settings, holder }) {
  const name = `idempotency.left:${settings.dbName}`;
  const read = () => {
    try {
      return JSON.parse(localStorage.getItem(name)) ?? [];
    } catch {
      return [];
    }
  };
  const change = (left) => {
    try {
      localStorage.setItem(name, JSON.stringify(left.slice(-KEPT)));
    } catch {
      // A page that may not write here waits for leases.
    }
  };
  globalThis.addEventListener?.("pagehide", () => change([...read(), holder]));
  // A page that comes back from the back/forward cache goes on, unless it was taken over since.
  globalThis.addEventListener?.("pageshow", ({ persisted }) => {
    if (persisted) change(read().filter((one) => one !== holder));
  });
  return read;
}
