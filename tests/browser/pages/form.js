// A guarded checkout form, and what happened to it.

window.form = document.querySelector("#checkout");
window.outcomes = [];
window.errors = [];

/** Sends the form's data as the browser would. */
window.sendForm = (attempt) =>
  fetch("/api/form", {
    method: "POST",
    headers: { "Idempotency-Key": attempt.header, "X-Page": life },
    body: new URLSearchParams([...attempt.payload]),
    signal: attempt.signal,
  });

window.guardOptions = (options = {}) => ({
  operation: "checkout:17",
  send: sendForm,
  onOutcome: async (outcome) => outcomes.push(await read(outcome)),
  onError: (error) => errors.push(describe(error)),
  ...options,
});

window.guard = async (options) => {
  await opened;
  return client.guardForm(form, guardOptions(options));
};

/** What a person and a screen reader see. */
window.look = () => ({
  busy: form.getAttribute("aria-busy"),
  disabled: [...form.querySelectorAll("button")].map((button) => ({
    aria: button.getAttribute("aria-disabled"),
    real: button.disabled,
  })),
});
