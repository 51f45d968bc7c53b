//! One neuron: what drives it at a position, who reads it, its tokens on either side, its activation everywhere.

use super::{LayerNeurons, evidence, gate, layers, links};
use crate::address::{Address, Part, resolve_position};
use crate::analysis::vocabulary::{self, Projection, Ranked};
use crate::analysis::{Job, passes};
use crate::cast::signed;
use crate::model::arch::Linear;
use crate::model::edit::{Passes, Scope};
use crate::model::forward::Step;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::replacement::feeds::NeuronAt;
use crate::report::{Cell, Column, Report, Table};
use anyhow::Result;

/// The neuron's report.
pub fn report(job: &Job, layer: usize, neuron: usize, step: Step) -> Result<Report> {
    let (model, n_pos, position) = (&job.model.decoder, job.input.tokens.len(), job.position);
    let address = Address::unit(layer, Part::Neuron(neuron));
    address.check(&Scope::new(model, n_pos).extent())?;
    let at = resolve_position(job.values.position("target-position")?, n_pos)?;
    let target = job.target_at(at)?;
    let known = |trace, passes: Passes, step: Step| -> Result<Option<LayerNeurons>> {
        Ok(layers(job, trace, (&target, at), Some(layer), passes, step)?.pop())
    };

    let mut report = Report::default();
    report.fact("neuron", address.clone());
    report.fact("position", position);
    target.describe(&mut report, job.model, at);
    let facts = |report: &mut Report, known: Option<LayerNeurons>, suffix: &str| {
        if let Some(known) = known {
            report.fact(&format!("activation{suffix}"), known.activation[neuron]);
            report.fact(&format!("attribution{suffix}"), known.attribution[neuron]);
            report.fact(&format!("direct_effect{suffix}"), known.direct[neuron]);
        }
    };
    facts(&mut report, known(job.trace(), passes(job)?, step)?, "");
    if job.edited.is_some() {
        facts(&mut report, known(job.clean, Passes::default(), step)?, "_clean");
    }

    let here = NeuronAt { layer, position, neuron };
    let feeds = model.feeds(job.trace(), here, gate(job)?, passes(job)?, step)?;
    let readers = {
        let top = match job.values.count("top")? {
            0 => usize::MAX,
            top => top,
        };
        model.readers(job.trace(), here, gate(job)?, passes(job)?, top, step)?
    };
    let value = job.trace().row(Site::Block(layer, BlockSite::MlpPost), position)?[neuron];
    evidence::page(job, &mut report, (layer, neuron), value)?;
    let (inputs, carried) = links::inputs(job, position, ("activation", value), &feeds)?;
    report.table(
        "inputs",
        &format!("What makes {address} active at position {position} (shares exceed 1 where other parts are negative)"),
        inputs,
    );
    report.table("carried", "What heads carry of that, by any path through heads", carried);
    let (neurons, heads) = links::readers(job, &readers)?;
    report.table("reading_neurons", &format!("Which later neurons read {address}"), neurons);
    report.table("reading_heads", "Which later heads move what it writes, and where to", heads);
    if position <= at {
        let title = format!("What it does to the logits at position {at} by itself and through heads");
        report.table("logits", &title, links::logits(job, &readers, at)?);
    }
    for (name, title, ranked) in vocabulary_sides(job, layer, neuron)? {
        report.table(name, &title, vocabulary::table(job.model, &ranked));
    }
    let mut everywhere = activations(job, job.trace(), layer, neuron)?;
    if job.edited.is_some() {
        everywhere = everywhere.beside(&activations(job, job.clean, layer, neuron)?, &["activation"]);
    }
    report.table("activations", "Activation at every token", everywhere);
    Ok(report)
}

/// The tokens of the weights, whatever the prompt: on the input side by the embedding, on the output side by the unembedding.
fn vocabulary_sides(job: &Job, layer: usize, neuron: usize) -> Result<Vec<(&'static str, String, Ranked)>> {
    let (model, k) = (&job.model.decoder, job.values.count("tokens")?);
    let block = &model.blocks[layer];
    let drivers = |side: &Linear| -> Result<Projection> {
        let row = side.weight.narrow(0, neuron, 1)?;
        Ok(vocabulary::drivers(model, &row, block.ln2.as_ref(), k)?.pop().unwrap_or_default())
    };
    let mut sides = Vec::new();
    if let Some(side) = &block.mlp.gate {
        let found = drivers(side)?;
        sides.push(("opened_by", "Tokens whose embedding opens its gate".to_owned(), found.promoted));
        sides.push(("closed_by", "Tokens whose embedding closes its gate".to_owned(), found.suppressed));
    }
    let found = drivers(&block.mlp.input)?;
    sides.push(("driven_by", "Tokens whose embedding drives it".to_owned(), found.promoted));
    sides.push(("inhibited_by", "Tokens whose embedding inhibits it".to_owned(), found.suppressed));
    let direction = vocabulary::neuron_directions(model, layer, &[neuron])?;
    let found = vocabulary::project(model, &direction, k)?.pop().unwrap_or_default();
    sides.push(("promoted", "Tokens it promotes when positive".to_owned(), found.promoted));
    sides.push(("suppressed", "Tokens it suppresses when positive".to_owned(), found.suppressed));
    Ok(sides)
}

fn activations(job: &Job, trace: &Trace, layer: usize, neuron: usize) -> Result<Table> {
    let mut columns = vec![Column::address("unit"), Column::token("token"), Column::number("activation", "", 4)];
    // As in TransformerLens: of a gated MLP `pre` is what enters the gate, `pre_linear` the other branch.
    let mut names = vec!["activation", "pre"];
    let mut sites = vec![BlockSite::MlpPost, BlockSite::MlpPre];
    if job.model.decoder.has_site(Site::Block(layer, BlockSite::MlpPreLinear)) {
        names.push("pre_linear");
        sites.push(BlockSite::MlpPreLinear);
    }
    columns.extend(names[1..].iter().map(|name| Column::number(name, "", 4)));
    let values = sites.iter().map(|site| trace.numbers(Site::Block(layer, *site))).collect::<Result<Vec<_>>>()?;
    let d_mlp = job.model.decoder.arch.d_mlp;
    let mut table = Table::new(columns);
    for (p, token) in job.input.tokens.iter().enumerate() {
        let address = Address::unit(layer, Part::Neuron(neuron)).at(signed(p));
        let cells = values.iter().map(|v| Cell::from(v[p * d_mlp + neuron]));
        table.push([address.into(), Cell::token(&token.text)].into_iter().chain(cells));
    }
    Ok(table)
}
