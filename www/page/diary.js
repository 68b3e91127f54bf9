// What happened, for the time axis and the list of requests: shared by all tabs, kept over reloads.

import { readVisit, visit } from "./visit.js";

const SHELF = "idempotency-demo-diary";
const ENTRIES_MAX = 200;

const TAB = "idempotency-demo-tab";

/** Whether this is the second tab that lies beside the page, in a frame of it. */
export const isBeside = new URLSearchParams(location.search).has("beside");

// A frame shares the storage of the tab that it lies in.
sessionStorage.setItem(TAB, sessionStorage.getItem(TAB) ?? crypto.randomUUID());
const tab = `${isBeside ? "beside " : ""}${sessionStorage.getItem(TAB)}`;

const channel = new BroadcastChannel("idempotency-demo");
const listeners = new Set();
let entries = [];

try {
  entries = JSON.parse(sessionStorage.getItem(SHELF)) ?? [];
} catch {
  // A diary of nobody's is none.
}
// What was under way when this tab was left has no end that anybody here saw.
for (const entry of entries) {
  if (entry.kind === "request" && !entry.ending && entry.tab === tab) {
    const reload = entries.find(({ kind, at }) => kind === "reload" && at > entry.at);
    Object.assign(entry, { ending: "left", endedAt: reload?.at ?? Date.now() });
  }
}

channel.onmessage = ({ data }) => {
  if (data.turned) {
    followOrder(data.turned);
  } else if (data.entry?.token === visit.token) {
    put(data.entry);
  }
};

addEventListener("storage", () => followOrder());

/** Goes on to the order that another tab has begun, if there is one: before each press, too. */
export function followOrder(said) {
  const { token } = visit;
  readVisit(said);
  if (visit.token !== token) tell({ turned: true });
}

/** Calls back after every change; `turned` says that the order is another one. */
export function onDiary(listener) {
  listeners.add(listener);
}

function tell(change) {
  for (const listener of listeners) listener(change);
}

function put(entry) {
  const at = entries.findIndex(({ id }) => id === entry.id);
  if (at < 0) entries.push(entry);
  else entries[at] = entry;
  entries = entries.slice(-ENTRIES_MAX);
  sessionStorage.setItem(SHELF, JSON.stringify(entries));
  tell({});
}

/** Notes something; what is returned changes it later. */
export function note(kind, lane, more = {}) {
  const { token } = visit;
  let entry = { id: crypto.randomUUID(), kind, lane, token, at: Date.now(), tab };
  const write = (changes) => {
    entry = { ...entry, ...changes };
    if (entry.token === visit.token) put(entry);
    channel.postMessage({ entry });
  };
  write(more);
  return write;
}

/** What happened to this order, in order. */
export const diary = () =>
  entries.filter(({ token }) => token === visit.token).sort((a, b) => a.at - b.at);

/** Whether something happened in another tab. */
export const isElsewhere = (entry) => entry.tab !== tab;

/** Says to all tabs that there is a new order. */
export function turnPage() {
  channel.postMessage({ turned: visit });
  tell({ turned: true });
}
