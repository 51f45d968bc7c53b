//! What circuit-tracer's viewer and Neuronpedia will do with a file: the checker behind `view FILE --check`.
//!
//! Each rule is something read in the viewers' sources; the numbers are those of the traps an exporter falls into.

mod fields;
mod rules;

use std::fmt::{self, Display, Formatter};

use super::Graph;
use super::format::json::{JsonForm, Opened};

/// What is wrong with a file, or worth knowing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: LintSeverity,
    /// Who trips over it.
    pub viewer: Viewer,
    /// Number of the trap, 1 to 12; 0 for the schema and for contradictions in the data.
    pub trap: u8,
    /// What was found, what will happen, and what helps.
    pub message: String,
}

/// How bad a finding is, worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum LintSeverity {
    /// The viewer does not open the file, or data is lost or confused.
    Error,
    /// It opens, but shows or computes something wrong.
    Warning,
    /// It works; good to know.
    Note,
}

/// Who reads the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Viewer {
    /// circuit-tracer's local page.
    CircuitTracer,
    /// neuronpedia.org.
    Neuronpedia,
    /// Both.
    Both,
}

impl Display for LintSeverity {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.pad(match self {
            LintSeverity::Error => "error",
            LintSeverity::Warning => "warning",
            LintSeverity::Note => "note",
        })
    }
}

impl Display for Viewer {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        f.pad(match self {
            Viewer::CircuitTracer => "circuit-tracer",
            Viewer::Neuronpedia => "Neuronpedia",
            Viewer::Both => "both viewers",
        })
    }
}

impl Display for Finding {
    fn fmt(&self, f: &mut Formatter) -> fmt::Result {
        write!(f, "{:<8} {:<15} ", self.severity, self.viewer)?;
        if self.trap > 0 {
            write!(f, "[{}] ", self.trap)?;
        }
        f.write_str(&self.message)
    }
}

/// Checks a file that was read. Worst findings first; none means that both viewers open it as it is meant.
pub fn check(opened: &Opened) -> Vec<Finding> {
    let mut report = Report { graph: &opened.graph, form: &opened.form, findings: Vec::new() };
    for rule in rules::ALL {
        rule(&mut report);
    }
    let mut findings = report.findings;
    findings.sort_by_key(|finding| (finding.severity, finding.trap));
    findings
}

/// What rules look at and write to.
struct Report<'a> {
    graph: &'a Graph,
    form: &'a JsonForm,
    findings: Vec<Finding>,
}

impl Report<'_> {
    fn add(&mut self, severity: LintSeverity, viewer: Viewer, trap: u8, message: String) {
        self.findings.push(Finding { severity, viewer, trap, message });
    }
}
