//! Completions and manual pages.

use crate::desk::Desk;

#[test]
fn every_shell_gets_completions_that_know_the_commands() {
    let desk = Desk::new();
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = desk.run(&["completions", shell]);
        assert_eq!(script.code, 0, "{shell}: {script:?}");
        for word in ["exec", "resolve", "advice", "fingerprint-stdin"] {
            assert!(script.out.contains(word), "{shell}: {word}");
        }
    }
    assert_eq!(desk.run(&["completions", "tcsh"]).code, 64);
    assert!(!desk.ledger().exists(), "no ledger is needed");
}

#[test]
fn the_manual_is_one_page_or_a_folder_of_pages() {
    let desk = Desk::new();
    let page = desk.run(&["man"]);
    assert_eq!(page.code, 0, "{page:?}");
    assert!(page.out.contains(".TH idem 1"), "{}", &page.out[..200]);
    assert!(page.out.contains("Exit codes") && page.out.contains("idem\\-exec"));
    std::fs::create_dir(desk.path("man1")).unwrap();
    let written = desk.run(&["man", "--dir", "man1"]);
    assert_eq!(written.code, 0, "{written:?}");
    let exec = std::fs::read_to_string(desk.path("man1/idem-exec.1")).unwrap();
    assert!(exec.contains("\\-\\-on\\-interrupted"), "{exec}");
    let nowhere = desk.run(&["man", "--dir", "missing"]);
    assert_eq!(nowhere.code, 74, "{nowhere:?}");
}
