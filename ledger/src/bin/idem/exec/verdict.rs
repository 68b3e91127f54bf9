//! What the ending of a command means for its key.

use crate::arguments::OnFailure;

use super::capture::Ending;

/// What becomes of the claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// The run is the result.
    Complete,
    /// Nothing happened: the next call runs again.
    Release,
    /// Nobody knows.
    Interrupt,
}

/// How the user reads exit codes.
#[derive(Debug)]
pub(crate) struct Reading {
    pub(crate) on_failure: OnFailure,
    /// Codes that surely mean that nothing happened; none of them is 128 or more.
    pub(crate) release_exit: Vec<u8>,
}

impl Reading {
    /// A command that was killed, or says that one of its own was (128 and up), may have been in
    /// the middle of its work: no option makes that a "nothing happened".
    pub(crate) fn verdict(&self, ending: Ending) -> Verdict {
        match (ending, self.on_failure) {
            (Ending::Exited(0), _) => Verdict::Complete,
            (Ending::Exited(code), _) if self.release_exit.contains(&code) => Verdict::Release,
            (_, OnFailure::Keep) => Verdict::Complete,
            (Ending::Exited(..128), OnFailure::Release) => Verdict::Release,
            (_, OnFailure::Release | OnFailure::Interrupt) => Verdict::Interrupt,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use OnFailure::{Interrupt, Keep, Release};

    #[test]
    fn every_ending_under_every_reading() {
        for (ending, on_failure, release_exit, verdict) in [
            (Ending::Exited(0), Interrupt, &[][..], Verdict::Complete),
            (Ending::Exited(0), Release, &[], Verdict::Complete),
            (Ending::Exited(1), Interrupt, &[], Verdict::Interrupt),
            (Ending::Exited(1), Release, &[], Verdict::Release),
            (Ending::Exited(1), Keep, &[], Verdict::Complete),
            (Ending::Exited(6), Interrupt, &[6, 7], Verdict::Release),
            (Ending::Exited(6), Keep, &[6, 7], Verdict::Release),
            (Ending::Exited(8), Interrupt, &[6, 7], Verdict::Interrupt),
            (Ending::Exited(126), Interrupt, &[], Verdict::Interrupt),
            (Ending::Exited(127), Release, &[], Verdict::Release),
            (Ending::Exited(128), Release, &[], Verdict::Interrupt),
            (Ending::Exited(137), Release, &[], Verdict::Interrupt),
            (Ending::Exited(137), Keep, &[], Verdict::Complete),
            (Ending::Signalled(9), Release, &[9], Verdict::Interrupt),
            (Ending::Signalled(15), Keep, &[], Verdict::Complete),
            (Ending::Signalled(15), Interrupt, &[], Verdict::Interrupt),
        ] {
            let reading = Reading {
                on_failure,
                release_exit: release_exit.to_vec(),
            };
            assert_eq!(
                reading.verdict(ending),
                verdict,
                "{ending:?} {on_failure:?}"
            );
        }
    }
}
