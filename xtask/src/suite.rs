//! Steps in a row: choosing them, running them, and a last word on each one.

use crate::process::Failure;
use crate::stopwatch::{Elapsed, Stopwatch};
use crate::workspace::Workspace;

/// One thing that continuous integration checks.
#[derive(Debug)]
pub(crate) struct Step {
    /// What `--only` calls it.
    pub(crate) name: &'static str,
    /// What it checks, for `--list`.
    pub(crate) what: &'static str,
    /// Does it.
    pub(crate) run: fn(&Workspace) -> Result<Ending, Failure>,
}

/// How a step that did not fail came to its end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It ran, and all is well.
    Passed,
    /// It did not run on this machine, for this reason and with this remedy.
    Unavailable(String),
}

/// The steps of one run.
#[derive(Debug)]
pub(crate) struct Choice {
    steps: Vec<&'static Step>,
    by_name: bool,
}

impl Choice {
    /// The steps called `only`, or all of them where nothing is named.
    pub(crate) fn of(all: &'static [Step], only: &[String]) -> Result<Self, Failure> {
        for wanted in only {
            if !all.iter().any(|step| step.name == wanted) {
                let known: Vec<_> = all.iter().map(|step| step.name).collect();
                let known = known.join(", ");
                return Err(Failure::new(format!(
                    "no step `{wanted}`; there are: {known}"
                )));
            }
        }
        let is_chosen = |step: &&Step| only.is_empty() || only.iter().any(|o| o == step.name);
        Ok(Self {
            steps: all.iter().filter(is_chosen).collect(),
            by_name: !only.is_empty(),
        })
    }
}

/// Prints the steps, runs nothing.
pub(crate) fn list(all: &[Step]) {
    for step in all {
        println!("{:<14} {}", step.name, step.what);
    }
}

/// Runs the chosen steps, stops at the first failure, and prints what became of each.
pub(crate) fn run(workspace: &Workspace, choice: &Choice) -> Result<(), Failure> {
    let whole = Stopwatch::start();
    let mut report = Vec::new();
    let mut failure = None;
    for step in &choice.steps {
        println!("\n==> {}: {}", step.name, step.what);
        let stopwatch = Stopwatch::start();
        let result = insist(choice.by_name, (step.run)(workspace));
        let took = stopwatch.elapsed();
        match result {
            Ok(ending) => {
                let line = describe(step, &ending, took);
                println!("    {line}");
                report.push(line);
            }
            Err(error) => {
                report.push(format!("{:<14} FAILED {took:>10}", step.name));
                failure = Some(format!("step `{}` failed after {took}: {error}", step.name));
                break;
            }
        }
    }
    let left_out: Vec<_> = choice
        .steps
        .iter()
        .skip(report.len())
        .map(|step| step.name)
        .collect();
    if !left_out.is_empty() {
        report.push(format!(
            "not run after the failure: {}",
            left_out.join(", ")
        ));
    }
    println!("\n==> summary after {}", whole.elapsed());
    for line in report {
        println!("    {line}");
    }
    failure.map_or(Ok(()), |message| Err(Failure::new(message)))
}

/// Who asks for a step by its name is not served by a run that leaves it out.
fn insist(by_name: bool, result: Result<Ending, Failure>) -> Result<Ending, Failure> {
    match result {
        Ok(Ending::Unavailable(why)) if by_name => Err(Failure::new(why)),
        other => other,
    }
}

fn describe(step: &Step, ending: &Ending, took: Elapsed) -> String {
    match ending {
        Ending::Passed => format!("{:<14} passed {took:>10}", step.name),
        Ending::Unavailable(why) => format!("{:<14} not available: {why}", step.name),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static SAMPLE: &[Step] = &[
        Step {
            name: "one",
            what: "passes",
            run: |_| Ok(Ending::Passed),
        },
        Step {
            name: "two",
            what: "is missing",
            run: |_| Ok(Ending::Unavailable("no".into())),
        },
    ];

    fn names(choice: &Choice) -> Vec<&str> {
        choice.steps.iter().map(|step| step.name).collect()
    }

    #[test]
    fn nothing_named_is_everything() {
        let choice = Choice::of(SAMPLE, &[]).expect("no name can be wrong");
        assert_eq!(names(&choice), ["one", "two"]);
        assert!(!choice.by_name);
    }

    #[test]
    fn named_steps_run_in_the_order_of_the_list() {
        let choice = Choice::of(SAMPLE, &["two".into(), "one".into()]).expect("both exist");
        assert_eq!(names(&choice), ["one", "two"]);
        assert!(choice.by_name);
    }

    #[test]
    fn an_unknown_name_fails_and_lists_the_known_ones() {
        let failure = Choice::of(SAMPLE, &["three".into()]).expect_err("there is no three");
        assert_eq!(failure.to_string(), "no step `three`; there are: one, two");
    }

    #[test]
    fn a_missing_step_fails_only_who_asked_for_it() {
        let missing = || Ok(Ending::Unavailable("no".into()));
        assert!(matches!(
            insist(false, missing()),
            Ok(Ending::Unavailable(_))
        ));
        assert!(insist(true, missing()).is_err());
        assert!(matches!(
            insist(true, Ok(Ending::Passed)),
            Ok(Ending::Passed)
        ));
    }

    #[test]
    fn each_ending_has_its_line() {
        let took = Elapsed(std::time::Duration::from_millis(1_500));
        assert_eq!(
            describe(&SAMPLE[0], &Ending::Passed, took),
            "one            passed      1.5 s"
        );
        let missing = Ending::Unavailable("no".into());
        assert_eq!(
            describe(&SAMPLE[1], &missing, took),
            "two            not available: no"
        );
    }
}
