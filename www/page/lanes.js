// The time axis with its two lanes: presses above, requests as bars, charges below. The same key
// has the same colour.

import { diary, isElsewhere, onDiary } from "./diary.js";
import { timeScale } from "./time_scale.js";
import { LANES } from "./visit.js";

const COLOURS = 5;

/** About how wide the word of a moment is, in pixels; and of a dot alone. */
const WIDTHS = { press: 40, purpose: 76, joined: 84, charge: 64 };
const DOT_WIDTH = 16;

/** Where the style sheet shows a charge as a dot alone. */
const NARROW = matchMedia("(max-width: 719px)");

/** What a bar says, and how a screen reader hears it. */
const ENDINGS = {
  answer: ["\u2713 receipt", "was answered"],
  replay: ["\u21ba replay", "got the stored answer again, a replay"],
  refused: ["\u2715 refused", "was refused"],
  lost: ["\u2715 lost", "had no answer: unknown"],
  timeout: ["\u2715 time-out", "had no answer in time: unknown"],
  left: ["\u2715 left", "was left behind by a reload"],
};

let isDrawing = false;

/** Draws now, after every change, and while a request is open. */
export function drawLanes() {
  onDiary(redraw);
  redraw();
}

function redraw() {
  if (isDrawing) return;
  isDrawing = true;
  requestAnimationFrame(() => {
    isDrawing = false;
    const entries = diary();
    draw(entries);
    if (entries.some(isOpen)) redraw();
  });
}

const isOpen = ({ kind, ending }) => kind === "request" && !ending;

function draw(entries) {
  const shown = entries.filter(({ lane, kind }) => LANES.includes(lane) || kind === "reload");
  const moments = shown.flatMap((entry) => [entry.at, endOf(entry)]);
  const scale = timeScale(moments);
  const keys = [...new Set(shown.map(({ key }) => key).filter(Boolean))];
  for (const lane of LANES) {
    const own = shown.filter((entry) => entry.lane === lane || entry.kind === "reload");
    drawLane(document.getElementById(`lane-${lane}`), own, scale, keys, moments[0] ?? 0);
  }
  drawAxis(scale);
  drawLegend(keys);
}

const endOf = (entry) => entry.endedAt ?? (isOpen(entry) ? Date.now() : entry.at);

function drawLane(list, entries, scale, keys, start) {
  const rows = [];
  const width = list.clientWidth || 1;
  const percent = (kind) => {
    const isDot = kind === "charge" && NARROW.matches;
    return (100 * (isDot ? DOT_WIDTH : (WIDTHS[kind] ?? 0))) / width;
  };
  const items = gathered(entries, scale, percent).map(({ entry, all, from }) => {
    const to = scale.place(endOf(entry));
    const item = document.createElement("li");
    item.className = entry.kind;
    item.style.left = `${from}%`;
    if (entry.key) item.dataset.colour = keys.indexOf(entry.key) % COLOURS;
    if (entry.kind === "request") {
      item.style.width = `${Math.max(to - from, 0.4)}%`;
      item.dataset.ending = entry.ending ?? "open";
    }
    // A press that joined sent nothing, but it has its place among the requests.
    const room = { request: to - from, joined: percent("joined") }[entry.kind];
    if (room) item.style.setProperty("--row", freeRow(rows, from, from + room));
    const seconds = ((entry.at - start) / 1000).toFixed(1);
    item.append(...words(entry, all, entries, seconds));
    return item;
  });
  list.style.setProperty("--rows", Math.max(rows.length, 1));
  list.replaceChildren(...items);
}

/** Moments of one kind that would lie on each other are one, with a count. */
function gathered(entries, scale, percent) {
  const newest = {};
  const items = [];
  for (const entry of entries) {
    const from = scale.place(entry.at);
    const before = newest[entry.kind];
    const isNear = before && from < before.from + percent(entry.kind);
    if (isNear && before.entry.key === entry.key) {
      before.all.push(entry);
    } else {
      newest[entry.kind] = { entry, all: [entry], from };
      items.push(newest[entry.kind]);
    }
  }
  return items;
}

/** The first row in which the bar touches no other. */
function freeRow(rows, from, to) {
  const free = rows.findIndex((end) => end < from);
  const row = free < 0 ? rows.length : free;
  rows[row] = to;
  return row;
}

function words(entry, all, entries, seconds) {
  const [seen, heard] = sentence(entry, entries);
  const tabs = new Set(all.map(isElsewhere));
  const short = document.createElement("span");
  short.setAttribute("aria-hidden", "true");
  short.append(...parts(entry.kind, seen, all.length, tabs));
  const full = document.createElement("span");
  full.className = "hidden-text";
  const where = tabs.size > 1 ? "In both tabs: " : tabs.has(true) ? "In the second tab: " : "";
  const times = all.length > 1 ? `, ${all.length} times` : "";
  full.textContent = `After ${seconds} s. ${where}${heard}${times}.`;
  short.title = full.textContent;
  return [short, full];
}

/** What is seen of it; where it is narrow, a bar is its sign alone, and a charge its dot. */
function parts(kind, seen, count, tabs) {
  const times = count > 1 ? ` \u00d7 ${count}` : "";
  const place = tabs.size > 1 ? " (both tabs)" : tabs.has(true) ? " (tab 2)" : "";
  if (kind === "charge") return [dispensable(seen), times];
  if (kind !== "request") return [`${seen}${times}${place}`];
  const [sign, ...words] = seen.split(" ");
  // Of a bar of another tab the sign alone, so that it fits.
  return [sign, dispensable(` ${place ? "tab 2" : words.join(" ")}`)];
}

function dispensable(text) {
  const rest = document.createElement("span");
  rest.className = "rest";
  rest.textContent = text;
  return rest;
}

function sentence(entry, entries) {
  switch (entry.kind) {
    case "press":
      return ["Pay", "Pay was pressed"];
    case "purpose":
      return ["on purpose", "the receipt was acknowledged, and Pay was pressed on purpose"];
    case "joined":
      return ["joined", "the press joined the payment and got the same receipt"];
    case "reload":
      return ["reload", "the page was reloaded"];
    case "charge":
      return ["25 EUR", "the bank charged 25 EUR"];
    default:
      return requestSentence(entry, entries);
  }
}

function requestSentence(entry, entries) {
  const same = entries.filter(({ kind, key }) => kind === "request" && key === entry.key);
  const attempt = same.indexOf(entry) + 1;
  const what = entry.key
    ? `attempt ${attempt} with key ${shortKey(entry.key)}`
    : "a request without a key";
  const [seen, heard] = ENDINGS[entry.ending] ?? ["\u2026", "is under way"];
  return [seen, `${what} ${heard}`];
}

/** The end of a key: its beginning is the time, and much alike. */
export const shortKey = (key) => `\u2026${key.slice(-4)}`;

function drawAxis(scale) {
  const ticks = scale.ticks.map(({ seconds, place }) => mark("tick", String(seconds), place));
  const folds = scale.folds.map((place) => mark("fold", "\u2026", place));
  document.getElementById("axis").replaceChildren(...ticks, ...folds);
}

function mark(name, text, place) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  element.style.left = `${place}%`;
  return element;
}

function drawLegend(keys) {
  const chips = keys.map((key, at) => {
    const chip = document.createElement("span");
    chip.className = "chip";
    chip.dataset.colour = at % COLOURS;
    chip.textContent = `key ${shortKey(key)}`;
    return chip;
  });
  const none = document.createElement("span");
  none.className = "chip";
  none.textContent = "no key";
  const legend = document.getElementById("legend");
  const dot = document.createElement("span");
  dot.className = "dot";
  dot.textContent = "the bank charged 25 EUR";
  const signs = "\u2713 answered, \u21ba replay, \u2715 no answer";
  legend.replaceChildren("A bar is one request:", none, ...chips, dot, signs);
}
