//! Total effects: what every unit does to the target by every path.

use crate::address::{Edit, Numbered, Parts, Places};
use crate::analysis::circuit::{address, component};
use crate::analysis::{About, Evidence, Job, MethodDirection};
use crate::cast::single;
use crate::model::forward::Step;
use crate::replacement::Gate;
use crate::replacement::circuit::{Circuit, Objective, Total, TotalsSplit};
use crate::report::{Column, Report, Table};
use anyhow::{Result, bail};

pub(super) static ABOUT: About = About {
    name: "attribute",
    title: "total effects on the target",
    question: "What does every part of the model do to the answer, by every path?",
    direction: MethodDirection::TopDown,
    unit: "embedding, head, MLP or neuron, at every position",
    evidence: Evidence::Approximation,
    assumes: "writes: attention patterns, norm scales and MLP gates (half rule) are held, so that embeddings and biases add up to the target; \
              counts: nothing is held, activation times gradient, what an experiment would say to first order",
    cost: "1 forward pass, 2 backward passes",
    reference: "Jafari et al. 2025, RelP (writes); Nanda 2023, attribution patching (counts)",
    params: &[],
};

/// Every unit's totals on the target at the job's position.
pub(super) fn run(job: &Job, step: Step) -> Result<Report> {
    // Nothing is held for the second total, so that the softmax would be taken to have made a pattern that an edit wrote.
    let pattern = |edit: &&Edit| matches!(edit.target.places, Places::Layers(_, Parts::Numbered(Numbered::Pattern, _)));
    if let Some(edit) = job.edits.iter().find(pattern) {
        bail!(
            "{edit}: total effects have no gradient through an attention pattern that is written; accepted: other edits, an edge cut (L5.H1@7<-3=0) among them"
        );
    }
    let target = job.target_at(job.position)?;
    let (neurons, top) = (job.values.flag("neurons")?, job.values.count("top")?);
    let objective = Objective { weights: target.weights().collect(), position: job.position };
    let passes = crate::analysis::passes(job)?;
    let circuit = Circuit::new(&job.model.decoder, job.trace(), &objective, Gate::default(), &passes, step)?;
    let totals = circuit.totals_while(neurons, &mut || step(0, 0))?;
    let split = if job.values.flag("why")? { circuit.split(neurons, step)? } else { Vec::new() };

    let mut report = Report::default();
    target.describe(&mut report, job.model, job.position);
    let what = if target.contrast.is_some() { "difference" } else { "logit_less_mean" };
    report.fact(what, circuit.value());
    let embeddings = totals.iter().filter(|t| t.unit.layer().is_none());
    report.fact("from_tokens", single(embeddings.map(|t| f64::from(t.writes)).sum::<f64>()));
    match job.edits.is_empty() {
        true => report.fact("from_biases", circuit.biases(&mut || step(0, 0))?),
        // What an edit wrote has no way back to a token.
        false => report.fact("from_biases_and_edits", circuit.beside_embeddings()?),
    };
    report.table("totals", "Total effects on the target, by the size of counts", table(totals, split, top));
    Ok(report)
}

/// The strongest by what they count for first; with a split, what of the difference of both totals comes from what.
fn table(totals: Vec<Total>, split: Vec<TotalsSplit>, top: usize) -> Table {
    let mut columns =
        vec![Column::address("address"), Column::number("writes", "logit", 4), Column::number("counts", "logit", 4)];
    if !split.is_empty() {
        columns.extend(["looks", "norms", "gates"].map(|name| Column::number(name, "logit", 4)));
    }
    columns.push(Column::text("component"));
    let mut table = Table::new(columns);
    let mut order: Vec<usize> = (0..totals.len()).collect();
    order.sort_by(|a, b| totals[*b].counts.abs().total_cmp(&totals[*a].counts.abs()));
    let shown = if top == 0 { order.len() } else { top.min(order.len()) };
    for &i in &order[..shown] {
        let total = &totals[i];
        let mut row = vec![address(total.unit).into(), total.writes.into(), total.counts.into()];
        row.extend(split.get(i).into_iter().flat_map(|s| [s.looks, s.norms, s.gates]).map(Into::into));
        row.push(component(total.unit).into());
        table.push(row);
    }
    table
}
