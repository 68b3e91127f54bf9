//! The shell examples of the README and of the cookbook, run line by line as they stand there.
//! Those in Rust are run by `tests/documents`, and `cargo xtask` knows its own.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::care::interrupt_request;
use crate::desk::{Answer, Desk};

/// The blocks of shell in a document, each with its heading.
fn blocks(document: &str) -> Vec<(String, Vec<String>)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let text = fs::read_to_string(root.join(document)).unwrap();
    let mut blocks: Vec<(String, Vec<String>)> = Vec::new();
    let (mut heading, mut is_shell) = ("", false);
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) => {
                is_shell = language == "sh";
                if is_shell {
                    blocks.push((heading.to_owned(), Vec::new()));
                }
            }
            None if is_shell => blocks.last_mut().unwrap().1.push(line.to_owned()),
            None => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    blocks
}

/// The block with this heading, the last of them.
fn block(document: &str, heading: &str) -> Vec<String> {
    let found = blocks(document).into_iter().rfind(|(at, _)| at == heading);
    found.expect("the document has it").1
}

/// A person's home, with `idem` on the path.
struct Home(Desk);

impl Home {
    fn new() -> Self {
        let home = Self(Desk::new());
        let bin = home.0.path("bin");
        fs::create_dir(&bin).unwrap();
        let idem = Path::new(env!("CARGO_BIN_EXE_idem"));
        std::os::unix::fs::symlink(idem, bin.join("idem")).unwrap();
        // In the repository it is cargo that builds and starts it.
        home.script(
            "bin/cargo",
            "test \"$1 $2 $3 $4 $5\" = 'run -q --features cli --' || exit 99\nshift 5\n\
             exec idem \"$@\"",
        );
        home
    }

    /// A program of the person's.
    fn script(&self, name: &str, text: &str) {
        let path = self.0.path(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// What a person types.
    fn shell(&self, line: &str) -> Command {
        let mut command = self.0.sh(line);
        let path = std::env::var("PATH").unwrap();
        let path = format!("{}:{path}", self.0.path("bin").display());
        // A person names the ledger, or means the one at home.
        command.env("PATH", path).env_remove("IDEM_LEDGER");
        command
    }

    fn run(&self, line: &str) -> Answer {
        Answer::of(self.shell(line).output().unwrap())
    }
}

#[test]
fn every_shell_example_is_run() {
    let headings = |document| -> Vec<String> {
        let blocks = blocks(document);
        blocks.into_iter().map(|(heading, _)| heading).collect()
    };
    let of_readme = headings("README.md");
    let (of_xtask, run): (Vec<_>, Vec<_>) =
        of_readme.iter().partition(|heading| *heading == "Try it");
    assert_eq!((of_xtask.len(), run.len()), (2, 2));
    for (heading, lines) in blocks("README.md") {
        let is_of_xtask = lines.iter().all(|line| line.starts_with("cargo xtask "));
        assert_eq!(is_of_xtask, heading == "Try it", "{lines:?}");
        assert!(is_of_xtask || heading == "From the shell", "{heading}");
    }
    let of_cookbook = ["Jobs by the calendar", "Interrupted HTTP requests"];
    assert_eq!(headings("docs/cookbook.md"), of_cookbook);
}

#[test]
fn the_lines_about_interrupted_requests_find_and_complete_one() {
    let home = Home::new();
    let (_, scope) = interrupt_request(home.0.path("shop.redb"));
    fs::write(home.0.path("charge.json"), "{\"id\":17}").unwrap();
    let hash = String::from_utf8(scope)
        .unwrap()
        .replace("POST /charges ", "");
    let lines = block("docs/cookbook.md", "Interrupted HTTP requests").join("\n");
    let (list, resolve) = lines.split_once('\n').unwrap();
    let listed = home.run(list);
    assert!(listed.out.contains("order-17"), "{listed:?}");
    let resolved = home.run(&format!("HASH={hash}\n{resolve}"));
    assert_eq!(resolved.code, 0, "{resolved:?}");
    assert!(!home.run(list).out.contains("order-17"));
}

#[test]
fn the_first_line_of_the_readme_charges_once() {
    let home = Home::new();
    let (_, lines) = blocks("README.md").remove(2);
    let [line] = &lines[..] else {
        panic!("one line: {lines:?}");
    };
    let first = home.run(line);
    assert_eq!(first.code, 0, "{first:?}");
    assert!(first.out.starts_with("charged 25 EUR at "), "{first:?}");
    let second = home.run(line);
    assert_eq!((second.code, &second.out), (0, &first.out));
    assert!(second.err.contains("replayed"), "{second:?}");
    assert!(home.0.path(".local/state/idem/ledger.redb").is_file());
}

#[test]
fn the_lines_of_the_readme_do_what_is_written_beside_them() {
    let home = Home::new();
    let lines = block("README.md", "From the shell");
    let [exec, ls, resolve, seen, watch, advice] = &lines[..] else {
        panic!("six lines: {lines:?}");
    };
    home.script("send-invoice.sh", "exit 1");
    home.script("handle", "echo \"handled $1\" >> effects");
    assert_eq!(home.run(exec).code, 1);
    assert!(home.run(ls).out.contains("invoice-2026-11"));
    assert_eq!(home.run(exec).code, 70, "nobody knows whether it was sent");
    assert_eq!(home.run(resolve).code, 0);
    home.script("send-invoice.sh", "echo sent >> effects; echo sent");
    for _ in 0..2 {
        let sent = home.run(exec);
        assert_eq!((sent.code, sent.out.as_str()), (0, "sent\n"), "{sent:?}");
    }
    assert_eq!(home.0.effects(), 1, "once a month");
    assert!(!home.run(ls).out.contains("invoice"), "it is known now");
    assert_eq!([home.run(seen).code, home.run(seen).code], [0, 1]);
    assert_eq!(home.0.effects(), 2);
    let advised = home.run(advice);
    assert_eq!(advised.code, 0, "{advised:?}");

    // It goes on until it is ended.
    let mut watching = home.shell(&format!("exec {watch}"));
    let mut watching = watching.stdout(Stdio::piped()).spawn().unwrap();
    let mut line = String::new();
    let mut shown = BufReader::new(watching.stdout.take().unwrap());
    shown.read_line(&mut line).unwrap();
    watching.kill().unwrap();
    watching.wait().unwrap();
    assert!(line.contains("claims"), "{line}");
}

#[test]
fn the_job_of_the_cookbook_runs_once_a_month() {
    let home = Home::new();
    let lines = block("docs/cookbook.md", "Jobs by the calendar");
    let [line] = &lines[..] else {
        panic!("one line: {lines:?}");
    };
    home.script("send-invoices", "echo sent >> effects");
    // A date of its own: the month could end between the two.
    home.script("bin/date", "test \"$1\" = +%Y-%m && echo 2026-11");
    assert_eq!([home.run(line).code, home.run(line).code], [0, 0]);
    assert_eq!(home.0.effects(), 1);
    home.script("bin/date", "test \"$1\" = +%Y-%m && echo 2026-12");
    assert_eq!(home.run(line).code, 0);
    assert_eq!(home.0.effects(), 2);
}
