// Web Locks, held for the life of an attempt.
//
// The callback of a lock never runs the action: `request` also rejects when its callback throws,
// and a fallback in that place would run the action twice.

import { storageError } from "./indexeddb.js";

/**
 * A lock, or null where `ifAvailable` found it taken or `signal` ended the wait.
 * `isLost` turns true when another page stole it.
 */
export function acquire(manager, name, options) {
  return new Promise((resolve, reject) => {
    let lease = null;
    const held = manager.request(name, options, (lock) => {
      if (!lock) return resolve(null);
      return new Promise((release) => {
        lease = { isLost: false, lock: options.steal ? "stolen" : "mine", release };
        resolve(lease);
      });
    });
    held.catch((error) => {
      if (lease) lease.isLost = true;
      else if (options.signal?.aborted) resolve(null);
      else reject(storageError(error));
    });
  });
}

/** The name of a slot's lock: prefixed, since a dash in front is refused, and with lengths. */
export function slotName(dbName, { principal, operation }) {
  const part = (text) => `${text.length}:${text}`;
  const owner = principal === null ? "-" : part(principal);
  return `idempotency:${part(dbName)}${owner}${part(operation)}`;
}
