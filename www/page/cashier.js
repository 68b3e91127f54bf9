// What the bank has for this order: asked again while something may change it.

import { transfers } from "./bank.js";
import { toneOf, sumOf } from "./card.js";
import { diary, isBeside, note, onDiary } from "./diary.js";
import { LANES, visit } from "./visit.js";

const ASKED_EVERY_MS = 300;
const CALM_AFTER_MS = 6_000;

/** How many payments there are, by lane. */
export const counts = { ordinary: 0, guarded: 0 };

let cards;
let timer;
let said = "";

/** Starts to watch, and shows each change on these cards. */
export function watchBank(shownOn) {
  cards = shownOn;
  onDiary(({ turned }) => {
    if (turned) {
      showCounts([]);
      say("");
    }
    look();
  });
  showCounts([]);
  look();
}

function look() {
  timer ??= setTimeout(async () => {
    try {
      const { token } = visit;
      const rows = await transfers();
      if (token === visit.token) showCounts(rows);
    } catch {
      // A bank that has just crashed is asked again.
    }
    timer = undefined;
    speak();
    if (isBusy() || isRecent()) look();
  }, ASKED_EVERY_MS);
}

const requests = () => diary().filter(({ kind }) => kind === "request");
const isBusy = () => requests().some(({ ending }) => !ending);

/** A request whose page has gone, or whose answer was lost, may still have its effect. */
const isRecent = () => diary().some(({ at }) => Date.now() - at < CALM_AFTER_MS);

function showCounts(rows) {
  for (const lane of LANES) {
    const own = rows.filter(({ from }) => from === lane);
    counts[lane] = own.length;
    if (!isBeside) noteCharges(lane, own);
    cards[lane].showBank(own.length, lane === "guarded" ? visit.meant : 1);
  }
}

function noteCharges(lane, rows) {
  const known = new Set(diary().map(({ id }) => id));
  for (const { id, key, at } of rows) {
    const name = `charge ${visit.token} ${id}`;
    if (!known.has(name)) note("charge", lane, { id: name, key, at: chargedAt(at) });
  }
}

/** When the bank charged, by its clock; where that differs from this one, when it was seen. */
function chargedAt(at) {
  const now = Date.now();
  return at >= visit.startedAt && at <= now ? at : now;
}

/** One sentence per outcome, for eyes and ears. */
function speak() {
  if (!isBusy()) say(outcome());
}

function say(sentence) {
  if (sentence === said) return;
  said = sentence;
  document.getElementById("outcome").textContent = sentence;
}

function outcome() {
  const { ordinary, guarded } = counts;
  if (ordinary + guarded === 0) return "";
  return `Ordinary form: ${phrase(ordinary, 1)}. With the ledger: ${phrase(guarded, visit.meant)}.`;
}

function phrase(count, meant) {
  const tone = toneOf(count, meant);
  const sum = sumOf(count, tone);
  if (tone === "wrong") return `${sum} for one order`;
  return count > 1 ? `${sum}, as meant` : sum;
}
