// The client's database as a person sees it in the developer tools, and as a bad day leaves it.

const request = (made) =>
  new Promise((resolve, reject) => {
    made.onsuccess = () => resolve(made.result);
    made.onerror = () => reject(made.error);
  });

globalThis.database = async (name = "idempotency") => {
  const database = await request(indexedDB.open(name));
  // Somebody else's upgrade or deletion must not wait for a test.
  database.onversionchange = () => database.close();
  return database;
};

const committed = (transaction) =>
  new Promise((resolve, reject) => {
    transaction.oncomplete = resolve;
    transaction.onabort = () => reject(transaction.error);
  });

/** Every record of every intent. */
globalThis.records = async (name) => {
  const open = await database(name);
  const all = await request(open.transaction("intents").objectStore("intents").getAll());
  open.close();
  return all;
};

/** Rewrites every record; what becomes `undefined` is deleted. */
globalThis.rewrite = async (change, name) => {
  const open = await database(name);
  const transaction = open.transaction("intents", "readwrite");
  const store = transaction.objectStore("intents");
  const keys = await request(store.getAllKeys());
  for (const key of keys) {
    const changed = change(await request(store.get(key)));
    if (changed === undefined) {
      store.delete(key);
    } else {
      store.put(changed, key);
    }
  }
  await committed(transaction);
  open.close();
  return keys.length;
};

const EPOCH_MS = 1_500_000_000_000;

/** As if everything stored had happened so much earlier: what a laptop finds that slept. */
globalThis.sleepFor = (ms, name) =>
  rewrite((record) => {
    for (const [member, value] of Object.entries(record)) {
      if (typeof value === "number" && value > EPOCH_MS) {
        record[member] = value - ms;
      }
    }
    return record;
  }, name);

globalThis.forgetEverything = (name = "idempotency") => request(indexedDB.deleteDatabase(name));
