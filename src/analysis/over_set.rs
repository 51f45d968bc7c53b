//! A method asked about every prompt of a set: means, standard errors and how many, row by row.
//!
//! Rows of two prompts are the same row where they have the same address, or else the same words and numbers before their first measured value. Where
//! prompts have different lengths, positions of rows count from the end. What differs from prompt to prompt and is no number (the likeliest token) is left out.

mod answers;
mod average;
mod prompts;

use super::runs::Runs;
use super::{Analysis, Question, ask};
use crate::address::Edit;
use crate::analysis::param::Values;
use crate::cast::signed;
use crate::model::Model;
use crate::model::forward::Step;
use crate::report::Report;
use anyhow::{Context, Result};

pub use answers::{Told, answers};
pub use average::{Averages, Ordering};
pub use prompts::{SetPlace, SetPrompt, read};
pub(super) use prompts::{named, refuse};

/// The table of a method that is as long as asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listing {
    /// The parameter that says how many rows it has; 0 is all.
    pub count: &'static str,
    /// The table's name.
    pub table: &'static str,
    /// The column that puts its rows in order, where no parameter `sort` names one.
    pub by: Option<&'static str>,
    /// Whether a row that a prompt does not have measures 0 there.
    pub absent_is_zero: bool,
    /// A parameter that costs much for every row and is put at 0, if there is one.
    pub dear: Option<&'static str>,
}

/// Asks `analysis` about every prompt; with `rows` the report has every prompt's numbers too. `step` is called with the prompts done and all.
///
/// # Errors
/// The first prompt for which the method fails, named; what `step` returns.
pub fn ask_all(
    analysis: &dyn Analysis,
    model: &Model,
    prompts: &[SetPrompt],
    values: &Values,
    edits: &[Edit],
    rows: bool,
    step: Step,
) -> Result<Report> {
    let params = analysis.about().params;
    let listing = analysis.listing(values);
    let mut of_each = values.clone();
    if let Some(Listing { count, dear, .. }) = listing {
        of_each = of_each.with(params, count, "0")?;
        if let Some(dear) = dear {
            of_each = of_each.with(params, dear, "0")?;
        }
    }
    let mut averages = Averages::new(prompts, rows);
    for (done, prompt) in prompts.iter().enumerate() {
        step(done, prompts.len())?;
        let mut runs = Runs::new(prompt.input.clone(), edits.to_vec());
        let question = Question { position: signed(prompt.position), target: prompt.target, values: of_each.clone() };
        let report = ask(analysis, model, &mut runs, &question, &mut |_, _| step(done, prompts.len()))
            .with_context(|| prompt.id.clone())?;
        averages.add(prompt, &report);
    }
    step(prompts.len(), prompts.len())?;
    let ordering = match listing {
        Some(Listing { count, table, by, absent_is_zero, .. }) => {
            let by = values.choice("sort").ok().or(by);
            Some(Ordering { table, by, top: values.count(count)?, absent_is_zero })
        }
        None => None,
    };
    let mut report = Report::default();
    averages.fill(&mut report, ordering.as_ref())?;
    report.note(
        "method",
        format!(
            "{}\nOver a set: means over the prompts that have the row (n), and their standard errors.",
            analysis.about_of(values).footer()
        ),
    );
    Ok(report)
}
