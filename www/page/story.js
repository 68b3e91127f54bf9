// The stories that the page tells by itself: it presses the buttons that a visitor could press.

import { refund } from "./bank.js";
import { counts } from "./cashier.js";
import { diary, isBeside, note, turnPage } from "./diary.js";
import { Turn } from "./turn.js";
import { LANES, arm, nextOrder, visit } from "./visit.js";

const AFTER_RELOAD = "idempotency-demo-after-reload";
const RELOAD_AFTER_MS = 1_000;
const SLOW_IN_RELOAD = "slow=2500";
const SLOW_IN_TABS = "slow=1200";

/** What happens when, in milliseconds, in the twelve seconds. */
const PLAY = { press: 1_200, again: 6_500, verdict: 9_500, end: 12_000 };

const FAULTS = {
  "lose-response": "The bank charges, and its answer gets lost on the way back.",
  "fail-before": "The request gets lost on the way there. To the form it looks the same.",
  "slow=4000": "The bank is slow. The ordinary form gives up after 3 s; the bank does not.",
  "crash-after-effect": "The bank charges, crashes before it answers, and starts again.",
};

const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const say = (text) => (document.getElementById("caption").textContent = text);

export class Stories {
  #forms;
  /** One story at a time. */
  #turn = new Turn("play", "start-over", "reload", "second-tab");

  constructor(forms) {
    this.#forms = forms;
    const on = (id, tell) => document.getElementById(id).addEventListener("click", tell);
    on("play", () => this.#turn.take(() => this.#play()));
    on("start-over", () => this.#turn.take(() => this.#startOver()));
    on("reload", () => this.#turn.take(() => this.#reload()));
    on("second-tab", () => this.#turn.take(() => this.#secondTab()));
    document.getElementById("faults").addEventListener("change", ({ target }) => {
      this.#choose(target.value);
    });
    const chosen = document.querySelector(`input[value="${visit.fault}"]`);
    if (chosen) chosen.checked = true;
    // The page that this one lies beside presses its buttons.
    window.addEventListener("message", ({ origin, data }) => {
      if (origin === location.origin && data === "press") this.#pressBoth();
    });
  }

  #pressBoth() {
    this.#forms.ordinary.card.press();
    this.#forms.guarded.card.press();
  }

  /** Armed for an order that nobody has begun to pay; else chosen for the next. */
  #choose(fault) {
    if (this.#turn.isTaken) return;
    if (diary().some(({ lane }) => LANES.includes(lane))) {
      return say(`For the next order: ${FAULTS[fault]} Press New order, or Play.`);
    }
    arm(fault);
    say(`Armed: ${FAULTS[fault]}`);
  }

  #chosenFault() {
    return document.querySelector("input[name=fault]:checked").value;
  }

  /** A new order, and the money of the last one goes back in the meantime. */
  #newOrder(fault) {
    const { token } = visit;
    nextOrder(fault);
    turnPage();
    refund(token).catch(() => {
      // The accounts hold more than one order; the next one tries its own.
    });
  }

  async #startOver() {
    this.#newOrder(this.#chosenFault());
    say("A new order. Press Pay, as often as you like.");
  }

  async #play() {
    const fault = this.#chosenFault();
    const started = performance.now();
    const until = (moment) => pause(Math.max(0, started + moment - performance.now()));
    this.#newOrder(fault);
    showCards();
    const button = document.getElementById("play");
    button.classList.add("playing");
    say("One order, two forms. Both press Pay.");
    await until(PLAY.press);
    this.#pressBoth();
    await pause(700);
    say(FAULTS[fault]);
    await until(PLAY.again - 1_500);
    say("No receipt on the left: so the visitor presses again. On both sides.");
    await until(PLAY.again);
    // A person would not press a button that is disabled.
    await this.#buttonIsFree();
    this.#pressBoth();
    await until(PLAY.verdict);
    say(moral(fault));
    await until(PLAY.end);
    button.classList.remove("playing");
  }

  async #buttonIsFree() {
    const { button } = this.#forms.ordinary.card;
    for (let looks = 0; button.disabled && looks < 20; looks++) await pause(100);
  }

  async #reload() {
    this.#newOrder(SLOW_IN_RELOAD);
    say("Both press Pay, and the page is reloaded before the answer comes.");
    showCards();
    await pause(600);
    this.#pressBoth();
    await pause(RELOAD_AFTER_MS);
    note("reload", undefined);
    sessionStorage.setItem(AFTER_RELOAD, visit.token);
    location.reload();
    await new Promise(() => {});
  }

  /** The other half of that story, in the next life of the page. */
  async goOnAfterReload() {
    const isStory = !isBeside && sessionStorage.getItem(AFTER_RELOAD) === visit.token;
    const resumed = this.#forms.guarded.resume();
    if (!isStory) return resumed;
    sessionStorage.removeItem(AFTER_RELOAD);
    return this.#turn.take(async () => {
      say("Reloaded. The ledger's side found its key and asks again; the other has forgotten.");
      await resumed;
      await pause(1_600);
      say("So the visitor presses Pay again. On both sides.");
      await pause(600);
      this.#pressBoth();
      await pause(3_000);
      say("A reload forgets the form, not the key.");
    });
  }

  async #secondTab() {
    this.#newOrder(SLOW_IN_TABS);
    say("The same order in two tabs. Both tabs press Pay at the same moment.");
    const frame = await openBeside();
    showCards();
    await pause(700);
    frame.contentWindow.postMessage("press", location.origin);
    this.#pressBoth();
    await pause(3_500);
    say("Two tabs, one key: one of them sends, the other waits and gets the same receipt.");
  }
}

/** On a small screen the cards may lie above or below what is seen. */
function showCards() {
  const { top, bottom } = document.querySelector(".cards").getBoundingClientRect();
  if (top >= 0 && bottom <= innerHeight) return;
  const isCalm = matchMedia("(prefers-reduced-motion: reduce)").matches;
  const behavior = isCalm ? "instant" : "smooth";
  document.getElementById("caption").scrollIntoView({ block: "start", behavior });
}

/** What the story showed, in view of what the bank has. */
function moral(fault) {
  const { ordinary, guarded } = counts;
  if (ordinary < 1 || guarded < 1) return "The bank has not charged both yet.";
  if (ordinary > 1 && guarded <= visit.meant) {
    return "The same presses, the same accident. Only the key makes the difference.";
  }
  const why =
    fault === "fail-before"
      ? "Only the request was lost, so one payment each."
      : "One payment each, this time.";
  return `${why} The ordinary form was lucky: it cannot tell this from a lost answer.`;
}

/** The frame with the page once more, when its client is open. */
async function openBeside() {
  const place = document.getElementById("beside");
  const known = place.querySelector("iframe");
  if (known) return known;
  place.hidden = false;
  const frame = document.createElement("iframe");
  frame.title = "The same page in a second tab";
  frame.src = "./?beside";
  const ready = new Promise((resolve) => {
    window.addEventListener("message", ({ source, data }) => {
      if (source !== frame.contentWindow || !(data.height > 0)) return;
      frame.style.height = `${data.height}px`;
      resolve();
    });
  });
  place.append(frame);
  await Promise.race([ready, pause(10_000)]);
  return frame;
}

/** The page can be pressed. A frame tells the page around it, and how high it is. */
export function sayReady() {
  document.documentElement.dataset.ready = "yes";
  if (!isBeside) return;
  const tell = () => {
    window.parent.postMessage({ height: document.body.offsetHeight }, location.origin);
  };
  new ResizeObserver(tell).observe(document.body);
  tell();
}
