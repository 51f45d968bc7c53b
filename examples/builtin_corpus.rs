//! Prints sentences of the corpus that the built-in model learned from, one a line: `cargo run --release --example builtin_corpus -- 100000 > corpus.txt`.

#![allow(clippy::print_stdout, reason = "it is what the program is for")]

// Programs and tests share the generator, none of them all of it.
#[allow(dead_code, missing_docs)]
#[path = "common/corpus/mod.rs"]
mod corpus;

use anyhow::{Context, Result};
use std::io::{BufWriter, Write};

fn main() -> Result<()> {
    let mut args = std::env::args().skip(1);
    let mut number = |name: &str, usual: usize| match args.next() {
        Some(text) => text.parse().with_context(|| format!("{name}: found {text:?}; accepted: a whole number")),
        None => Ok(usual),
    };
    let (n, seed) = (number("how many", 1000)?, number("seed", 1)?);
    let mut out = BufWriter::new(std::io::stdout().lock());
    for sentence in corpus::sentences(seed as u64).take(n) {
        writeln!(out, "{}", sentence.text())?;
    }
    Ok(out.flush()?)
}
