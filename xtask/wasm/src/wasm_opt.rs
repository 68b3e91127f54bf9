//! wasm-opt, a program of the system: what it saves is a third, what it costs is a second.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread;

use anyhow::{Context, Result, ensure};

/// Listed one by one: `--all-features` makes modules that browsers refuse, and without any
/// of them what the compiler emits is refused here.
const FLAGS: [&str; 7] = [
    "-Oz",
    "--enable-bulk-memory",
    "--enable-reference-types",
    "--enable-sign-ext",
    "--enable-nontrapping-float-to-int",
    "--enable-mutable-globals",
    "--enable-multivalue",
];

/// The same module, smaller.
pub(crate) fn shrink(program: &Path, wasm: &[u8]) -> Result<Vec<u8>> {
    let name = program.display();
    println!("    $ {name} {}", FLAGS.join(" "));
    let mut child = Command::new(program)
        .args(FLAGS)
        .args(["-", "--output", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("`{name}` could not be started"))?;
    let mut input = child.stdin.take().context("its input is a pipe")?;
    // Written by a thread of its own: neither side waits on a full pipe of the other.
    let output = thread::scope(|scope| {
        let writer = scope.spawn(move || input.write_all(wasm));
        let output = child.wait_with_output();
        // A program that ends early breaks the pipe; its status tells why.
        drop(writer.join());
        output
    });
    let output = output.with_context(|| format!("`{name}` was lost"))?;
    ensure!(
        output.status.success(),
        "`{name}` failed ({})",
        output.status
    );
    ensure!(
        output.stdout.starts_with(b"\0asm"),
        "`{name}` did not print a module"
    );
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_that_is_missing_fails_or_prints_something_else_is_refused() {
        let missing = shrink(Path::new("no-such-wasm-opt"), b"");
        assert!(missing.is_err());
        for program in ["false", "true"] {
            let failed = shrink(Path::new(program), &vec![0; 1 << 20]);
            assert!(failed.is_err(), "{program}");
        }
    }
}
