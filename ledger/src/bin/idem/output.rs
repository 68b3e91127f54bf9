//! What `idem` prints on standard output: tables for people, JSON lines for programs.

use std::io::{self, BufWriter, ErrorKind, StdoutLock, Write};

use serde::Serialize;

use crate::exit::Failure;
use crate::speak::visible_lines;

/// Standard output. A reader that goes away ends the printing, and is no failure.
#[derive(Debug)]
pub(crate) struct Output {
    out: BufWriter<StdoutLock<'static>>,
    gone: bool,
}

impl Output {
    pub(crate) fn new() -> Self {
        Self {
            out: BufWriter::new(io::stdout().lock()),
            gone: false,
        }
    }

    /// Whether nobody reads any more.
    pub(crate) fn is_gone(&self) -> bool {
        self.gone
    }

    /// A line for people, or several.
    pub(crate) fn line(&mut self, line: &str) -> Result<(), Failure> {
        self.write(&visible_lines(line))
    }

    /// One object on a line of its own, exactly as it is.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result<(), Failure> {
        let line = serde_json::to_string(object).expect("no map with odd keys, no float");
        self.write(&line)
    }

    fn write(&mut self, line: &str) -> Result<(), Failure> {
        if self.gone {
            return Ok(());
        }
        let written = writeln!(self.out, "{line}");
        self.note(written)
    }

    pub(crate) fn finish(mut self) -> Result<(), Failure> {
        let flushed = self.out.flush();
        self.note(flushed)
    }

    fn note(&mut self, result: io::Result<()>) -> Result<(), Failure> {
        match result {
            Ok(()) => Ok(()),
            Err(error) if error.kind() == ErrorKind::BrokenPipe => {
                self.gone = true;
                Ok(())
            }
            Err(error) => Err(Failure::storage(format!(
                "standard output cannot be written: {error}"
            ))),
        }
    }
}

/// How many rows a table holds before it prints them.
const BLOCK_ROWS: usize = 1_000;

/// Rows under a heading, in columns as wide as their widest cell so far. A long table is printed
/// in blocks, so that it never has to fit into memory.
#[derive(Debug)]
pub(crate) struct Table<const COLUMNS: usize> {
    rows: Vec<[String; COLUMNS]>,
    widths: [usize; COLUMNS],
}

impl<const COLUMNS: usize> Table<COLUMNS> {
    pub(crate) fn new(heading: [&str; COLUMNS]) -> Self {
        Self {
            rows: vec![heading.map(str::to_owned)],
            widths: [0; COLUMNS],
        }
    }

    pub(crate) fn row(
        &mut self,
        row: [String; COLUMNS],
        output: &mut Output,
    ) -> Result<(), Failure> {
        self.rows.push(row);
        if self.rows.len() >= BLOCK_ROWS {
            self.print(output)
        } else {
            Ok(())
        }
    }

    /// Prints what has not been printed.
    pub(crate) fn print(&mut self, output: &mut Output) -> Result<(), Failure> {
        for row in &self.rows {
            for (width, cell) in self.widths.iter_mut().zip(row) {
                *width = (*width).max(cell.chars().count());
            }
        }
        for row in self.rows.drain(..) {
            output.line(&spell(&row, &self.widths))?;
        }
        Ok(())
    }
}

fn spell(row: &[String], widths: &[usize]) -> String {
    let cells: Vec<_> = row
        .iter()
        .zip(widths)
        .map(|(cell, width)| format!("{cell:<width$}"))
        .collect();
    cells.join("  ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_and_lines_end_at_their_text() {
        let row = |cells: [&str; 3]| cells.map(str::to_owned);
        assert_eq!(spell(&row(["a", "bb", "c"]), &[3, 2, 9]), "a    bb  c");
        assert_eq!(spell(&row(["a", "", ""]), &[3, 2, 9]), "a");
    }
}
