// Charges in claim mode: the effect lies outside of the ledger's file, so a crash can leave a key
// interrupted, and a person decides what became of it. They belong to no order: a new order, a
// reload or another tab leaves the question open.

import { IdempotencyClient } from "../client/index.js";
import { effects } from "./bank.js";
import { euros } from "./card.js";
import { isBeside } from "./diary.js";
import { shortKey } from "./lanes.js";
import { Turn } from "./turn.js";
import { AMOUNT, chargesToken } from "./visit.js";
import { fetch } from "./watched_fetch.js";

const PREFIX = "charge:";

const find = (id) => document.getElementById(id);

/** The panel, with a client of its own. */
export async function openEngineers(dbName) {
  return new Engineers(await IdempotencyClient.open({ dbName, principal: chargesToken }));
}

class Engineers {
  #client;
  /** The intent that waits for a decision, and how often its key was asked for. */
  #undecided;
  #turn = new Turn("charge", "charge-crash", "happened", "not-happened");

  constructor(client) {
    this.#client = client;
    const on = (id, act) => find(id).addEventListener("click", () => this.#once(act));
    on("charge", () => this.#charge());
    on("charge-crash", () => this.#charge("crash-after-effect"));
    on("happened", () => this.#decide(true));
    on("not-happened", () => this.#decide(false));
    find("engineers").addEventListener("toggle", () => this.#countCharges());
  }

  /** After a reload: asks again for what has no outcome, under its own key. */
  async goOn() {
    if (isBeside) return;
    await this.#once(async () => {
      const left = await this.#open();
      if (!left) return;
      this.#show("A charge from before has no outcome. It is asked for again, with its own key.");
      await this.#follow(left.operation, () => this.#resume(left.operation));
    });
  }

  /** One thing at a time; an error is told. */
  async #once(act) {
    const isDone = await this.#turn.take(() =>
      act().catch((error) => {
        this.#show(`Nothing is known beyond the network's list: ${error.message}`, "bad");
      }),
    );
    if (isDone) await this.#countCharges();
  }

  #show(text, tone = "none") {
    find("charge-status").textContent = text;
    find("charge-status").dataset.tone = tone;
    const decision = find("decision");
    // The focus does not go with the buttons.
    if (!this.#undecided && decision.contains(document.activeElement)) find("charge").focus();
    decision.hidden = !this.#undecided;
  }

  /** The charge without an outcome, whichever tab or page life left it. */
  async #open() {
    const open = await this.#client.pending();
    return open.find(({ operation }) => operation.startsWith(PREFIX));
  }

  async #charge(fault) {
    const left = await this.#open();
    if (!left) this.#undecided = undefined;
    this.#show(
      left
        ? "Asking again for the charge that has no outcome, with its own key \u2026"
        : "The key is claimed, then the network charges \u2026",
    );
    const operation = left?.operation ?? `${PREFIX}${Date.now()}`;
    const payload = { customer: chargesToken(), amount: AMOUNT, currency: "EUR" };
    await this.#follow(operation, () => this.#client.submit(operation, payload, sender(fault)));
  }

  /** Never a new charge. */
  #resume(operation) {
    return this.#client.resume(operation, sender());
  }

  async #follow(operation, ask) {
    let outcome;
    try {
      outcome = await ask();
    } catch (error) {
      if (error.code !== "needs-reconcile") throw error;
      return this.#ask(operation, error.intent.key);
    }
    this.#undecided = undefined;
    if (!outcome?.value?.json) {
      return this.#show("A person has decided it elsewhere. The next press is a new charge.");
    }
    const { id } = await outcome.value.json();
    this.#show(`Charged once; charge no. ${id} is stored under its key.`, "good");
  }

  async #ask(operation, key) {
    const isSame = this.#undecided?.key === key;
    const asked = isSame ? this.#undecided.asked + 1 : 1;
    this.#undecided = { operation, key, asked };
    const again = asked > 1 ? `Asked ${asked} x, and still interrupted` : "Interrupted";
    find("network-says").textContent = await this.#listed(key);
    this.#show(`${again}: it may have happened or not. It is not run again; you decide.`, "doubt");
  }

  async #listed(key) {
    const count = await chargesUnder(key).catch(() => undefined);
    const list =
      count === undefined
        ? "The network's own list cannot be read right now"
        : `The network's own list: key ${shortKey(key)} was charged ${count} x`;
    return `${list}. What became of it?`;
  }

  /** What the network was told in all, whoever decided what. */
  async #countCharges() {
    const rows = await effects(chargesToken()).catch(() => undefined);
    find("network-count").textContent = rows
      ? totals(rows)
      : "The network's own list cannot be read right now.";
  }

  async #decide(happened) {
    if (!this.#undecided) return;
    const { operation, key } = this.#undecided;
    this.#undecided = undefined;
    const left = await this.#open();
    if (left?.key !== key) {
      return this.#show("Somebody has decided it meanwhile. The next press is a new charge.");
    }
    const value = happened ? { decided: "by a person", key } : undefined;
    if (!(await this.#client.resolve(operation, key, { happened, value }))) {
      return this.#show("Somebody is asking for it at this moment. Press Charge to see.", "doubt");
    }
    await (happened ? this.#showReplay(operation) : this.#showRelease(key));
  }

  /** What whoever asks for the same charge gets now. */
  async #showReplay(operation) {
    const { status, value } = await this.#resume(operation);
    this.#show(
      `Decided: it happened. Asked again, the same charge is ${status}: nothing is sent, and the ` +
        `answer is ${JSON.stringify(value)}. On the server: idem resolve.`,
      "good",
    );
  }

  async #showRelease(key) {
    const count = await chargesUnder(key).catch(() => 0);
    const warning =
      count > 0
        ? `Decided against the network's list, which has it ${count} x: the next press gets a ` +
          "new key, and charges once more."
        : "Decided: it did not happen; the next press gets a new key.";
    this.#show(`${warning} On the server: idem resolve.`, count > 0 ? "bad" : "good");
  }
}

function totals(rows) {
  const count = rows.reduce((sum, row) => sum + row.count, 0);
  if (count === 0) return "The network has charged nothing yet.";
  const keys = rows.length === 1 ? "1 key" : `${rows.length} keys`;
  return `The network has charged ${count} x, ${euros(count)}, under ${keys}.`;
}

async function chargesUnder(key) {
  const row = (await effects(chargesToken())).find((effect) => effect.key === key);
  return row?.count ?? 0;
}

/** Sends a charge; its first attempt meets the fault. */
function sender(fault) {
  let armed = fault;
  return ({ header, payload, signal }) => {
    const [now, headers] = [armed, { "Content-Type": "application/json" }];
    armed = undefined;
    headers["Idempotency-Key"] = header;
    const body = JSON.stringify(payload);
    const init = { method: "POST", headers, body, signal };
    return fetch("api/charges", { ...init, fault: now, token: chargesToken() });
  };
}
