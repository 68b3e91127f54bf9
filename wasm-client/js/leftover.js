// What a page does on its own about an intent that an earlier page life left.

// What was sent this long ago is resumed without asking.
const RESUMED_WITHIN_MS = 5 * 60 * 1000;

/** Whether an intent, if there is one, is shown to the user instead of being resumed. */
export function isLeftToUser(intent, now) {
  if (!intent) return false;
  const age = now - (intent.firstSentAt ?? intent.createdAt);
  return age > RESUMED_WITHIN_MS || !intent.hasPayload;
}
