//! A bar for work that takes longer than a second, where a person looks at standard error.

use std::borrow::Cow;
use std::io::{IsTerminal, stderr};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use idempotency_ledger::{Clock, Progress, SystemClock};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// Shorter work shows nothing.
const PATIENCE: Duration = Duration::from_secs(1);
const TICK: Duration = Duration::from_millis(100);

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    Records,
    Bytes,
}

/// Runs work that tells how far it is.
pub(crate) fn counting<T>(
    what: impl Into<Cow<'static, str>>,
    unit: Unit,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> T,
) -> T {
    if !stderr().is_terminal() {
        return work(&mut |_| {});
    }
    counting_on(ProgressDrawTarget::stderr(), PATIENCE, what, unit, work)
}

fn counting_on<T>(
    target: ProgressDrawTarget,
    patience: Duration,
    what: impl Into<Cow<'static, str>>,
    unit: Unit,
    work: impl FnOnce(&mut dyn FnMut(Progress)) -> T,
) -> T {
    let bar = ProgressBar::hidden().with_message(what);
    bar.set_style(style(match unit {
        Unit::Records => "{msg} {wide_bar} {human_pos}/{human_len} records, {eta} left",
        Unit::Bytes => "{msg} {wide_bar} {bytes}/{total_bytes}, {eta} left",
    }));
    let clock = SystemClock::new();
    let mut waiting = Some(target);
    let done = work(&mut |progress| {
        if clock.elapsed() >= patience
            && let Some(target) = waiting.take()
        {
            bar.set_draw_target(target);
        }
        bar.set_length(progress.total.max(progress.done));
        bar.set_position(progress.done);
    });
    bar.finish_and_clear();
    done
}

/// Runs work that cannot tell how far it is.
pub(crate) fn spinning<T>(what: impl Into<Cow<'static, str>>, work: impl FnOnce() -> T) -> T {
    if !stderr().is_terminal() {
        return work();
    }
    spinning_on(ProgressDrawTarget::stderr(), PATIENCE, what, work)
}

fn spinning_on<T>(
    target: ProgressDrawTarget,
    patience: Duration,
    what: impl Into<Cow<'static, str>>,
    work: impl FnOnce() -> T,
) -> T {
    let bar = ProgressBar::hidden().with_message(what);
    bar.set_style(style("{spinner} {msg} {elapsed}"));
    let (ended, end) = mpsc::channel::<()>();
    let done = thread::scope(|scope| {
        let shown = bar.clone();
        scope.spawn(move || match end.recv_timeout(patience) {
            Err(RecvTimeoutError::Timeout) => {
                shown.set_draw_target(target);
                shown.enable_steady_tick(TICK);
            }
            Ok(()) | Err(RecvTimeoutError::Disconnected) => {}
        });
        let done = work();
        drop(ended);
        done
    });
    bar.finish_and_clear();
    done
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).expect("the templates are constants")
}

#[cfg(test)]
mod tests {
    use super::*;
    use indicatif::InMemoryTerm;

    fn terminal() -> (InMemoryTerm, ProgressDrawTarget) {
        let terminal = InMemoryTerm::new(5, 80);
        let target = ProgressDrawTarget::term_like(Box::new(terminal.clone()));
        (terminal, target)
    }

    fn count_to_ten(tell: &mut dyn FnMut(Progress), mut look: impl FnMut()) -> &'static str {
        for done in 1..=10 {
            tell(Progress { done, total: 10 });
            look();
        }
        "counted"
    }

    #[test]
    fn long_work_shows_how_far_it_is_and_leaves_nothing_behind() {
        let (terminal, target) = terminal();
        let mut seen = Vec::new();
        let done = counting_on(target, Duration::ZERO, "checking", Unit::Records, |tell| {
            count_to_ten(tell, || seen.push(terminal.contents()))
        });
        assert_eq!(done, "counted");
        let shows = |text: &str| seen.iter().any(|screen| screen.contains(text));
        assert!(shows("checking") && shows("10 records"), "{seen:#?}");
        assert_eq!(terminal.contents(), "");
    }

    #[test]
    fn short_work_shows_nothing() {
        let (terminal, target) = terminal();
        let mut seen = Vec::new();
        counting_on(target, Duration::MAX, "checking", Unit::Bytes, |tell| {
            count_to_ten(tell, || seen.push(terminal.contents()))
        });
        assert!(seen.iter().all(String::is_empty), "{seen:#?}");
    }

    #[test]
    fn work_that_cannot_tell_spins() {
        let (terminal, target) = terminal();
        spinning_on(target, Duration::ZERO, "compacting", || {
            while !terminal.contents().contains("compacting") {
                thread::yield_now();
            }
        });
        assert_eq!(terminal.contents(), "");
        let (terminal, target) = self::terminal();
        spinning_on(target, Duration::MAX, "compacting", || {
            assert_eq!(terminal.contents(), "");
        });
    }
}
