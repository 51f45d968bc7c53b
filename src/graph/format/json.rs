//! Attribution-graph JSON as circuit-tracer and Neuronpedia write and open it; what they have no word for is under the key `mechscope`.
//!
//! Reading is tolerant and streams: nodes and links are taken one by one, memory is bounded, whatever has no field here is kept and
//! written back. Writing avoids what is known to break the viewers (see [`crate::graph::lint`]).

mod assemble;
mod budget;
mod guard;
mod label;
mod metadata;
mod node;
mod number;
mod parse;
mod peek;
mod private;
mod qparams;
mod write;

use std::fmt::{self, Display, Formatter};
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use anyhow::{Context, Error, Result, bail, ensure};

use crate::files::{self, open_regular};
use crate::graph::Graph;
use crate::graph::format::GraphFormat;
use crate::report::text::escape;
use budget::Budget;
use guard::StringGuard;

pub(in crate::graph) use number::{cantor, short};
pub use peek::{MadeWith, made_with};
pub use write::write;

/// The key under which this program keeps what the schema has no word for.
const PRIVATE: &str = "mechscope";

/// Memory a graph may take while it is read, unless the caller says otherwise: a file that needs more is refused.
pub const DEFAULT_MEMORY: u64 = 768 << 20;

/// A graph that was read, and what was odd about its file.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The graph.
    pub graph: Graph,
    /// What could not be taken as it stood, in words.
    pub warnings: Vec<Warning>,
    /// The file's form, which the graph no longer shows.
    pub form: JsonForm,
}

/// Something in a file that could not be taken as it stood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning(pub String);

impl Display for Warning {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The form of a file, as viewers see it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JsonForm {
    /// Size in bytes; 0 when not read from a file.
    pub bytes: u64,
    /// Keys that Neuronpedia requires in the metadata and that are missing.
    pub missing_metadata: Vec<&'static str>,
    /// Keys that Neuronpedia requires in every node, with the number of nodes that lack them.
    pub missing_in_nodes: Vec<(&'static str, usize)>,
    /// Whether `qParams` is an object.
    pub has_qparams: bool,
    /// Keys of `qParams` that are strings where lists are expected.
    pub qparams_strings: Vec<&'static str>,
    /// Ids that an error node shares with another node.
    pub shared_ids: Vec<String>,
    /// Logits whose non-empty `clerp` has no `(p=`.
    pub logits_without_p: Vec<String>,
    /// Ids of nodes that were numbers where text is expected.
    pub ids_not_text: Vec<String>,
    /// Ends of links that were numbers where text is expected.
    pub link_ids_not_text: usize,
    /// Links that were given more than once.
    pub repeated_links: usize,
    /// Links that name no node.
    pub lost_links: usize,
}

/// The entry of the format among all.
pub static FORMAT: GraphFormat = GraphFormat {
    name: "json",
    about: "circuit-tracer's and Neuronpedia's schema, with the certificates under a key of our own",
    ending: Some("json"),
    write: |graph, _, out| write(graph, out),
};

/// Reads a graph file. Errors name the file and the place in it; a file that needs more than [`DEFAULT_MEMORY`] is refused.
pub fn open(path: &Path) -> Result<Opened> {
    let named = || path.display().to_string();
    let mut file = open_regular(path)?;
    refuse_other_formats(&mut file).with_context(named)?;
    let bytes = file.metadata().with_context(named)?.len();
    match read(file, DEFAULT_MEMORY) {
        Ok(mut opened) => {
            opened.form.bytes = bytes;
            Ok(opened)
        }
        Err(error) => Err(with_excerpt(path, error).context(named())),
    }
}

/// Writes a graph file; one that is there already is only replaced when what was written reads back.
///
/// # Errors
/// The path cannot be written; what was written cannot be read. The old file is as it was.
pub fn save(graph: &Graph, path: &Path) -> Result<()> {
    let write_to = |to: &mut dyn std::io::Write| write(graph, &mut std::io::BufWriter::new(to));
    files::replace_if(path, write_to, |part| {
        let back = read(File::open(part)?, u64::MAX)?.graph;
        let (nodes, tests) = (back.nodes.len(), back.verified.len());
        ensure!(nodes == graph.nodes.len(), "{nodes} of {} nodes were read", graph.nodes.len());
        ensure!(tests == graph.verified.len(), "{tests} of {} tests were read", graph.verified.len());
        Ok(())
    })
}

/// Checks that a file has the bytes that were to be written, and that they are a graph: before they take the place of one that could be read.
///
/// # Errors
/// They are not.
pub fn check_written(path: &Path, bytes: &[u8]) -> Result<()> {
    ensure!(std::fs::read(path)? == bytes, "it is not what was written");
    read(bytes, u64::MAX).map(|_| ())
}

/// Names the formats that are often taken for a graph file; leaves the file at its start.
fn refuse_other_formats(file: &mut File) -> Result<()> {
    let mut start = Vec::new();
    file.take(64).read_to_end(&mut start)?;
    match start[..] {
        [b'P', b'K', ..] => bail!("a torch (.pt) or zip file: have circuit-tracer write JSON (create_graph_files)"),
        [0x1f, 0x8b, ..] => bail!("compressed with gzip: unpack it first"),
        _ => {}
    }
    let text = String::from_utf8_lossy(&start);
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if !text.is_empty() && !text.starts_with('{') {
        let begin: String = text.lines().next().unwrap_or_default().chars().take(24).collect();
        bail!(
            "no graph file: it begins with {begin:?}; accepted: JSON that mechscope, circuit-tracer or Neuronpedia wrote, an object {{...}}"
        );
    }
    file.rewind()?;
    Ok(())
}

/// Reads a graph from JSON, taking at most about `memory` bytes of memory.
pub fn read(input: impl Read, memory: u64) -> Result<Opened> {
    let budget = Budget::new(memory);
    let input = BufReader::with_capacity(1 << 16, StringGuard::new(input));
    let parsed = parse::parse(input, &budget)?;
    assemble::assemble(parsed, &budget)
}

/// Adds what stands at the place of a syntax error, if it can be found: `NaN` says more than "expected value".
fn with_excerpt(path: &Path, error: Error) -> Error {
    let at = error.downcast_ref::<serde_json::Error>();
    let Some((line, column)) = at.map(|e| (e.line(), e.column())) else {
        return error;
    };
    match excerpt(path, line, column) {
        Ok(text) if !text.is_empty() => error.context(format!("near {:?}", escape(&text))),
        _ => error,
    }
}

/// Some text around a line and column (from 1) of a file.
fn excerpt(path: &Path, line: usize, column: usize) -> std::io::Result<String> {
    const BEFORE: u64 = 24;
    const LENGTH: u64 = 48;
    let mut file = File::open(path)?;
    let mut start = 0u64;
    if line > 1 {
        let mut left = line - 1;
        for byte in BufReader::new(&mut file).bytes() {
            start += 1;
            if byte? == b'\n' {
                left -= 1;
                if left == 0 {
                    break;
                }
            }
        }
    }
    let at = start + column as u64;
    let from = at.saturating_sub(BEFORE).max(start);
    file.seek(SeekFrom::Start(from))?;
    let mut bytes = Vec::new();
    file.take(LENGTH).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}
