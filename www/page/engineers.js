// Charges in claim mode: the effect lies outside of the ledger's file, so a crash can leave a key
// interrupted, and a person decides what became of it.

import { effects } from "./bank.js";
import { onDiary } from "./diary.js";
import { shortKey } from "./lanes.js";
import { AMOUNT, orderId, visit } from "./visit.js";
import { fetch } from "./watched_fetch.js";

const find = (id) => document.getElementById(id);

export class Engineers {
  #client;
  #count = 0;
  /** The intent that waits for a decision. */
  #undecided;

  constructor(client) {
    this.#client = client;
    find("charge").addEventListener("click", () => this.#charge());
    find("charge-crash").addEventListener("click", () => this.#charge("crash-after-effect"));
    find("happened").addEventListener("click", () => this.#decide(true));
    find("not-happened").addEventListener("click", () => this.#decide(false));
    onDiary(({ turned }) => turned && this.#show("No charge yet."));
  }

  #show(text, tone = "none") {
    find("charge-status").textContent = text;
    find("charge-status").dataset.tone = tone;
    find("decision").hidden = !this.#undecided;
  }

  async #charge(fault) {
    // An undecided charge is asked for again under its own key; a new one gets a new name.
    if (!this.#undecided) this.#count = (this.#count || Date.now()) + 1;
    const operation = `charge:${orderId()}:${this.#count}`;
    const payload = { customer: visit.token, amount: AMOUNT, currency: "EUR" };
    let armed = fault;
    const send = ({ header, payload, signal }) => {
      const [now, headers] = [armed, { "Content-Type": "application/json" }];
      armed = undefined;
      headers["Idempotency-Key"] = header;
      const body = JSON.stringify(payload);
      return fetch("api/charges", { method: "POST", headers, body, signal, fault: now });
    };
    this.#show("The key is claimed, then the network charges \u2026");
    try {
      const { value } = await this.#client.submit(operation, payload, send);
      const { id } = await value.json();
      this.#undecided = undefined;
      this.#show(`Charged once; charge no. ${id} is stored under its key.`, "good");
    } catch (error) {
      if (error.code === "needs-reconcile") await this.#ask(operation, error.intent.key);
      else this.#show(error.message, "bad");
    }
  }

  async #ask(operation, key) {
    this.#undecided = { operation, key };
    const row = (await effects()).find((effect) => effect.key === key);
    const count = row?.count ?? 0;
    find("network-says").textContent =
      `The network's own list: key ${shortKey(key)} was charged ${count} x. What became of it?`;
    const said = "Interrupted: it may have happened or not. It is not run again; you decide.";
    this.#show(said, "doubt");
  }

  async #decide(happened) {
    const { operation, key } = this.#undecided;
    const what = happened
      ? { happened, value: { decided: "by a person", key } }
      : { happened, value: undefined };
    await this.#client.resolve(operation, key, what);
    this.#undecided = undefined;
    this.#show(
      happened
        ? "Decided: it happened, and whoever asks again gets that. On the server: idem resolve."
        : "Decided: it did not happen; the next press gets a new key. On the server: idem resolve.",
      "good",
    );
  }
}
