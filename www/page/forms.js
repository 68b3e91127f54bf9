// The two forms and their buttons: what a press does, and what the form then says.

import { Card, NOT_YET } from "./card.js";
import { followOrder, note } from "./diary.js";
import { payGuarded, send } from "./guarded_form.js";
import { payOrdinary } from "./ordinary_form.js";
import { meanOneMore, orderId, transferFrom } from "./visit.js";

const OFFLINE = "No network: the key is kept, and it is sent when the network is back.";

/** Before that, the client takes a press for the rest of the one that paid, acknowledged or not. */
const MEANT_AFTER_MS = 1_100;

/** The form without a key. */
export class OrdinaryForm {
  card = new Card("ordinary");

  constructor() {
    this.card.button.addEventListener("click", () => this.#pay());
  }

  async #pay() {
    followOrder();
    note("press", "ordinary");
    this.card.show("Sending \u2026");
    await payOrdinary(this.card.button, transferFrom("ordinary"), (text) => {
      this.card.show(text, text.startsWith("Paid") ? "good" : "bad");
    });
  }

  /** Another order: nothing of this one is known any more. */
  forget() {
    this.card.show(NOT_YET);
  }
}

/** The form with the client. */
export class GuardedForm {
  card = new Card("guarded");
  /** The key of the receipt that is shown, for `acknowledge`. */
  #key;
  #client;
  #onReceipt;
  #opening;

  constructor(client, onReceipt) {
    this.#client = client;
    this.#onReceipt = onReceipt;
    this.card.button.addEventListener("click", () => this.#pay());
    const isPayment = ({ operation }) => operation === `pay:${orderId()}`;
    client.on("attempt", (event) => {
      if (isPayment(event)) this.card.show(sending(event.attempt));
    });
    client.on("retry", (event) => {
      if (!isPayment(event)) return;
      this.card.show("No answer, so nobody knows. Asking again with the same key.", "doubt");
    });
  }

  async #pay() {
    followOrder();
    note("press", "guarded");
    // The client waits for the network, and sends nothing meanwhile.
    if (!navigator.onLine) this.card.show(OFFLINE, "doubt");
    await this.#follow(() => this.#payOnce());
  }

  #payOnce() {
    return payGuarded(this.#client, orderId(), transferFrom("guarded"));
  }

  /** After a reload: goes on with what was under way, or shows the receipt again. */
  async resume() {
    await this.#follow(() => this.#client.resume(`pay:${orderId()}`, send), true);
  }

  /** The receipt was seen, and one more payment is meant. */
  async payAgainOnPurpose() {
    const key = this.#key;
    // Until the next receipt there is none to acknowledge.
    this.#setKey(undefined);
    await this.#client.acknowledge(`pay:${orderId()}`, key);
    meanOneMore();
    note("purpose", "guarded");
    await this.#follow(() => this.#payOnce());
  }

  #setKey(key) {
    this.#key = key;
    clearTimeout(this.#opening);
    this.#onReceipt(undefined);
    if (key === undefined) return;
    this.#opening = setTimeout(() => this.#onReceipt(key), MEANT_AFTER_MS);
  }

  async #follow(pay, isResumed = false) {
    const id = orderId();
    try {
      const outcome = await pay();
      if (!outcome || id !== orderId()) return;
      const receipt = await outcome.value.json();
      const hasJoined = outcome.status === "joined" && !isResumed;
      if (hasJoined) note("joined", "guarded", { key: outcome.key });
      const paid = hasJoined ? "Joined: the same receipt" : "Paid, receipt";
      this.card.show(`${paid} no. ${receipt.id}.`, "good");
      this.#setKey(outcome.key);
    } catch (error) {
      if (id === orderId()) this.card.show(await excuse(error), "bad");
    }
  }

  forget() {
    this.#setKey(undefined);
    this.card.show(NOT_YET);
  }
}

function sending(attempt) {
  return attempt > 1
    ? `Sending again, attempt ${attempt}, the same key.`
    : "Sending; the key is kept.";
}

async function excuse(error) {
  if (error.code === "rejected" && error.cause?.json) {
    const { title } = await error.cause.json();
    return `Refused, and nothing was charged: ${title}.`;
  }
  if (error.code === "key-lost") {
    return (
      "The browser's store was cleared, and the key of this order with it, so nothing is sent. " +
      "See what the bank says, then press New order."
    );
  }
  if (error.code === "unknown") return "Nobody knows yet. Press Pay again: it is the same key.";
  return `${error.message}`;
}
