// Whose order it is. All tabs of a browser share it, and it outlives reloads.

const SHELF = "idempotency-demo";
const CHARGES_SHELF = "idempotency-demo-charges";

/** The lanes of the page, which are the accounts that pay. */
export const LANES = ["ordinary", "guarded"];

/** In cents. */
export const AMOUNT = 2500;

/**
 * The order that is being paid. `token` is who pays: a new one for each order, so that the bank's
 * list shows this order alone. `meant` is how many payments were meant; `fault` is what goes wrong
 * with the first request of each lane in `armed`.
 */
export let visit = stored() ?? newVisit(17, "lose-response");

function stored() {
  try {
    return JSON.parse(localStorage.getItem(SHELF)) ?? undefined;
  } catch {
    return undefined;
  }
}

function newVisit(number, fault) {
  const token = `visitor-${crypto.randomUUID()}`;
  return keep({ token, number, meant: 1, fault, armed: [...LANES], startedAt: Date.now() });
}

function keep(changed) {
  localStorage.setItem(SHELF, JSON.stringify(changed));
  return changed;
}

/** Goes on to a new order. */
export function nextOrder(fault) {
  visit = newVisit(visit.number + 1, fault);
}

/** Takes over what another tab has changed, which it may have said before storage shows it here. */
export function readVisit(said = stored()) {
  if (said && (said.token === visit.token || said.startedAt > visit.startedAt)) visit = said;
}

/** Lets the next request of each lane meet this fault. */
export function arm(fault) {
  readVisit();
  visit = keep({ ...visit, fault, armed: [...LANES] });
}

/**
 * The fault that a request of the lane meets: only the first one, over all tabs. A request belongs
 * to the order that it was made for, whatever order is next.
 */
export function takeFault(lane) {
  if (stored()?.token === visit.token) readVisit();
  if (!visit.armed.includes(lane)) return undefined;
  visit = keep({ ...visit, armed: visit.armed.filter((armed) => armed !== lane) });
  return visit.fault === "none" ? undefined : visit.fault;
}

/** One more payment is meant. */
export function meanOneMore() {
  readVisit();
  visit = keep({ ...visit, meant: visit.meant + 1 });
}

/** Who the charges for engineers belong to: to no order, so that none of them is lost with one. */
export function chargesToken() {
  const token = localStorage.getItem(CHARGES_SHELF) ?? `engineer-${crypto.randomUUID()}`;
  localStorage.setItem(CHARGES_SHELF, token);
  return token;
}

/** What the order is called. */
export const orderId = () => `order-${visit.number}`;

/** What a lane asks the bank for. */
export const transferFrom = (lane) => ({ from: lane, to: "shop", amount: AMOUNT });
