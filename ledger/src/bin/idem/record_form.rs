//! A record as people and programs read it.

use idempotency_ledger::{RecordInfo, ResponseKind};
use serde::Serialize;

use crate::exec::{Ending, StoredRun, Stream};

/// One line of `ls --json` and `show --json`. Times are RFC 3339 in UTC.
#[derive(Debug, Serialize)]
pub(crate) struct RecordLine<'a> {
    namespace: &'a str,
    key: &'a str,
    /// The scope where it is text; otherwise its bytes are in `scope_hex`.
    #[serde(skip_serializing_if = "Option::is_none")]
    scope: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    scope_hex: Option<String>,
    state: &'static str,
    attempts: u32,
    fence: u64,
    program: &'a str,
    first_claimed_at: String,
    claimed_at: String,
    lease_until: Option<String>,
    completed_at: Option<String>,
    expires_at: Option<String>,
    /// Whether a command of the newest attempt still runs.
    running: bool,
    /// Whether the holder lives although its lease is over.
    overdue: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    checkpoint: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    response: Option<ResponseLine>,
}

/// What is stored as the answer, without its bytes.
#[derive(Debug, Serialize)]
pub(crate) struct ResponseLine {
    kind: &'static str,
    bytes: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    run: Option<RunLine>,
}

/// A stored run of a command.
#[derive(Debug, Serialize)]
struct RunLine {
    exit_code: Option<u8>,
    signal: Option<u8>,
    /// `None` where the output was not stored.
    stdout_bytes: Option<usize>,
    stderr_bytes: Option<usize>,
    omitted: Option<String>,
}

impl<'a> RecordLine<'a> {
    pub(crate) fn of(info: &'a RecordInfo) -> Self {
        let scope = std::str::from_utf8(info.scope().as_bytes()).ok();
        Self {
            namespace: info.namespace(),
            key: info.key().as_str(),
            scope,
            scope_hex: scope.is_none().then(|| hex(info.scope().as_bytes())),
            state: info.state().as_str(),
            attempts: info.attempts(),
            fence: info.fence().get(),
            program: info.program(),
            first_claimed_at: info.first_claimed_at().to_string(),
            claimed_at: info.claimed_at().to_string(),
            lease_until: info.lease_until().map(|time| time.to_string()),
            completed_at: info.completed_at().map(|time| time.to_string()),
            expires_at: info.expires_at().map(|time| time.to_string()),
            running: info.is_running(),
            overdue: info.is_overdue(),
            checkpoint: info.checkpoint().map(|checkpoint| checkpoint.name.as_str()),
            response: ResponseLine::of(info),
        }
    }
}

impl ResponseLine {
    fn of(info: &RecordInfo) -> Option<Self> {
        let response = info.response()?;
        let run = match response.kind() {
            ResponseKind::Command => StoredRun::decode(response.bytes()).ok(),
            _ => None,
        };
        Some(Self {
            kind: kind_name(response.kind()),
            bytes: response.bytes().len(),
            run: run.as_ref().map(RunLine::of),
        })
    }
}

impl RunLine {
    fn of(run: &StoredRun) -> Self {
        let bytes_of = |wanted| {
            let frames = run.output().ok()?;
            let lengths = frames
                .filter(|(stream, _)| *stream == wanted)
                .map(|(_, b)| b.len());
            Some(lengths.sum())
        };
        let (exit_code, signal) = match run.ending() {
            Ending::Exited(code) => (Some(code), None),
            Ending::Signalled(signal) => (None, Some(signal)),
        };
        Self {
            exit_code,
            signal,
            stdout_bytes: bytes_of(Stream::Out),
            stderr_bytes: bytes_of(Stream::Err),
            omitted: run.output().err().map(|omission| omission.to_string()),
        }
    }
}

/// The answer in one line for people.
pub(crate) fn response_in_words(info: &RecordInfo) -> Option<String> {
    let response = ResponseLine::of(info)?;
    let Some(run) = response.run else {
        return Some(format!(
            "{} answer of {} bytes",
            response.kind, response.bytes
        ));
    };
    let ending = match (run.exit_code, run.signal) {
        (Some(code), _) => Ending::Exited(code),
        (None, signal) => Ending::Signalled(signal.unwrap_or_default()),
    };
    Some(match (run.stdout_bytes, run.stderr_bytes, run.omitted) {
        (Some(out), Some(err), _) => {
            format!("the command {ending}; {out} bytes of output, {err} bytes of errors")
        }
        (_, _, omitted) => format!(
            "the command {ending}; output not stored: {}",
            omitted.unwrap_or_default()
        ),
    })
}

fn kind_name(kind: &ResponseKind) -> &'static str {
    match kind {
        ResponseKind::Raw => "raw",
        ResponseKind::Typed { .. } => "typed",
        ResponseKind::Http => "http",
        ResponseKind::Command => "command",
        ResponseKind::Json { .. } => "json",
        _ => "other",
    }
}

/// The scope for people: its text, or its bytes in hex.
pub(crate) fn scope_in_words(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => crate::speak::printable(text),
        Err(_) => format!("hex:{}", hex(bytes)),
    }
}

fn hex(bytes: &[u8]) -> String {
    let digits: Vec<_> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    digits.concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_that_is_not_text_is_shown_in_hex() {
        assert_eq!(scope_in_words(b"alice"), "alice");
        assert_eq!(scope_in_words(b"\xff\x01"), "hex:ff01");
        assert_eq!(scope_in_words(b"\x1b"), "\\u{1b}");
    }
}
