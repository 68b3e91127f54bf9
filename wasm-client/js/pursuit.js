// One intent, followed from the lock over the claim and its attempts to an outcome.

import { buffered, handedOut, isResponse, judge, storableOutcome } from "./answers.js";
import { IdempotencyError, refusal } from "./errors.js";
import { acquire, slotName } from "./locks.js";
import { restored } from "./payload.js";
import { watched } from "./request.js";

// The decisions that end what a page saw of a slot.
const ENDED = ["joined", "outcome-lost", "abandoned"];
// Without locks a waiter asks again after this time, should no hint of a change arrive.
const POLL_MS = 1000;
// What an outcome takes along of what is due, and how often one of a page does.
const SWEPT_AT_ONCE = 16;
const SWEEP_EVERY_MS = 1000;

/** Whether another `send` can make something of what is stored: not of a request of `fetch`. */
const isResumable = ({ payload }) => (payload?.kind ?? "request") !== "request";

/** The intent as callers see it. */
export function pendingIntent(record, { retentionMs }, now) {
  const { operation, key, createdAt, firstSentAt, attempts } = record;
  const isOpen = record.state === "claimed" && firstSentAt !== null;
  const state = isOpen && now >= firstSentAt + retentionMs ? "needs-reconcile" : record.state;
  return {
    operation,
    key,
    state,
    createdAt,
    firstSentAt,
    attempts,
    hasPayload: isResumable(record),
  };
}

/**
 * Follows a call to its end. Resolves to what every caller of the slot in this page gets:
 * `{ status, record, state, held }`, or null where a resume finds nothing.
 */
export class Pursuit {
  #page;
  #call;
  #name;
  #deadlineAt;
  #waitsSince;
  #seen = {};
  #record;

  constructor(page, call) {
    this.#page = page;
    this.#call = call;
    this.#name = slotName(page.settings.dbName, call.slot);
    this.#deadlineAt = call.calledAt + call.options.deadlineMs;
  }

  async outcome() {
    for (;;) {
      if (this.#call.signal.aborted) throw this.#refusal("aborted", this.#record);
      const lease = await this.#lease();
      if (lease.ended !== undefined) return lease.ended;
      try {
        const ended = await this.#underLock(lease);
        if (ended !== undefined) return ended;
      } finally {
        lease.release();
      }
      await this.#beforeAnotherRound(lease);
    }
  }

  /** What the store says while another attempt runs: an end, or nothing where it is to wait. */
  async look() {
    const look = await this.#claim("held", {});
    return look.decision === "wait" ? undefined : this.#conclude(look);
  }

  /** The lock of the slot; or, while others hold it, an end that needs none. */
  async #lease() {
    const { locks, settings, clock } = this.#page;
    if (!locks) return { lock: "lease", isLost: false, release() {} };
    const free = await acquire(locks, this.#name, { ifAvailable: true });
    if (free) return free;
    this.#waitsSince ??= clock.now();
    for (;;) {
      const look = await this.#claim("held", {});
      if (look.decision !== "wait") return { ended: this.#conclude(look), release() {} };
      // A holder that makes attempts shows signs of life; the lease counts from the last one.
      const seenAt = Math.min(look.record?.heldAt ?? 0, clock.now());
      const heldAt = Math.max(this.#waitsSince, seenAt);
      const leftMs = heldAt + settings.leaseMs - clock.now();
      if (leftMs <= 0) return acquire(locks, this.#name, { steal: true });
      const lease = await this.#waitForLock(leftMs);
      if (lease) return lease;
      this.#refuseWhenOver(look.record);
    }
  }

  async #waitForLock(leftMs) {
    const { locks, clock } = this.#page;
    const giveUp = new AbortController();
    const woken = new AbortController();
    const stop = () => giveUp.abort();
    this.#call.signal.addEventListener("abort", stop);
    if (this.#call.signal.aborted) stop();
    const ms = Math.min(leftMs, this.#deadlineAt - clock.now());
    clock.wait(ms, woken.signal).then(stop);
    try {
      return await acquire(locks, this.#name, { signal: giveUp.signal });
    } finally {
      woken.abort();
      this.#call.signal.removeEventListener("abort", stop);
    }
  }

  /** After a round that decided nothing: somebody else is at it, and is to be left time. */
  async #beforeAnotherRound({ lock }) {
    const { clock, events } = this.#page;
    this.#refuseWhenOver(this.#record);
    if (lock !== "lease") return;
    const woken = new AbortController();
    const ignore = events.onChange(() => woken.abort());
    await clock.wait(Math.min(POLL_MS, this.#deadlineAt - clock.now()), woken.signal);
    ignore();
  }

  #refuseWhenOver(record) {
    if (this.#call.signal.aborted) throw this.#refusal("aborted", record);
    if (this.#page.clock.now() >= this.#deadlineAt) throw this.#unknown(record);
  }

  /** Claims, attempts, settles. Nothing comes back where another holder took over. */
  async #underLock(lease) {
    if (lease.isLost) return undefined;
    this.#checkPrincipal();
    // A resume first has to see whether there is a payload to send.
    const isSending = this.#isOnline() && this.#call.mayMint;
    const claim = await this.#claim(lease.lock, {
      isSending,
      isStrict: this.#page.settings.durability === "strict",
      payload: this.#call.ready.stored,
    });
    const { decision, record } = claim;
    if (decision === "wait") return undefined;
    if (decision !== "mint" && decision !== "resume") return this.#conclude(claim);
    if (decision === "mint") this.#emit("claimed", record);
    if (this.#call.isOnlyClaim) return { status: "done", record };
    if (!this.#call.mayMint && !isResumable(record)) {
      await this.#command("park", record, { inDoubt: claim.wasInDoubt });
      throw this.#refusal("payload-needed", record);
    }
    return this.#attempts(lease, record, isSending, Boolean(claim.wasInDoubt));
  }

  /** A payload of this attempt's own, whatever an earlier `send` did to its. */
  #payload(record) {
    const { ready, prefersStored, mayMint } = this.#call;
    const isStored = record.payload && (prefersStored || !mayMint);
    return isStored ? restored(record.payload) : ready.payload();
  }

  async #attempts(lease, record, isNoted, isInDoubt) {
    const { options } = this.#call;
    for (let count = 1; ; count++) {
      if (!isNoted) {
        await this.#online();
        const obstacle = this.#obstacle(lease);
        if (obstacle) return this.#stopped(obstacle, record, isInDoubt);
        // The retention and the fence are checked in the store, before each attempt.
        const again = await this.#claim("mine", { fence: record.fence, isSending: true });
        if (again.decision === "superseded") return undefined;
        if (again.decision !== "resume") return this.#conclude(again);
        ({ record } = again);
      }
      isNoted = false;
      // The claim took its time, and nothing comes between this look and the attempt.
      const obstacle = this.#obstacle(lease);
      if (obstacle) return this.#stopped(obstacle, record, isInDoubt);
      const answer = await this.#attempt(record, this.#payload(record));
      if (answer.verdict === "success") return this.#settle(record, "succeeded", answer.held);
      if (answer.verdict === "rejected" && (!isInDoubt || answer.isReplayed)) {
        return this.#settle(record, "rejected", answer.held);
      }
      if (answer.serverMs !== undefined) {
        const minted = await this.#mintAnew(record, answer.serverMs);
        if (minted.decision === "superseded") return undefined;
        if (minted.decision === "mint-anew") {
          ({ record } = minted);
          this.#emit("claimed", record);
          continue;
        }
      }
      isInDoubt ||= answer.isInDoubt && answer.verdict !== "stop" && answer.verdict !== "rejected";
      // Another page has the lock now. It follows the same key; this one waits for its outcome.
      if (lease.isLost) return undefined;
      const wait = this.#delay(count, answer.retryAfterMs);
      const mayRetry = answer.verdict === "retry" || answer.verdict === "unknown";
      const isOver =
        count >= options.maxAttempts || this.#page.clock.now() + wait >= this.#deadlineAt;
      if (!mayRetry || isOver || this.#call.signal.aborted) {
        throw await this.#park(record, isInDoubt, answer);
      }
      this.#emit("retry", record, { delayMs: wait });
      await this.#page.clock.wait(wait, this.#call.signal);
    }
  }

  /** Another key by the server's clock, where that is safe: it refused this one by that clock. */
  #mintAnew(record, serverMs) {
    const isStrict = this.#page.settings.durability === "strict";
    return this.#command("mint-anew", record, { serverMs, isStrict });
  }

  /** What keeps an attempt from beginning at this very moment; nothing where it may. */
  #obstacle(lease) {
    if (lease.isLost) return { isTakenOver: true };
    if (this.#call.signal.aborted || this.#page.clock.now() >= this.#deadlineAt) return {};
    try {
      this.#checkPrincipal();
      return undefined;
    } catch (error) {
      return { error };
    }
  }

  /** Whoever took over follows the same key; else the intent is left to whoever comes next. */
  async #stopped({ isTakenOver, error }, record, isInDoubt) {
    if (isTakenOver) return undefined;
    const parked = await this.#park(record, isInDoubt, {});
    throw error ?? parked;
  }

  /** An attempt that cannot leave is no attempt. */
  async #online() {
    const { clock } = this.#page;
    const { signal } = this.#call;
    while (!this.#isOnline() && !signal.aborted && clock.now() < this.#deadlineAt) {
      const woken = new AbortController();
      const until = { signal: woken.signal };
      const wake = () => woken.abort();
      globalThis.addEventListener?.("online", wake, until);
      signal.addEventListener("abort", wake, until);
      await clock.wait(Math.min(POLL_MS, this.#deadlineAt - clock.now()), woken.signal);
      wake();
    }
  }

  /** One attempt, within its time. What it leaves is an answer, never an exception. */
  async #attempt(record, payload) {
    const { settings, clock } = this.#page;
    const { key, attempts } = record;
    const { signal, options } = this.#call;
    const controller = new AbortController();
    const over = new AbortController();
    const stopped = new Promise((resolve) => {
      const stop = () => {
        controller.abort();
        const error = new Error("It was stopped before it was answered.");
        resolve({ verdict: "unknown", isInDoubt: true, held: { kind: "error", error } });
      };
      signal.addEventListener("abort", stop, { signal: over.signal });
      const ms = Math.min(options.attemptTimeoutMs, this.#deadlineAt - clock.now());
      clock.wait(ms, over.signal).then(() => over.signal.aborted || stop());
    });
    const header = settings.headerFormat === "raw" ? key : `"${key}"`;
    this.#emit("attempt", record, { attempt: attempts });
    const { fetch, seen } = watched({ header, signal: controller.signal });
    const attempt = { key, header, attempt: attempts, signal: controller.signal, payload, fetch };
    const answer = await Promise.race([this.#answer(attempt, seen), stopped]);
    over.abort();
    return answer;
  }

  async #answer(attempt, seen) {
    const { settings, clock } = this.#page;
    let answer;
    let isThrown = false;
    try {
      answer = await this.#call.send(attempt);
    } catch (error) {
      answer = error;
      isThrown = true;
    }
    let judged = { verdict: "unknown", isInDoubt: true };
    try {
      judged = await judge(answer, isThrown, settings.classify, clock.now(), seen());
      if (judged.isUnexplained) this.#warn(answer);
      if (isResponse(answer)) return { ...judged, held: await buffered(answer) };
      const kind = isThrown ? "error" : "value";
      return { ...judged, held: { kind, [kind]: answer } };
    } catch (error) {
      // The headers came and the body did not, so what they promise is not settled.
      const isSettling = judged.verdict === "success" || judged.verdict === "rejected";
      if (isSettling) judged = { verdict: "unknown", isInDoubt: true };
      // A `classify` that cannot be used judges no better the next time.
      if (error instanceof IdempotencyError) judged = { verdict: "once", isInDoubt: true };
      return { ...judged, held: { kind: "error", error } };
    }
  }

  /** Once a client: the usual idiom, and what it leads to is not seen before a card is declined. */
  #warn(error) {
    if (this.#page.hasWarned) return;
    this.#page.hasWarned = true;
    console.warn(
      "`send` threw an error without a status, so whether it happened is unknown and it is sent" +
        " again: use the attempt's own `fetch`, or okOrThrow(response).",
      error,
    );
  }

  #delay(count, retryAfterMs = 0) {
    const { baseMs, maxMs } = this.#call.options;
    const most = Math.min(maxMs, baseMs * 2 ** (count - 1));
    return Math.max(retryAfterMs, (most * (1 + Math.random())) / 2);
  }

  /** Notes an outcome. A success stays one, whatever becomes of its record. */
  async #settle(record, state, held) {
    const { core, events } = this.#page;
    const value = storableOutcome(core, held);
    let noted;
    try {
      const sweepMax = this.#sweepMax();
      const more = { state, value, hasValue: value !== undefined, sweepMax };
      noted = await this.#command("settle", record, more);
    } catch {
      // Perhaps the value was too much. Without any record the next call gets a replay.
      noted = await this.#command("settle", record, { state }).catch(() => undefined);
    }
    if (noted?.decision === "superseded") return undefined;
    // Another attempt of the key may have settled it; then that is the outcome, unless this one
    // knows that it happened.
    const first = noted?.record ?? record;
    this.#ended(first, state === "succeeded");
    if (state === "rejected" && noted?.decision === "settled" && first.state !== state) {
      return this.#conclude({
        decision: first.valueUntil ? "joined" : "outcome-lost",
        record: first,
      });
    }
    this.#page.knows(first);
    events.changed();
    if (state === "succeeded") this.#emit("done", record);
    return { status: "done", record, state, held };
  }

  #sweepMax() {
    const now = this.#page.clock.now();
    if (now < (this.#page.sweepsAt ?? 0)) return undefined;
    this.#page.sweepsAt = now + SWEEP_EVERY_MS;
    return SWEPT_AT_ONCE;
  }

  /** Leaves the intent to whoever comes next; the error for those who waited here. */
  async #park(record, isInDoubt, answer) {
    const inDoubt = isInDoubt || answer.verdict === "needs-reconcile";
    const parked = await this.#command("park", record, { inDoubt }).catch(() => undefined);
    this.#page.events.changed();
    const newest = parked?.record ?? record;
    const cause = answer.held && handedOut(answer.held);
    if (answer.verdict === "needs-reconcile")
      return this.#refusal("needs-reconcile", newest, cause);
    if (this.#call.signal.aborted) return this.#refusal("aborted", newest, cause);
    return this.#unknown(newest, cause);
  }

  /** What a decision means for the callers, where nothing is left to be done. */
  #conclude({ decision, record }) {
    if (ENDED.includes(decision)) {
      this.#ended(record, record?.state === "succeeded");
    }
    if (decision === "nothing") return null;
    if (decision === "joined") {
      const { state, value: held } = record;
      this.#page.knows(record);
      if (state === "succeeded") this.#emit("joined", record);
      return { status: "joined", record, state, held };
    }
    if (decision === "needs-reconcile") this.#emit("expired", record);
    throw this.#refusal(decision, record ?? this.#page.seen.get(this.#name)?.record);
  }

  #unknown(record, cause) {
    if (record) this.#emit("unknown", record);
    const error = this.#refusal("unknown", record, cause);
    const last = cause?.status ?? cause?.message;
    if (last) error.message += ` (The last answer: ${last}.)`;
    return error;
  }

  #refusal(code, record, cause) {
    return refusal(code, this.#details(record, cause));
  }

  #details(record, cause) {
    const { settings, clock } = this.#page;
    const intent = record && pendingIntent(record, settings, clock.now());
    return cause === undefined ? { intent } : { intent, cause };
  }

  #checkPrincipal() {
    if (this.#page.principal() !== this.#call.slot.principal) {
      throw new IdempotencyError(
        "principal",
        "Another principal is signed in now; the intent waits for the one who began it.",
      );
    }
  }

  async #claim(lock, more) {
    const { calledAt, mayMint, options } = this.#call;
    const { settings } = this.#page;
    const answer = await this.#send("claim", {
      ...this.#seen,
      lock,
      calledAt,
      mayMint,
      digest: this.#call.ready.digest,
      isRefusedBusy: options.ifBusy === "refuse",
      isNewIntent: options.onChanged === "new-intent",
      isRemembered: this.#isRemembered(),
      // A resume finds an outcome for as long as it is kept: its receipt was never seen.
      joinMs: mayMint ? settings.joinMs : settings.outcomeMs,
      // And it is no press.
      ...(!mayMint && { spareMs: 0 }),
      ...more,
    });
    if (answer.record?.state === "claimed") {
      const { key, number } = answer.record;
      this.#seen = { key, number };
      this.#record = answer.record;
      const { principal } = this.#call.slot;
      const until = this.#page.clock.now() + settings.retentionMs;
      this.#page.seen.set(this.#name, { principal, record: answer.record, until });
    }
    return answer;
  }

  /**
   * Whether this page saw an intent of the slot whose record or tombstone must be there still: one
   * that is open, or one that happened and that an equal submit joins.
   */
  #isRemembered() {
    const intent = this.#page.seen.get(this.#name);
    const isAsked = intent && (this.#call.mayMint || !intent.hasHappened);
    return Boolean(isAsked) && this.#page.clock.now() < intent.until;
  }

  /** The intent has ended, so what comes next may be a new one: at once, or behind the join. */
  #ended(record, hasHappened) {
    const { seen, settings, clock } = this.#page;
    const now = clock.now();
    for (const [name, { until }] of seen) if (until <= now) seen.delete(name);
    seen.delete(this.#name);
    if (!hasHappened) return;
    const until = (record.settledAt ?? now) + Math.min(settings.joinMs, settings.outcomeMs);
    const { principal } = this.#call.slot;
    seen.set(this.#name, { principal, record, until, hasHappened, deliveredAt: now });
  }

  #command(verb, { key, number, fence }, more) {
    return this.#send(verb, { key, number, fence, ...more });
  }

  #send(verb, more) {
    const { attemptTimeoutMs } = this.#call.options;
    return this.#page.send(verb, this.#call.slot, { attemptTimeoutMs, ...more });
  }

  #emit(type, { key }, more) {
    this.#page.events.emit(type, { ...this.#call.slot, key, at: this.#page.clock.now() }, more);
  }

  #isOnline() {
    return globalThis.navigator?.onLine !== false;
  }
}
