//! What a page asks to go wrong, in the header `Demo-Fault`.

/// Longer pauses are cut: a browser ends a worker that answers too late.
const PAUSE_MS_MAX: u32 = 60_000;

/// One thing that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// The connection fails before anything else.
    FailBefore,
    /// So many milliseconds pass before the effect.
    Slow(u32),
    /// An error before the effect, and nothing is stored.
    Error500,
    /// The bank dies after the effect, without an answer.
    CrashAfterEffect,
    /// The answer is lost after the commit.
    LoseResponse,
    /// So many milliseconds pass before the image is written: for a test that stops the worker.
    HoldBeforeWrite(u32),
    /// So many milliseconds pass behind that.
    HoldAfterWrite(u32),
}

impl Fault {
    /// The fault that a header names; what it does not know is none.
    #[must_use]
    pub fn of(header: Option<&str>) -> Self {
        let header = header.unwrap_or("").trim();
        let (name, span) = header.split_once('=').unwrap_or((header, ""));
        let span = span.parse().map(|ms: u32| ms.min(PAUSE_MS_MAX));
        match (name, span) {
            ("fail-before", _) => Self::FailBefore,
            ("slow", Ok(ms)) => Self::Slow(ms),
            ("error-500", _) => Self::Error500,
            ("crash-after-effect", _) => Self::CrashAfterEffect,
            ("lose-response", _) => Self::LoseResponse,
            ("hold-before-write", Ok(ms)) => Self::HoldBeforeWrite(ms),
            ("hold-after-write", Ok(ms)) => Self::HoldAfterWrite(ms),
            _ => Self::None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_fault_has_its_word() {
        let of = |text| Fault::of(Some(text));
        assert_eq!(of("fail-before"), Fault::FailBefore);
        assert_eq!(of("slow=4000"), Fault::Slow(4_000));
        assert_eq!(of("slow=999999"), Fault::Slow(PAUSE_MS_MAX));
        assert_eq!(of(" error-500 "), Fault::Error500);
        assert_eq!(of("crash-after-effect"), Fault::CrashAfterEffect);
        assert_eq!(of("lose-response"), Fault::LoseResponse);
        assert_eq!(of("hold-before-write=5"), Fault::HoldBeforeWrite(5));
        assert_eq!(of("hold-after-write=5"), Fault::HoldAfterWrite(5));
        for other in ["", "slow", "slow=x", "slow=-1", "something"] {
            assert_eq!(of(other), Fault::None, "{other}");
        }
        assert_eq!(Fault::of(None), Fault::None);
    }
}
