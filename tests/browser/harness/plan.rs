//! What the payment API does with a request: when it answers, whether the money moves, and how
//! much of the answer arrives.

use super::http::Reply;

/// What becomes of one request.
#[derive(Clone, Debug)]
pub(crate) struct Plan {
    pub(crate) wait: Wait,
    pub(crate) effect: Effect,
    pub(crate) answer: Answer,
    pub(crate) arrives: Arrives,
}

/// When the API goes to work.
#[derive(Clone, Debug)]
pub(crate) enum Wait {
    No,
    Milliseconds(u64),
    /// Until a test opens the gate of this name.
    Gate(&'static str),
}

/// Whether the money moves. A key that is known moves nothing again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Effect {
    Charge,
    None,
}

/// What the API says.
#[derive(Clone, Debug)]
pub(crate) enum Answer {
    /// The receipt of the key, marked as replayed where it is not the first.
    Receipt,
    /// Something else.
    Other(Reply),
}

/// How much of it the browser gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrives {
    Whole,
    /// Headers and half a body, then the end of the connection. A bare close on a reused
    /// connection would be sent again by Chromium itself, behind the back of every client.
    Half,
    /// The connection ends without a byte.
    Nothing,
    /// Nothing, and the connection stays open until the browser or the test ends.
    Never,
}

impl Plan {
    const fn new(effect: Effect, answer: Answer, arrives: Arrives) -> Self {
        Self {
            wait: Wait::No,
            effect,
            answer,
            arrives,
        }
    }

    /// Charges and says so.
    pub(crate) const fn pay() -> Self {
        Self::new(Effect::Charge, Answer::Receipt, Arrives::Whole)
    }

    /// Charges, and the answer is lost on its way.
    pub(crate) const fn lose_answer() -> Self {
        Self::new(Effect::Charge, Answer::Receipt, Arrives::Half)
    }

    /// Does nothing, and that is lost on its way too.
    pub(crate) const fn lose_request() -> Self {
        Self::new(Effect::None, Answer::Receipt, Arrives::Half)
    }

    /// Ends the connection without a byte.
    pub(crate) const fn close() -> Self {
        Self::new(Effect::None, Answer::Receipt, Arrives::Nothing)
    }

    /// Charges and never says a word.
    pub(crate) const fn hang() -> Self {
        Self::new(Effect::Charge, Answer::Receipt, Arrives::Never)
    }

    /// Answers with this status and a JSON body, and charges nothing.
    pub(crate) fn refuse(status: u16, json: &str) -> Self {
        let reply = Reply::new(status, "application/json", json);
        Self::new(Effect::None, Answer::Other(reply), Arrives::Whole)
    }

    /// A problem with a machine-readable code.
    pub(crate) fn problem(status: u16, code: &str) -> Self {
        Self::refuse(status, &format!("{{\"code\":\"{code}\"}}"))
    }

    /// Charges, then sends the browser elsewhere.
    pub(crate) fn redirect(location: &str) -> Self {
        let reply = Reply::new(302, "text/plain", "").with("Location", location);
        Self::new(Effect::Charge, Answer::Other(reply), Arrives::Whole)
    }

    /// The same, and the money has moved.
    pub(crate) const fn after_charging(mut self) -> Self {
        self.effect = Effect::Charge;
        self
    }

    pub(crate) fn header(mut self, name: &str, value: &str) -> Self {
        if let Answer::Other(reply) = self.answer {
            self.answer = Answer::Other(reply.with(name, value));
        }
        self
    }

    pub(crate) const fn after_ms(mut self, count: u64) -> Self {
        self.wait = Wait::Milliseconds(count);
        self
    }

    /// Goes to work when a test opens the gate.
    pub(crate) const fn held(mut self, gate: &'static str) -> Self {
        self.wait = Wait::Gate(gate);
        self
    }
}
