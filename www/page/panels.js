// The closed panels: what the browser keeps, and what went over the wire.

import { diary, onDiary } from "./diary.js";
import { chargesToken, visit } from "./visit.js";

/** Shows a panel anew whenever something happens while it is open. */
function keepFresh(id, show) {
  const panel = document.getElementById(id);
  const inside = panel.querySelector(".inside");
  const refresh = () => panel.open && show(inside);
  panel.addEventListener("toggle", refresh);
  onDiary(refresh);
  return refresh;
}

export function watchPanels(client, dbName) {
  keepFresh("requests", showRequests);
  const refresh = keepFresh("records", async (inside) => {
    try {
      showRecords(inside, await intents(dbName));
    } catch (error) {
      inside.textContent = `The records cannot be read: ${error.message ?? error}`;
    }
  });
  for (const change of ["claimed", "attempt", "retry", "done", "joined", "unknown"]) {
    client.on(change, refresh);
  }
}

function element(name, text, className) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  if (className) made.className = className;
  return made;
}

function code(text, label) {
  const pre = element("pre", text);
  // What scrolls can be reached with the keyboard.
  pre.tabIndex = 0;
  pre.setAttribute("aria-label", label);
  return pre;
}

function showRequests(inside) {
  const requests = diary().filter(({ kind }) => kind === "request");
  if (requests.length === 0) {
    inside.replaceChildren(element("p", "Nothing was sent for this order yet."));
    return;
  }
  const items = requests.map((request, at) => {
    const label = `Request ${at + 1}: ${request.lane}`;
    return code(`${requestText(request.sent)}\n\n${answerText(request)}`, label);
  });
  inside.replaceChildren(...items);
}

const lines = (headers) => headers.map(([name, value]) => `${name}: ${value}`).join("\n");

function requestText({ path, headers, body }) {
  return `> POST ${path}\n${lines(headers)}\n\n${body}`;
}

function answerText({ got, ending }) {
  if (!got) return ending ? `< no answer (${ending})` : "< ...";
  return `< ${got.status}\n${lines(got.headers)}\n\n${got.body}`;
}

/** The client's own database, read beside it. */
async function intents(dbName) {
  const request = indexedDB.open(dbName);
  const database = await new Promise((resolve, reject) => {
    request.onsuccess = () => resolve(request.result);
    request.onerror = () => reject(request.error);
  });
  try {
    const store = database.transaction("intents").objectStore("intents");
    const read = store.getAll();
    return await new Promise((resolve, reject) => {
      read.onsuccess = () => resolve(read.result);
      read.onerror = () => reject(read.error);
    });
  } finally {
    database.close();
  }
}

function showRecords(inside, records) {
  const mine = [visit.token, chargesToken()];
  const own = records.filter(({ principal }) => mine.includes(principal));
  own.sort((a, b) => a.createdAt - b.createdAt);
  if (own.length === 0) {
    inside.replaceChildren(element("p", "The browser keeps nothing for this order yet."));
    return;
  }
  const items = own.map((record) => code(recordText(record), `Record of ${record.operation}`));
  inside.replaceChildren(...items);
}

function recordText(record) {
  const plain = (_, value) => {
    const bytes = value instanceof ArrayBuffer ? new Uint8Array(value) : value;
    return ArrayBuffer.isView(bytes) ? hex(bytes) : value;
  };
  return JSON.stringify(record, plain, 2);
}

function hex(bytes) {
  const shown = Array.from(bytes.slice(0, 8), (byte) => byte.toString(16).padStart(2, "0")).join(
    "",
  );
  return bytes.length > 8 ? `${shown}... (${bytes.length} bytes)` : shown;
}
