import {
  Attempt,
  Client,
  IdempotencyError,
  Outcome,
  PendingIntent,
  SubmitOptions,
} from "./client.js";

export interface UseIdempotentSubmitOptions<P, T> extends SubmitOptions {
  /** The client, or a promise of one like `lazy()`. Make it once, outside of components. */
  client: Client | PromiseLike<Client>;
  /** Names what is bought, like `pay:order-17`. */
  operation: string;
  send: (attempt: Attempt<P>) => Promise<T>;
}

export interface IdempotentSubmit<P, T> {
  submit(payload: P): Promise<Outcome<T>>;
  resume(): Promise<Outcome<T> | null>;
  /** Call it when the receipt is on the screen. False where there is no outcome. */
  acknowledge(): Promise<boolean>;
  status: "idle" | "pending" | "success" | "error";
  outcome: Outcome<T> | null;
  /** What refused or ended the newest call. `submit` and `resume` reject with it as well. */
  error: IdempotencyError | null;
  /** The intent whose outcome is not known, if there is one: also of an earlier page life. */
  pending: PendingIntent | null;
}

/**
 * Submits through a client. On mount it resumes what an earlier page life sent within the last
 * five minutes; what is older is in `pending` and waits for the user.
 */
export function useIdempotentSubmit<P = unknown, T = unknown>(
  options: UseIdempotentSubmitOptions<P, T>,
): IdempotentSubmit<P, T>;
