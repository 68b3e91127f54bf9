//! Takes the Rust examples out of the documents, so that what is read there is what is compiled
//! and run (`documents/main.rs`).

use std::fmt::Write as _;
use std::path::Path;
use std::{env, fs};

/// Each with the name that its examples begin with.
const DOCUMENTS: [(&str, &str); 2] = [
    ("readme", "../README.md"),
    ("cookbook", "../docs/cookbook.md"),
];

fn main() {
    let out = env::var_os("OUT_DIR").expect("cargo says where");
    let out = Path::new(&out);
    let mut names = String::new();
    for (document, path) in DOCUMENTS {
        println!("cargo::rerun-if-changed={path}");
        let text = fs::read_to_string(path).expect("the documents lie in the repository");
        for (heading, code) in rust_examples(&text) {
            let name = format!("{document}: {heading}");
            let file = format!("{}.rs", name.to_lowercase().replace([':', ' '], "_"));
            fs::write(out.join(file), whole(&code)).expect("cargo's folder can be written");
            writeln!(names, "{name:?},").expect("memory");
        }
    }
    fs::write(out.join("examples.rs"), format!("[{names}]"))
        .expect("cargo's folder can be written");
}

/// The blocks of Rust, each with its heading.
fn rust_examples(text: &str) -> Vec<(String, String)> {
    let mut examples: Vec<(String, String)> = Vec::new();
    let mut heading = "";
    let mut is_rust = false;
    for line in text.lines() {
        match line.strip_prefix("```") {
            Some(language) => {
                is_rust = language.starts_with("rust");
                if is_rust {
                    examples.push((heading.to_owned(), String::new()));
                }
            }
            None if is_rust => {
                let (_, code) = examples.last_mut().expect("its block has begun");
                code.push_str(line);
                code.push('\n');
            }
            None => heading = line.strip_prefix("## ").unwrap_or(heading),
        }
    }
    examples
}

/// A program gets a door for the test; statements become a block, whose value is what they made
/// last.
fn whole(code: &str) -> String {
    if code.contains("fn main()") {
        return format!(
            "{code}\npub(super) fn run() -> impl std::process::Termination {{ main() }}"
        );
    }
    let last = code.lines().filter_map(|line| line.strip_prefix("let "));
    let mut names = last.filter_map(|binding| binding.split([' ', ':', '=']).next());
    format!("{{\n{code}\n{}\n}}\n", names.next_back().unwrap_or("()"))
}
