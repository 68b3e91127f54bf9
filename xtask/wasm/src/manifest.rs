//! `package.json`: its version comes from cargo, the rest is hand-written and checked here.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde::de::{MapAccess, Visitor};
use serde_json::Value;

use crate::folder::Folder;

/// Its name in the folder.
pub(crate) const NAME: &str = "package.json";

/// What the hand-written file says in place of a version.
const PLACEHOLDER: &str = "\"version\": \"0.0.0\"";

/// What a program may import; nothing else of the package can be reached.
const EXPORTS: [&str; 7] = [
    ".",
    "./inline",
    "./package.json",
    "./react",
    "./testing",
    "./wasm",
    "./web",
];

/// The text with the version of the workspace. A replacement keeps the order of the members,
/// which has a meaning in `exports`, and which a JSON library would lose.
pub(crate) fn with_version(text: &str) -> Result<String> {
    let places = text.matches(PLACEHOLDER).count();
    ensure!(
        places == 1,
        "{NAME} must say `{PLACEHOLDER}` once, and says it {places} times"
    );
    let version = format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"));
    Ok(text.replacen(PLACEHOLDER, &version, 1))
}

/// Holds the manifest against the files of the package and the promises of its README.
pub(crate) fn check(folder: &Folder) -> Result<()> {
    let text = folder.text(NAME)?;
    let manifest: Value = serde_json::from_str(text).context("package.json is not JSON")?;
    fixed_members(&manifest)?;
    react_is_optional(&manifest)?;
    let Ordered(members) = serde_json::from_str(text)?;
    let exports = members.into_iter().find(|(name, _)| name == "exports");
    let (_, exports) = exports.context("package.json has no exports")?;
    let Node::Members(Ordered(exports)) = exports else {
        bail!("`exports` is not an object");
    };
    exports_exist(folder, &exports)?;
    let react = folder.text("react.js")?;
    ensure!(
        code_lines(react)
            .next()
            .is_some_and(|line| line.contains("\"use client\"")),
        "react.js must start with \"use client\""
    );
    Ok(())
}

fn fixed_members(manifest: &Value) -> Result<()> {
    let expected = [
        ("name", Value::from("@idempotency-ledger/client")),
        ("version", Value::from(env!("CARGO_PKG_VERSION"))),
        ("license", Value::from("MIT OR Apache-2.0")),
        ("type", Value::from("module")),
        ("sideEffects", Value::from(false)),
    ];
    for (name, value) in expected {
        let is = &manifest[name];
        ensure!(
            *is == value,
            "`{name}` in package.json must be {value}, and is {is}"
        );
    }
    // A script would run on the machine of who installs the package.
    for name in ["dependencies", "scripts", "bundledDependencies"] {
        ensure!(
            manifest[name].is_null(),
            "package.json must have no `{name}`"
        );
    }
    ensure!(
        manifest["files"].is_array(),
        "package.json must list its `files`"
    );
    Ok(())
}

fn react_is_optional(manifest: &Value) -> Result<()> {
    let peers = manifest["peerDependencies"].as_object();
    let peers = peers.context("package.json has no peerDependencies")?;
    ensure!(
        peers.keys().eq(["react"]),
        "React is the one peer dependency, and there are {:?}",
        peers.keys().collect::<Vec<_>>()
    );
    let optional = &manifest["peerDependenciesMeta"]["react"]["optional"];
    ensure!(
        *optional == true,
        "React must be an optional peer dependency"
    );
    Ok(())
}

fn exports_exist(folder: &Folder, exports: &[(String, Node)]) -> Result<()> {
    let mut names: Vec<_> = exports.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    ensure!(
        names == EXPORTS,
        "the exports are {names:?}, and must be {EXPORTS:?}"
    );
    for (name, node) in exports {
        match node {
            Node::Path(path) => exists(folder, name, path)?,
            Node::Members(Ordered(conditions)) => conditions_exist(folder, name, conditions)?,
            Node::Other(_) => bail!("the export {name} is neither a path nor conditions"),
        }
    }
    let find = |wanted: &str| exports.iter().find(|(name, _)| name == wanted);
    let (root, inline) = (find("."), find("./inline"));
    ensure!(
        root.map(|(_, node)| node) == inline.map(|(_, node)| node),
        "./inline must be an alias of ."
    );
    Ok(())
}

/// The first condition that fits is taken: so the types come first, and what fits always
/// comes last.
fn conditions_exist(folder: &Folder, name: &str, conditions: &[(String, Node)]) -> Result<()> {
    let order: Vec<_> = conditions.iter().map(|(name, _)| name.as_str()).collect();
    ensure!(
        order.first() == Some(&"types") && order.last() == Some(&"default"),
        "the export {name} has the conditions {order:?}: `types` comes first, `default` last"
    );
    for (condition, node) in conditions {
        let Node::Path(path) = node else {
            bail!("the condition {condition} of {name} is not a path");
        };
        ensure!(
            (condition == "types") == path.ends_with(".d.ts"),
            "the condition {condition} of {name} is {path}"
        );
        exists(folder, name, path)?;
    }
    Ok(())
}

fn exists(folder: &Folder, name: &str, path: &str) -> Result<()> {
    let file = path.strip_prefix("./");
    let file = file.with_context(|| format!("the export {name} must start with ./: {path}"))?;
    ensure!(
        folder.files.contains_key(file),
        "the export {name} is {path}, which is missing"
    );
    Ok(())
}

/// Lines that are neither empty nor a comment.
fn code_lines(text: &str) -> impl Iterator<Item = &str> {
    let lines = text.lines().map(str::trim);
    lines.filter(|line| {
        !line.is_empty()
            && !["//", "/*", "*"]
                .iter()
                .any(|start| line.starts_with(start))
    })
}

/// An object of JSON with its members in the order of the text.
#[derive(Debug, PartialEq, Eq)]
struct Ordered(Vec<(String, Node)>);

#[derive(Debug, PartialEq, Eq, Deserialize)]
#[serde(untagged)]
enum Node {
    Path(String),
    Members(Ordered),
    /// Numbers, lists and the like, which no export is.
    Other(Value),
}

impl<'de> Deserialize<'de> for Ordered {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Members;
        impl<'de> Visitor<'de> for Members {
            type Value = Ordered;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Ordered, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Ordered(members))
            }
        }
        deserializer.deserialize_map(Members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r#"{
  "name": "@idempotency-ledger/client",
  "version": "0.0.0",
  "license": "MIT OR Apache-2.0",
  "type": "module",
  "sideEffects": false,
  "exports": {
    ".": { "types": "./index.d.ts", "default": "./index.js" },
    "./inline": { "types": "./index.d.ts", "default": "./index.js" },
    "./web": { "types": "./web.d.ts", "default": "./web.js" },
    "./wasm": "./idempotency_client_bg.wasm",
    "./react": { "types": "./react.d.ts", "default": "./react.js" },
    "./testing": { "types": "./testing.d.ts", "default": "./testing.js" },
    "./package.json": "./package.json"
  },
  "files": ["*.js", "*.d.ts", "*.wasm"],
  "peerDependencies": { "react": ">=18" },
  "peerDependenciesMeta": { "react": { "optional": true } }
}"#;

    fn folder(manifest: &str) -> Folder {
        let files = [
            "idempotency_client_bg.wasm",
            "index.d.ts",
            "index.js",
            "react.d.ts",
            "testing.d.ts",
            "testing.js",
            "web.d.ts",
            "web.js",
        ];
        let mut folder = Folder {
            files: files.map(|path| (path.to_owned(), Vec::new())).into(),
        };
        let manifest = with_version(manifest).expect("it has the placeholder");
        folder.files.insert(NAME.into(), manifest.into_bytes());
        let react = "// The hook.\n\"use client\";\nimport \"react\";\n";
        folder.files.insert("react.js".into(), react.into());
        folder
    }

    /// What is said about the good manifest with one change.
    fn complaint(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "{from}");
        let changed = GOOD.replacen(from, to, 1);
        let error = check(&folder(&changed)).expect_err(to);
        format!("{error:#}")
    }

    #[test]
    fn a_complete_manifest_passes() {
        check(&folder(GOOD)).expect("nothing is wrong");
    }

    #[test]
    fn the_version_is_cargos_and_is_asked_for_once() {
        let text = with_version(GOOD).expect("one placeholder");
        assert!(text.contains(&format!("\"version\": \"{}\"", env!("CARGO_PKG_VERSION"))));
        assert!(with_version("{}").is_err());
        assert!(with_version(&format!("{GOOD}{GOOD}")).is_err());
    }

    #[test]
    fn each_fixed_member_is_demanded() {
        assert!(complaint("@idempotency-ledger/client", "client").contains("`name`"));
        assert!(complaint("MIT OR Apache-2.0", "MIT").contains("`license`"));
        assert!(complaint("\"module\"", "\"commonjs\"").contains("`type`"));
        assert!(complaint("\"sideEffects\": false", "\"x\": 1").contains("`sideEffects`"));
        assert!(complaint("\"files\": [", "\"file\": [").contains("`files`"));
    }

    #[test]
    fn nothing_is_installed_or_run_along() {
        let said = complaint("\"type\"", "\"dependencies\": {}, \"type\"");
        assert!(said.contains("no `dependencies`"), "{said}");
        let said = complaint("\"type\"", "\"scripts\": {\"install\": \"x\"}, \"type\"");
        assert!(said.contains("no `scripts`"), "{said}");
        let said = complaint(
            "{ \"react\": \">=18\" }",
            "{ \"react\": \"1\", \"vue\": \"1\" }",
        );
        assert!(said.contains("one peer dependency"), "{said}");
        let said = complaint("\"optional\": true", "\"optional\": false");
        assert!(said.contains("optional peer"), "{said}");
    }

    #[test]
    fn each_export_is_demanded_and_no_other() {
        for name in ["./inline", "./web", "./wasm", "./react", "./testing"] {
            let said = complaint(&format!("\"{name}\""), "\"./other\"");
            assert!(said.starts_with("the exports are "), "{said}");
        }
        let said = complaint("\"exports\"", "\"export\"");
        assert!(said.contains("no exports"), "{said}");
    }

    #[test]
    fn each_file_that_is_exported_exists() {
        for (from, to) in [
            ("\"./web.js\"", "\"./gone.js\""),
            ("\"./react.d.ts\"", "\"./gone.d.ts\""),
            ("\"./idempotency_client_bg.wasm\"", "\"./gone.wasm\""),
        ] {
            assert!(complaint(from, to).contains("which is missing"), "{to}");
        }
        assert!(complaint("\"./web.js\"", "\"web.js\"").contains("start with ./"));
        assert!(complaint("\"./web.js\"", "[]").contains("is not a path"));
        assert!(complaint("\"./idempotency_client_bg.wasm\"", "null").contains("neither"));
    }

    #[test]
    fn types_come_first_and_the_default_last() {
        let swapped = "{ \"default\": \"./web.js\", \"types\": \"./web.d.ts\" }";
        let said = complaint(
            "{ \"types\": \"./web.d.ts\", \"default\": \"./web.js\" }",
            swapped,
        );
        assert!(said.contains("`types` comes first"), "{said}");
        let said = complaint("\"types\": \"./web.d.ts\"", "\"types\": \"./web.js\"");
        assert!(
            said.contains("condition types of ./web is ./web.js"),
            "{said}"
        );
    }

    #[test]
    fn inline_is_the_root_by_another_name() {
        let said = complaint(
            "\"./inline\": { \"types\": \"./index.d.ts\", \"default\": \"./index.js\" }",
            "\"./inline\": { \"types\": \"./web.d.ts\", \"default\": \"./web.js\" }",
        );
        assert!(said.contains("alias"), "{said}");
    }

    #[test]
    fn the_hook_is_marked_for_the_client() {
        let mut folder = folder(GOOD);
        let react = "import \"react\";\n\"use client\";\n";
        folder.files.insert("react.js".into(), react.into());
        let error = check(&folder).expect_err("too late").to_string();
        assert!(error.contains("use client"), "{error}");
    }
}
