// A form that cannot be sent twice.
//
// Buttons are never disabled: that drops the button's value and the focus. What holds is the
// claim; `aria-busy` and `aria-disabled` only say so.

import { refusal } from "./errors.js";
import { tell } from "./events.js";
import { isLeftToUser } from "./leftover.js";
import { formOf } from "./payload.js";
import { checkOperation, choice, invalid } from "./settings.js";

const KEY_FIELD = "_idempotency_key";
// What makes htmx send a form, also in its own spelling of data attributes.
const SENT_BY_HTMX = /^(data-)?hx-(action|get|post|put|patch|delete|query)\b/;
const BOOSTED_BY_HTMX = /^(data-)?hx-boost\b/;
const SENSITIVE = 'input[type="password"], [autocomplete*="cc-" i], [autocomplete*="password" i]';

/**
 * Guards a form from now on; what comes back ends that. A press that comes before the client does
 * is held until then. `inside` gives what claims and sends under the eyes of the client.
 */
export function guardForm(client, form, options, inside) {
  const { send, exclude = [], onOutcome, onError } = options ?? {};
  const operation = checkOperation(options?.operation);
  const isNative = choice(options, "mode") === "native";
  const ifUnavailable = choice(options, "ifUnavailable");
  if (!isNative && typeof send !== "function") throw invalid("send", "a function");
  if (!(form instanceof HTMLFormElement)) throw invalid("form", "a form element");
  const buttons = () =>
    [...form.elements, ...form.querySelectorAll('[type="image"]')].filter(isSubmit);
  for (const button of [undefined, ...buttons()]) check(form, button);
  let running = 0;
  let isPassing = false;
  let isReleased = false;
  // What was handed to the page, so that an outcome found on mount is not handed over again.
  const delivered = new Set();
  let reason;

  async function onSubmit(event) {
    if (event.defaultPrevented || isPassing) return;
    event.preventDefault();
    const pressedAt = performance.now();
    const { submitter } = event;
    const payload = dataOf(form, submitter);
    // Where in its image a button was hit is no part of what is bought.
    const unasked = [KEY_FIELD, ...exclude, ...coordinates(submitter)];
    const asking = formOf([...payload].filter(([name]) => !unasked.includes(name)));
    const isStorable = ![...form.elements].some((field) => field.matches(SENSITIVE));
    await settle(async () => {
      check(form, submitter);
      const page = await ready();
      if (!page) return pass({}, submitter, payload);
      const what = { payload, asking, isStorable, isOnlyClaim: isNative };
      // The call was made at the press, however long it was held.
      what.heldMs = Math.round(performance.now() - pressedAt);
      const ended = page.follow(operation, send ?? noSend, what);
      return isNative ? pass(await ended, submitter, payload) : ended;
    });
  }

  /** The inside of the client, once there is one; nothing where the page said to send without. */
  async function ready() {
    try {
      return inside(await client);
    } catch (error) {
      if (ifUnavailable !== "send") throw explained(error);
      fail(error);
      return undefined;
    }
  }

  /** Says at the form why it cannot be sent. */
  function explained(error) {
    if (ifUnavailable !== "explain" || isReleased) return error;
    reason ??= document.createElement("p");
    reason.setAttribute("role", "alert");
    reason.textContent = `This form cannot be sent here: ${error?.message ?? error}`;
    form.append(reason);
    return error;
  }

  /** Lets the browser send what the form was at the click, with a key in a hidden field. */
  async function pass({ key }, submitter, payload) {
    // A form that still tells its listeners of a press takes no other.
    await new Promise((resolve) => setTimeout(resolve));
    if (isReleased) return;
    if (key) {
      const field = form.elements[KEY_FIELD] ?? document.createElement("input");
      Object.assign(field, { type: "hidden", name: KEY_FIELD, value: key });
      form.append(field);
    }
    const asItWas = ({ formData }) => {
      for (const name of [...formData.keys()]) formData.delete(name);
      for (const [name, value] of payload) formData.append(name, value);
      if (key) formData.set(KEY_FIELD, key);
    };
    form.addEventListener("formdata", asItWas, { once: true });
    isPassing = true;
    try {
      form.requestSubmit(submitter);
    } finally {
      isPassing = false;
      form.removeEventListener("formdata", asItWas);
    }
  }

  async function settle(work) {
    if (running++ === 0) mark(form, buttons());
    reason?.remove();
    try {
      deliver(await work());
    } catch (error) {
      fail(error);
    } finally {
      if (--running === 0) unmark(form, buttons());
    }
  }

  function deliver(outcome) {
    // Both halves of a double click get the same one, and the page gets it once.
    if (!outcome || isReleased || delivered.has(outcome.key)) return;
    delivered.add(outcome.key);
    tell(onOutcome, outcome);
  }

  function fail(error) {
    if (!isReleased) tell(onError, error);
  }

  /** What an earlier page life left: resumed while it is fresh, shown to the user later. */
  async function pickUp() {
    try {
      const page = await ready();
      if (!page || isNative || isReleased) return;
      const opened = page.client;
      const intent = (await opened.pending()).find((one) => one.operation === operation);
      if (isReleased) return;
      if (isLeftToUser(intent, page.clock.now())) throw refusal("unresolved", { intent });
      const resumed = () => opened.resume(operation, send);
      if (intent) return await settle(resumed);
      // An outcome may have come before its receipt was shown.
      deliver(await resumed());
    } catch (error) {
      fail(error);
    }
  }

  form.addEventListener("submit", onSubmit);
  pickUp();
  return () => {
    isReleased = true;
    reason?.remove();
    form.removeEventListener("submit", onSubmit);
    if (isNative) form.elements[KEY_FIELD]?.remove();
  };
}

/** The fields that an image button adds. */
function coordinates(button) {
  if (button?.type !== "image") return [];
  const prefix = button.name ? `${button.name}.` : "";
  return [`${prefix}x`, `${prefix}y`];
}

const isSubmit = ({ type }) => type === "submit" || type === "image";

function noSend() {}

/** What sends the form elsewhere or otherwise would not be guarded. */
function check(form, button) {
  const method = button?.getAttribute("formmethod") ?? form.getAttribute("method");
  if (method?.toLowerCase() === "dialog") throw invalid("form", "one that is sent, not a dialog");
  if (button?.hasAttribute("formaction") || button?.hasAttribute("formmethod")) {
    throw invalid("form", "one whose buttons have no formaction and no formmethod");
  }
  if (isOfHtmx(form, button)) {
    throw invalid(
      "form",
      "one that htmx does not send: take hx-post and its like off it (in a boosted page add" +
        ' hx-boost="false"), request in `send`, and put the answer into the page in `onOutcome`',
    );
  }
}

/** What htmx sends goes past the guard, whichever of the two listens first. */
function isOfHtmx(form, button) {
  const names = (element, pattern) =>
    element?.getAttributeNames().filter((name) => pattern.test(name)) ?? [];
  if ([form, button].some((element) => names(element, SENT_BY_HTMX).length)) return true;
  for (let around = form; around; around = around.parentElement) {
    const [boost] = names(around, BOOSTED_BY_HTMX);
    if (boost) return around.getAttribute(boost) !== "false";
  }
  return false;
}

function dataOf(form, submitter) {
  try {
    return new FormData(form, submitter);
  } catch {
    // A browser that does not know the second argument.
    const data = new FormData(form);
    if (submitter?.name) data.append(submitter.name, submitter.value);
    return data;
  }
}

function mark(form, buttons) {
  form.setAttribute("aria-busy", "true");
  for (const button of buttons) button.setAttribute("aria-disabled", "true");
}

function unmark(form, buttons) {
  form.removeAttribute("aria-busy");
  for (const button of buttons) button.removeAttribute("aria-disabled");
}
