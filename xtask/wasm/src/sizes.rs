//! How large it is, and how large it may be. A kilobyte is a thousand bytes.

use std::fmt::Write as _;
use std::io::Write as _;
use std::ops::Add;

use anyhow::{Result, bail};
use flate2::{Compression, GzBuilder};

/// The module itself.
const WASM_BYTES_MAX: usize = 60_000;

/// All that a page loads through one entry, by gzip -9.
const PAGE_GZIP_BYTES_MAX: usize = 33_500;

/// Something in bytes: as it is, and as it travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size {
    pub(crate) raw: usize,
    pub(crate) gzip: usize,
    pub(crate) brotli: usize,
}

impl Size {
    /// Compresses to find out.
    pub(crate) fn of(bytes: &[u8]) -> Self {
        Self {
            raw: bytes.len(),
            gzip: gzip(bytes).len(),
            brotli: brotli(bytes).len(),
        }
    }
}

/// Files that travel one by one are compressed one by one.
impl Add for Size {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            raw: self.raw + other.raw,
            gzip: self.gzip + other.gzip,
            brotli: self.brotli + other.brotli,
        }
    }
}

/// As `gzip -9` does, without a time or a name. The program itself splits text into blocks a
/// little better, so a limit that is kept here is kept there as well.
fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = GzBuilder::new().write(Vec::new(), Compression::best());
    let written = encoder.write_all(bytes).and_then(|()| encoder.finish());
    written.expect("a vector takes every byte")
}

fn brotli(bytes: &[u8]) -> Vec<u8> {
    let mut compressed = Vec::new();
    let parameters = brotli::enc::BrotliEncoderParams::default();
    brotli::BrotliCompress(&mut &bytes[..], &mut compressed, &parameters)
        .expect("a vector takes every byte");
    compressed
}

/// One line of the report, with the figure that has a limit.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Entry {
    name: &'static str,
    size: Size,
    limit: Limit,
}

#[derive(Debug, Clone, Copy)]
enum Limit {
    Raw(usize),
    Gzip(usize),
}

impl Entry {
    /// The WebAssembly module.
    pub(crate) fn wasm(size: Size) -> Self {
        let limit = Limit::Raw(WASM_BYTES_MAX);
        let name = "the wasm";
        Self { name, size, limit }
    }

    /// What a page loads that imports `name`.
    pub(crate) fn page(name: &'static str, size: Size) -> Self {
        let limit = Limit::Gzip(PAGE_GZIP_BYTES_MAX);
        Self { name, size, limit }
    }

    fn excess(&self) -> Option<String> {
        let (what, bytes, max) = match self.limit {
            Limit::Raw(max) => ("raw", self.size.raw, max),
            Limit::Gzip(max) => ("by gzip -9", self.size.gzip, max),
        };
        let (name, is) = (self.name, grouped(bytes));
        (bytes > max).then(|| format!("{name} has {is} bytes {what}, at most {}", grouped(max)))
    }
}

/// What becomes of a size above its limit.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Limits {
    /// It is an error.
    Enforced,
    /// It is said.
    Printed,
}

impl Limits {
    pub(crate) fn hold(self, entries: &[Entry]) -> Result<()> {
        let excesses: Vec<_> = entries.iter().filter_map(Entry::excess).collect();
        if excesses.is_empty() {
            return Ok(());
        }
        let excesses = excesses.join("; ");
        match self {
            Self::Enforced => bail!("too large: {excesses}"),
            Self::Printed => {
                println!("    too large, not enforced for this build: {excesses}");
                Ok(())
            }
        }
    }
}

/// The report: a page's lines are bundled and minified, and include the wasm.
pub(crate) fn table(entries: &[Entry]) -> String {
    let mut text = row(
        "what is loaded",
        ["raw", "gzip -9", "brotli"].map(str::to_owned),
    );
    for Entry { name, size, .. } in entries {
        let figures = [size.raw, size.gzip, size.brotli].map(grouped);
        write!(text, "\n{}", row(name, figures)).expect("a string takes every byte");
    }
    text
}

fn row(name: &str, [raw, gzip, brotli]: [String; 3]) -> String {
    format!("    {name:<16}{raw:>10}{gzip:>10}{brotli:>10}")
}

/// `12,345`, for people who count digits.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (digit, left) in digits.chars().zip((0..digits.len()).rev()) {
        text.push(digit);
        if left > 0 && left % 3 == 0 {
            text.push(',');
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn size(raw: usize, gzip: usize) -> Size {
        let brotli = 0;
        Size { raw, gzip, brotli }
    }

    #[test]
    fn sizes_add_up_by_column() {
        let one = Size {
            raw: 1,
            gzip: 2,
            brotli: 3,
        };
        let ten = Size {
            raw: 10,
            gzip: 20,
            brotli: 30,
        };
        assert_eq!(
            one + ten,
            Size {
                raw: 11,
                gzip: 22,
                brotli: 33
            }
        );
    }

    #[test]
    fn compressing_makes_repetition_small_and_is_repeatable() {
        let text = b"one key per intent. ".repeat(100);
        let size = Size::of(&text);
        assert_eq!(size.raw, 2_000);
        assert!(size.gzip < 100 && size.brotli < 100, "{size:?}");
        assert_eq!(gzip(&text), gzip(&text));
        // The magic number, deflate, and no flag: neither name nor time follow.
        assert_eq!(gzip(b"x")[..8], [0x1f, 0x8b, 8, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn a_limit_holds_at_its_value_and_not_above() {
        let at = [
            Entry::wasm(size(60_000, 99_999)),
            Entry::page(".", size(99_999, 33_500)),
        ];
        Limits::Enforced.hold(&at).expect("both are at the limit");
        let wasm = Limits::Enforced.hold(&[Entry::wasm(size(60_001, 0))]);
        let error = wasm.expect_err("one byte above").to_string();
        assert_eq!(
            error,
            "too large: the wasm has 60,001 bytes raw, at most 60,000"
        );
        let page = Limits::Enforced.hold(&[Entry::page("./web", size(0, 33_501))]);
        let error = page.expect_err("one byte above").to_string();
        assert_eq!(
            error,
            "too large: ./web has 33,501 bytes by gzip -9, at most 33,500"
        );
    }

    #[test]
    fn a_limit_that_is_only_printed_fails_nothing() {
        let above = [
            Entry::wasm(size(60_001, 0)),
            Entry::page(".", size(0, 33_501)),
        ];
        Limits::Printed.hold(&above).expect("it is said");
    }

    #[test]
    fn the_table_lines_its_figures_up() {
        let size = Size {
            raw: 1_234_567,
            gzip: 12_345,
            brotli: 999,
        };
        assert_eq!(
            table(&[Entry::page("./web", size)]),
            "    what is loaded         raw   gzip -9    brotli\n    \
             ./web            1,234,567    12,345       999"
        );
        assert_eq!(grouped(0), "0");
        assert_eq!(grouped(1_000), "1,000");
    }
}
