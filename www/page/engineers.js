// Charges in claim mode: the effect lies outside of the ledger's file, so a crash can leave a key
// interrupted, and a person decides what became of it. They belong to no order: a new order, a
// reload or another tab leaves the question open.

import { IdempotencyClient } from "../client/index.js";
import { effects } from "./bank.js";
import { euros } from "./card.js";
import { shortKey } from "./lanes.js";
import { AMOUNT, chargesToken } from "./visit.js";
import { fetch } from "./watched_fetch.js";

const PREFIX = "charge:";

const find = (id) => document.getElementById(id);

/** The panel; it goes on with what an earlier life of the page left open. */
export async function openEngineers(dbName) {
  const client = await IdempotencyClient.open({ dbName, principal: chargesToken });
  const engineers = new Engineers(client);
  await engineers.goOn();
  return engineers;
}

class Engineers {
  #client;
  /** The intent that waits for a decision, and how often its key was asked for. */
  #undecided;

  constructor(client) {
    this.#client = client;
    find("charge").addEventListener("click", () => this.#charge());
    find("charge-crash").addEventListener("click", () => this.#charge("crash-after-effect"));
    find("happened").addEventListener("click", () => this.#decide(true));
    find("not-happened").addEventListener("click", () => this.#decide(false));
    find("engineers").addEventListener("toggle", () => this.#countCharges());
  }

  /** After a reload: asks again for what has no outcome, under its own key. */
  async goOn() {
    const open = await this.#client.pending();
    const left = open.find(({ operation }) => operation.startsWith(PREFIX));
    if (!left) return;
    this.#show("A charge from before has no outcome. It is asked for again, with its own key.");
    await this.#follow(left.operation, () => this.#client.resume(left.operation, sender()));
  }

  #show(text, tone = "none") {
    find("charge-status").textContent = text;
    find("charge-status").dataset.tone = tone;
    find("decision").hidden = !this.#undecided;
  }

  async #charge(fault) {
    // Another tab may have left or decided one meanwhile.
    const open = await this.#client.pending();
    const left = open.find(({ operation }) => operation.startsWith(PREFIX));
    if (!left) this.#undecided = undefined;
    const operation = left?.operation ?? `${PREFIX}${Date.now()}`;
    this.#show(
      left
        ? "Asking again for the charge that is not decided, with its own key \u2026"
        : "The key is claimed, then the network charges \u2026",
    );
    await this.#follow(operation, () => this.#submit(operation, fault));
  }

  #submit(operation, fault) {
    const payload = { customer: chargesToken(), amount: AMOUNT, currency: "EUR" };
    return this.#client.submit(operation, payload, sender(fault));
  }

  async #follow(operation, ask) {
    try {
      const outcome = await ask();
      if (!outcome) return;
      const { id } = await outcome.value.json();
      this.#undecided = undefined;
      this.#show(`Charged once; charge no. ${id} is stored under its key.`, "good");
    } catch (error) {
      if (error.code === "needs-reconcile") await this.#ask(operation, error.intent.key);
      else this.#show(error.message, "bad");
    }
    await this.#countCharges();
  }

  async #ask(operation, key) {
    const isSame = this.#undecided?.key === key;
    const asked = isSame ? this.#undecided.asked + 1 : 1;
    this.#undecided = { operation, key, asked };
    const count = await chargesUnder(key);
    find("network-says").textContent =
      `The network's own list: key ${shortKey(key)} was charged ${count} x. What became of it?`;
    const again = asked > 1 ? `Asked ${asked} x, and still interrupted` : "Interrupted";
    this.#show(`${again}: it may have happened or not. It is not run again; you decide.`, "doubt");
  }

  /** What the network was told in all, whoever decided what. */
  async #countCharges() {
    const rows = await effects(chargesToken()).catch(() => []);
    const count = rows.reduce((sum, row) => sum + row.count, 0);
    const keys = rows.length === 1 ? "1 key" : `${rows.length} keys`;
    find("network-count").textContent =
      count === 0
        ? "The network has charged nothing yet."
        : `The network has charged ${count} x, ${euros(count)}, under ${keys}.`;
  }

  async #decide(happened) {
    const { operation, key } = this.#undecided;
    const value = happened ? { decided: "by a person", key } : undefined;
    await this.#client.resolve(operation, key, { happened, value });
    this.#undecided = undefined;
    await (happened ? this.#showReplay(operation) : this.#showRelease(key));
    await this.#countCharges();
  }

  /** Whoever asks for the same charge now. */
  async #showReplay(operation) {
    const { status, value } = await this.#submit(operation);
    this.#show(
      `Decided: it happened. Asked again, the same charge is ${status}: nothing is sent, and the ` +
        `answer is ${JSON.stringify(value)}. On the server: idem resolve.`,
      "good",
    );
  }

  async #showRelease(key) {
    const count = await chargesUnder(key);
    const warning =
      count > 0
        ? `Decided against the network's list, which has it ${count} x: the next press gets a ` +
          "new key, and charges once more."
        : "Decided: it did not happen; the next press gets a new key.";
    this.#show(`${warning} On the server: idem resolve.`, count > 0 ? "bad" : "good");
  }
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
