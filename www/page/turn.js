// Buttons that do one thing at a time.

/** A turn that some buttons share. */
export class Turn {
  isTaken = false;
  #buttons;

  constructor(...ids) {
    this.#buttons = ids.map((id) => document.getElementById(id));
  }

  /** Does something, unless something is being done: then nothing, and false comes back. */
  async take(act) {
    if (this.isTaken) return false;
    this.#mark(true);
    try {
      await act();
    } finally {
      this.#mark(false);
    }
    return true;
  }

  /** Not `disabled`, which would take the focus away from whoever pressed. */
  #mark(isTaken) {
    this.isTaken = isTaken;
    for (const button of this.#buttons) button.setAttribute("aria-disabled", isTaken);
  }
}
