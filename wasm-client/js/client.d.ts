/** What a call may set. */
export interface SubmitOptions {
  /** While another attempt of the operation runs: wait for its outcome (default), or be refused. */
  ifBusy?: "wait" | "refuse";
  /**
   * When an unresolved intent asked for something else: be refused (default), or give that one up
   * and begin a new one. Dangerous: the other one may have happened.
   */
  onChanged?: "refuse" | "new-intent";
  /** Ends this caller's wait. The attempt itself ends when nobody waits for it any more. */
  signal?: AbortSignal | null;
  retry?: RetryOptions;
}

export interface RetryOptions {
  /** How often one call sends, at most. Default 5. */
  maxAttempts?: number;
  /** The first delay; each further one is twice as long, with jitter. Default 500 ms. */
  baseMs?: number;
  /** The longest delay. Default 5 s. */
  maxMs?: number;
  /** How long one attempt may take. Default 20 s. */
  attemptTimeoutMs?: number;
  /** How long a call may take in all, with waiting. Default 60 s. */
  deadlineMs?: number;
}

export type Verdict = "success" | "rejected" | "retry" | "unknown" | "needs-reconcile";

export interface ClientOptions {
  /** The name of the IndexedDB database. Default `idempotency`. */
  dbName?: string;
  /** How long the server remembers a key, less a margin. Default 23 h. */
  retentionMs?: number;
  /** How long another page's attempt is waited for before it is taken over. Default 30 s. */
  leaseMs?: number;
  /** How long after a success an equal submit joins it. Default 10 s. */
  joinMs?: number;
  /** How long outcomes are kept for callers that come late. Default 10 min. */
  outcomeMs?: number;
  /** How the claim is written. Default `strict`: on disk before anything is sent. */
  durability?: "strict" | "relaxed";
  /** How long opening, and each transaction, may take. Default 5 s. */
  openTimeoutMs?: number;
  /**
   * Who is signed in. Asked before each attempt; a key of one principal is never sent for
   * another.
   */
  principal?: string | null | (() => string | null);
  /**
   * What is stored of a payload. `fingerprint`: nothing that could be sent again, as always where
   * there is a card number, a password or the like in it.
   */
  persist?: "payload" | "fingerprint";
  /** How `attempt.header` is written: as a structured header (default), or as the bare key. */
  headerFormat?: "quoted" | "raw";
  /** Judges an answer in place of its status; `undefined` leaves it to the status. */
  classify?: (answer: unknown) => Verdict | undefined;
}

/** One attempt, as `send` gets it. */
export interface Attempt<P = unknown> {
  /**
   * The key, the same in every attempt of the intent. Only where a server refuses the very first
   * attempt as stale by its own clock, the next one has another key.
   */
  key: string;
  /** The value for the header `Idempotency-Key`. */
  header: string;
  /** Counts from 1, over page lives. */
  attempt: number;
  /** Aborts when the attempt is over time, or nobody waits for it. */
  signal: AbortSignal;
  /** The payload as it was at the call. */
  payload: P;
  /**
   * The browser's `fetch`, with the header `Idempotency-Key` and `signal` where the call has none.
   * An error that `send` throws without a status is judged by the status that this one saw.
   */
  fetch: typeof globalThis.fetch;
}

export interface Outcome<T> {
  /** `joined`: another call or another page life sent it. */
  status: "done" | "joined";
  key: string;
  attempts: number;
  value: T;
}

/** An intent whose outcome is not known; in an error, the one that the error is about. */
export interface PendingIntent {
  operation: string;
  key: string;
  /** `needs-reconcile`: so old that the server may have forgotten the key. */
  state: "claimed" | "needs-reconcile" | "succeeded" | "rejected" | "abandoned";
  /** Unix milliseconds. */
  createdAt: number;
  /** Unix milliseconds; `null` while nothing that may have happened was sent. */
  firstSentAt: number | null;
  attempts: number;
  /** Whether `resume` has something to send. */
  hasPayload: boolean;
}

export type EventName = "claimed" | "attempt" | "retry" | "done" | "joined" | "unknown" | "expired";

export interface IntentEvent {
  type: EventName;
  principal: string | null;
  operation: string;
  key: string;
  /** Unix milliseconds. */
  at: number;
  /** Of `attempt`: its number. */
  attempt?: number;
  /** Of `retry`: how long until the next attempt. */
  delayMs?: number;
}

export interface GuardOptions<T = unknown> {
  /** Names what the form buys, like `checkout:17`. */
  operation: string;
  /** Sends the form's data, which is `attempt.payload`. Needed unless `mode` is `native`. */
  send?: (attempt: Attempt<FormData>) => Promise<T>;
  /** Fields that differ from page to page and are not compared, like a CSRF token. */
  exclude?: string[];
  /** Comes once for each outcome, however often the form was pressed. */
  onOutcome?: (outcome: Outcome<T>) => void;
  onError?: (error: unknown) => void;
  /** `native`: the browser sends the form, with the key in the field `_idempotency_key`. */
  mode?: "fetch" | "native";
  /**
   * Where the client cannot be opened: the form stays here and says why under its fields
   * (default), only `onError` is told, or the browser sends the form without any key.
   */
  ifUnavailable?: "explain" | "block" | "send";
}

/**
 * Guards a form from now on, also before its client is there: a press is held until then, and
 * sent. What is returned ends that. `form.submit()` passes every guard.
 */
export function guardForm<T>(
  client: Client | PromiseLike<Client>,
  form: HTMLFormElement,
  options: GuardOptions<T>,
): () => void;

export type Code =
  | "in-progress"
  | "unresolved"
  | "unknown"
  | "rejected"
  | "mismatch"
  | "needs-reconcile"
  | "abandoned"
  | "outcome-lost"
  | "key-lost"
  | "payload"
  | "payload-needed"
  | "operation"
  | "options"
  | "principal"
  | "storage"
  | "unsupported"
  | "wasm-blocked"
  | "aborted"
  | "closed";

export class IdempotencyError extends Error {
  constructor(code: Code, message: string, details?: { cause?: unknown; intent?: PendingIntent });
  readonly code: Code;
  readonly intent?: PendingIntent;
}

/** Thrown by `send`: it was certainly not sent. */
export class NotSent extends Error {}

/** Thrown by `send`: it was definitely refused. */
export class Rejected extends Error {}

/**
 * For `send`: gives a response with `ok` back, and throws an error that carries any other, so that
 * it is judged by its status.
 */
export function okOrThrow(response: Response): Response;

/** What a page calls. */
export class Client {
  protected constructor(page: never);

  /** Which store is used. `localstorage` and `memory` only where IndexedDB cannot be. */
  readonly mode: "indexeddb" | "localstorage" | "memory";

  /** Sends a payload so that it happens at most once, however often this is called. */
  submit<T, P = unknown>(
    operation: string,
    payload: P,
    send: (attempt: Attempt<P>) => Promise<T>,
    options?: SubmitOptions,
  ): Promise<Outcome<T>>;

  /** Goes on with what an earlier page life left. Never creates a key. */
  resume<T, P = unknown>(
    operation: string,
    send: (attempt: Attempt<P>) => Promise<T>,
    options?: SubmitOptions,
  ): Promise<Outcome<T> | null>;

  /** The intents of the principal whose outcome is not known. */
  pending(): Promise<PendingIntent[]>;

  /**
   * The receipt is on the screen: an equal submit is meant as a new one, from one second after the
   * outcome came. Until then it is the second half of a double click, and joins.
   */
  acknowledge(operation: string, key: string): Promise<boolean>;

  /** Says what became of an intent, in place of the server. False while an attempt runs. */
  resolve(
    operation: string,
    key: string,
    what: { happened: true; value: unknown } | { happened: false },
  ): Promise<boolean>;

  /** Gives an intent up. It may have happened all the same. False while an attempt runs. */
  abandon(operation: string, key: string): Promise<boolean>;

  /** Removes everything of a principal, by default of the current one: for the logout. */
  clear(principal?: string | null): Promise<void>;

  /** `fetch` with a key. The body is turned into bytes once. */
  fetch(
    input: RequestInfo | URL,
    init: RequestInit & { operation: string; submit?: SubmitOptions },
  ): Promise<Response & { readonly idempotencyKey: string }>;

  /** A `fetch` for libraries that take one. GET, HEAD and OPTIONS pass through. */
  fetchFor(operation: string | ((request: Request) => string)): typeof fetch;

  /** `guardForm()` for a client that is open. */
  guardForm<T>(form: HTMLFormElement, options: GuardOptions<T>): () => void;

  /** Asks the browser to keep the store. Some browsers ask the person. */
  requestPersistence(): Promise<boolean>;

  /** Listens; what is returned ends that. */
  on(event: EventName, listener: (event: IntentEvent) => void): () => void;

  /** Refuses further calls. Never aborts an attempt. */
  close(): void;
}
