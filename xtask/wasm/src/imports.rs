//! Whether the modules of the package find one another.
//!
//! A missing file would show only in the browser of who imports the entry that needs it. This
//! reads `from "./x.js"` and `import("./x.js")` as text; a package has no other way to say it.

use std::collections::BTreeSet;
use std::path::Path;

use anyhow::{Result, ensure};

use crate::folder::Folder;

/// What may be imported by name: the peer dependency, in any of its parts.
const PACKAGES: [&str; 1] = ["react"];

/// Follows every import of every module and of every description of types.
pub(crate) fn check(folder: &Folder) -> Result<()> {
    for path in folder.files.keys() {
        let is_types = path.ends_with(".d.ts");
        let is_module = Path::new(path).extension().is_some_and(|end| end == "js");
        if !is_types && !is_module {
            continue;
        }
        for specifier in specifiers(folder.text(path)?) {
            ensure!(
                leads_somewhere(folder, path, specifier, is_types),
                "{path} imports \"{specifier}\", which the package does not have"
            );
        }
    }
    Ok(())
}

fn leads_somewhere(folder: &Folder, from: &str, specifier: &str, is_types: bool) -> bool {
    if !specifier.starts_with('.') {
        let package = specifier.split('/').next().unwrap_or(specifier);
        return PACKAGES.contains(&package);
    }
    let Some(file) = resolve(from, specifier) else {
        return false;
    };
    // A description of types imports the module, and means what describes it.
    let types = file.strip_suffix(".js").map(|stem| format!("{stem}.d.ts"));
    let described = types.is_some_and(|types| folder.files.contains_key(&types));
    if is_types {
        described
    } else {
        folder.files.contains_key(&file)
    }
}

/// The path in the package; `None` leads out of it.
fn resolve(from: &str, specifier: &str) -> Option<String> {
    let mut parts: Vec<_> = from.split('/').collect();
    parts.pop();
    for part in specifier.split('/') {
        match part {
            "." => {}
            ".." => drop(parts.pop()?),
            name => parts.push(name),
        }
    }
    Some(parts.join("/"))
}

/// The strings behind `from`, `import` and `import(`. Comments are passed over: an example
/// in one imports the package by its own name.
fn specifiers(text: &str) -> BTreeSet<&str> {
    let is_comment = |line: &&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with('*') || line.starts_with("/*")
    };
    let lines = text.lines().filter(|line| !is_comment(line));
    lines.flat_map(specifiers_of_line).collect()
}

fn specifiers_of_line(line: &str) -> Vec<&str> {
    let mut found = Vec::new();
    let mut rest = line;
    while let Some(start) = rest.find(['"', '\'']) {
        let (before, quoted) = rest.split_at(start);
        let quote = &quoted[..1];
        let Some((inside, after)) = quoted[1..].split_once(quote) else {
            break;
        };
        let before = before.trim_end();
        let before = before.strip_suffix('(').unwrap_or(before).trim_end();
        let word = before.rsplit(|c: char| !c.is_alphanumeric()).next();
        if matches!(word, Some("from" | "import")) {
            found.push(inside);
        }
        rest = after;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdict(files: &[(&str, &str)]) -> Result<()> {
        let files = files
            .iter()
            .map(|(path, text)| ((*path).to_owned(), (*text).into()));
        let files = files.collect();
        check(&Folder { files })
    }

    #[test]
    fn every_way_to_import_is_seen() {
        let text = "import init, { submit } from \"./a.js\";\nimport './b.js';\n\
                    export * from \"./c.js\";\nconst d = await import(\"./d.js\");\n\
                    } from \"./e.js\";\ntype F = import(\"./f.js\").F;\n";
        let found: Vec<_> = specifiers(text).into_iter().collect();
        assert_eq!(
            found,
            ["./a.js", "./b.js", "./c.js", "./d.js", "./e.js", "./f.js"]
        );
    }

    #[test]
    fn other_strings_and_comments_are_none() {
        let text = "// import \"./a.js\";\n * import x from \"pkg\";\nconst from = \"./b.js\";\n\
                    throw new Error(\"import it from\", \"./c.js\"); it's\n";
        assert_eq!(specifiers(text), BTreeSet::new());
    }

    #[test]
    fn what_is_there_can_be_imported() {
        verdict(&[
            ("index.js", "import \"./inside/guard.js\";"),
            ("inside/guard.js", "import { a } from \"../store.js\";"),
            ("store.js", "export const a = 1;"),
            (
                "react.js",
                "import { useRef } from \"react\"; import x from \"react/jsx-runtime\";",
            ),
            ("index.d.ts", "export * from \"./store.js\";"),
            ("store.d.ts", ""),
            ("README.md", "import \"./gone.js\""),
        ])
        .expect("all is there");
    }

    #[test]
    fn what_is_missing_is_named_with_who_wants_it() {
        let error = verdict(&[("index.js", "import \"./gone.js\";")]).expect_err("not there");
        let expected = "index.js imports \"./gone.js\", which the package does not have";
        assert_eq!(error.to_string(), expected);
        assert!(verdict(&[("index.js", "import \"../outside.js\";")]).is_err());
        assert!(verdict(&[("index.js", "import \"lodash\";")]).is_err());
        let undescribed = [("a.js", ""), ("b.d.ts", "export * from \"./a.js\";")];
        assert!(verdict(&undescribed).is_err());
    }
}
