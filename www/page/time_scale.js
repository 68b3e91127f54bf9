// From moments to places on the axis. Long waits in which nothing happens are folded.

/** Longer waits are drawn as if they took this long. */
const WAIT_MAX_MS = 6_000;

/** The axis shows at least this much, so that it does not jump while a story begins. */
const SPAN_MIN_MS = 10_000;

const MARGIN_MS = 300;

/** So much is left behind the last moment that its word is not cut. */
const WORD_ROOM = 1.12;

const TICKS_MAX = 13;
const STEPS_S = [1, 2, 5, 10, 20, 50];

/** A scale for these moments, in Unix milliseconds. */
export function timeScale(moments) {
  const sorted = [...moments].sort((a, b) => a - b);
  const start = sorted[0] ?? 0;
  const knots = [{ real: start, drawn: MARGIN_MS }];
  const folds = [];
  for (const real of sorted.slice(1)) {
    const last = knots.at(-1);
    const wait = real - last.real;
    if (wait === 0) continue;
    const drawn = last.drawn + Math.min(wait, WAIT_MAX_MS);
    if (wait > WAIT_MAX_MS) folds.push((last.drawn + drawn) / 2);
    knots.push({ real, drawn });
  }
  const span = Math.max(SPAN_MIN_MS, knots.at(-1).drawn * WORD_ROOM + MARGIN_MS);
  const percent = (drawn) => (100 * drawn) / span;
  return {
    place: (real) => percent(drawnAt(knots, real)),
    folds: folds.map(percent),
    ticks: ticks(knots, start, span).map(({ seconds, drawn }) => ({
      seconds,
      place: percent(drawn),
    })),
  };
}

function drawnAt(knots, real) {
  const after = knots.findIndex((knot) => knot.real >= real);
  if (after < 0) return knots.at(-1).drawn + Math.min(real - knots.at(-1).real, WAIT_MAX_MS);
  if (after === 0) return knots[0].drawn;
  const [before, next] = [knots[after - 1], knots[after]];
  const part = (real - before.real) / (next.real - before.real);
  return before.drawn + part * (next.drawn - before.drawn);
}

/** Whole seconds where time is drawn as it passed, and on behind the last moment. */
function ticks(knots, start, span) {
  const step = STEPS_S.find((step) => span / 1000 / step <= TICKS_MAX) ?? STEPS_S.at(-1);
  const found = [];
  const last = knots.at(-1);
  for (let at = 0; at < knots.length; at++) {
    const from = knots[at];
    const next = knots[at + 1] ?? { real: last.real + (span - last.drawn), drawn: span };
    if (next.real - from.real > WAIT_MAX_MS && next !== undefined && at < knots.length - 1)
      continue;
    const first = Math.ceil((from.real - start) / 1000 / step) * step;
    for (let seconds = first; start + seconds * 1000 < next.real; seconds += step) {
      found.push({ seconds, drawn: from.drawn + (start + seconds * 1000 - from.real) });
    }
  }
  return found;
}
