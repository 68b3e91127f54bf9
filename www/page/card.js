// What both cards show: their status, what the bank says, and the code that runs.

import { AMOUNT } from "./visit.js";

/** What a form says that nobody has pressed. */
export const NOT_YET = "Not paid yet.";

/** `50 EUR` from the number of payments. */
export const euros = (count) => `${(count * AMOUNT) / 100} EUR`;

export class Card {
  #element;
  #tone = "none";
  #bank = { count: 0, meant: 1 };

  constructor(lane) {
    this.#element = document.getElementById(lane);
    this.button = this.#find(".pay");
  }

  #find(selector) {
    return this.#element.querySelector(selector);
  }

  /** How the payment stands, as the form itself sees it. */
  show(text, tone = "none") {
    const status = this.#find(".status");
    status.textContent = text;
    status.dataset.tone = tone;
    this.#tone = tone;
    this.#judge();
    // Only how it ended is worth an interruption.
    const isEnd = tone === "good" || tone === "bad";
    const title = this.#find("h2").textContent;
    this.#find(".spoken").textContent = isEnd ? `${title}: ${text}` : "";
  }

  /** What the bank has, and whether that is what was meant. */
  showBank(count, meant) {
    this.#bank = { count, meant };
    this.#judge();
  }

  #judge() {
    const { count, meant } = this.#bank;
    const verdict = this.#find(".verdict");
    const tone = toneOf(count, meant);
    verdict.dataset.tone = tone;
    this.#find(".sum").textContent = sumOf(count, tone);
    const knows = this.#tone !== "bad" && this.#find(".status").textContent !== NOT_YET;
    this.#find(".word").textContent = wordOf(count, tone, knows);
  }

  /** Somebody else presses: a visible sign of it. */
  press() {
    this.button.classList.remove("pressed");
    // Read, so that the animation starts anew.
    void this.button.offsetWidth;
    this.button.classList.add("pressed");
    this.button.click();
  }

  /** Loads the module that runs, and shows what is in it beside comments and imports. */
  async showCode(path) {
    const text = await (await fetch(path)).text();
    const lines = text.split("\n");
    const from = lines.findIndex((line) => line.startsWith("export"));
    this.#find("pre code").textContent = lines.slice(from).join("\n").trim();
  }
}

export function toneOf(count, meant) {
  if (count === 0) return "none";
  return count > meant ? "wrong" : "right";
}

export function sumOf(count, tone) {
  if (count === 0) return "nothing charged yet";
  return tone === "wrong" ? `charged ${count} x, ${euros(count)}` : `${count} x, ${euros(count)}`;
}

function wordOf(count, tone, knows) {
  if (tone === "wrong") return "Too much for one order";
  if (tone === "none") return "\u00a0";
  if (!knows) return "Right so far, but the form does not know";
  return count > 1 ? "Right: each one was meant" : "Right";
}
