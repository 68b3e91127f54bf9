//! The moments of a payment at which it can be stopped, or its line to the bank can break.

use std::fmt;
use std::sync::Arc;

use clap::ValueEnum;

/// A moment of a payment, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Moment {
    /// The order and its key are on disk, and nothing else has happened.
    BeforeClaim,
    /// The claim is on disk; the bank knows nothing.
    Claimed,
    /// The bank has charged; its answer is on its way.
    Charged,
    /// The receipt is on disk.
    Completed,
}

impl Moment {
    /// All of them, in their order.
    pub const ALL: [Self; 4] = [
        Self::BeforeClaim,
        Self::Claimed,
        Self::Charged,
        Self::Completed,
    ];
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::BeforeClaim => "before-claim",
            Self::Claimed => "claimed",
            Self::Charged => "charged",
            Self::Completed => "completed",
        })
    }
}

/// How it goes on behind a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// As it should.
    GoesOn,
    /// The line to the bank breaks: what is not sent yet is not sent, and an answer is lost. Has
    /// no meaning where the line is not in use.
    LineBreaks,
}

/// Whoever is told of each moment. It may take its time, or never return.
#[derive(Clone)]
pub struct Witness(Arc<dyn Fn(Moment) -> Fate + Send + Sync>);

impl Witness {
    /// Nobody: each payment just goes on.
    pub fn nobody() -> Self {
        Self::new(|_| Fate::GoesOn)
    }

    /// Somebody who decides.
    pub fn new(decide: impl Fn(Moment) -> Fate + Send + Sync + 'static) -> Self {
        Self(Arc::new(decide))
    }

    pub(crate) fn tell(&self, moment: Moment) -> Fate {
        (self.0)(moment)
    }
}

impl fmt::Debug for Witness {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Witness").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_prints_as_the_command_line_reads_it() {
        assert_eq!(Moment::ALL, Moment::value_variants());
        for moment in Moment::ALL {
            assert_eq!(Moment::from_str(&moment.to_string(), false), Ok(moment));
        }
    }
}
