//! One head: its pattern, what each source token gives it, and what it writes at a position.

use super::entropy;
use crate::address::{Address, Part};
use crate::analysis::vocabulary::{Ranked, project};
use crate::analysis::{Job, target};
use crate::cast::signed;
use crate::model::arch::{Decoder, Linear};
use crate::model::edit::Scope;
use crate::model::ops;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::report::{Axis, Cell, Column, Grid, Report, Table};
use anyhow::Result;
use candle_core::{DType, Tensor};

/// Tokens printed of what a head writes, when nobody says how many.
const TOKENS: usize = 10;

/// What one head does at a position.
struct Head {
    /// `[query, key]`
    pattern: Vec<f32>,
    /// What every source would write if all attention went to it, `[key, d_model]`, as it reaches the stream.
    sources: Tensor,
    /// What the head writes at the position, `[1, d_model]`, as it reaches the stream.
    written: Tensor,
}

/// The head's report.
pub fn report(job: &Job, layer: usize, head: usize) -> Result<Report> {
    let model = &job.model.decoder;
    let n = job.input.tokens.len();
    let address = Address::unit(layer, Part::Head(head));
    address.check(&Scope::new(model, n).extent())?;
    let target = job.target_at(job.position)?;
    let weights: Vec<(u32, f32)> = target.weights().collect();
    let found = read(model, job.trace(), layer, head, job.position)?;
    let direction = model.target_direction(job.trace(), job.position, &weights)?;
    let row = found.row(job.position, n);

    let mut report = Report::default();
    report.fact("head", address.clone());
    report.fact("position", job.position);
    target.describe(&mut report, job.model, job.position);
    report.fact("direct_effect", effects(&found.written, &direction)?[0]);
    report.fact("entropy", entropy(row));
    let clean = match job.edited {
        Some(_) => Some(read(model, job.clean, layer, head, job.position)?),
        None => None,
    };
    let clean_direction = model.target_direction(job.clean, job.position, &weights)?;
    if let Some(clean) = &clean {
        report.fact("direct_effect_clean", effects(&clean.written, &clean_direction)?[0]);
        report.fact("entropy_clean", entropy(clean.row(job.position, n)));
    }

    let norms = norms(&found.sources)?;
    let top = job.values.count("top")?;
    let mut order: Vec<usize> = (0..=job.position).filter(|k| row[*k] > 0.0).collect();
    order.sort_by(|a, b| row[*b].total_cmp(&row[*a]));
    order.truncate(if top == 0 { order.len() } else { top });
    let mut table = sources(job, &order, row, &found.sources, &direction)?;
    if let Some(clean) = &clean {
        let before = sources(job, &order, clean.row(job.position, n), &clean.sources, &clean_direction)?;
        table = table.beside(&before, &["attention", "value_weighted", "direct_effect"]);
    }
    report.table("sources", &format!("Where {address} looks from position {}", job.position), table);
    let tokens = if top == 0 { TOKENS } else { top };
    let (promoted, suppressed) = written(job, &found.written, tokens)?;
    report.table("promoted", &format!("What {address} promotes at position {}", job.position), promoted);
    report.table("suppressed", &format!("What {address} suppresses at position {}", job.position), suppressed);

    let axis = |name| Axis::new(name, job.input.labels());
    let queries = (0..n).flat_map(|q| std::iter::repeat_n(address.clone().at(signed(q)), n)).collect();
    let pattern = Grid::new(axis("query"), axis("key"), found.pattern.clone(), "", 3)?.with_addresses(queries)?;
    report.grid("pattern", &format!("Pattern of {address}"), pattern);
    let weighted = found.pattern.iter().enumerate().map(|(i, p)| p * norms[i % n]).collect();
    report.grid(
        "value_weighted",
        &format!("Pattern of {address}, times the norm of what each source gives"),
        Grid::new(axis("query"), axis("key"), weighted, "", 3)?,
    );
    if let Some(clean) = clean {
        let pattern = Grid::new(axis("query"), axis("key"), clean.pattern, "", 3)?;
        report.grid("pattern_clean", &format!("Pattern of {address} without the edits"), pattern);
    }
    Ok(report)
}

impl Head {
    /// The pattern at one of `n` queries.
    fn row(&self, query: usize, n: usize) -> &[f32] {
        &self.pattern[query * n..(query + 1) * n]
    }
}

/// Direct effects of directions `[n, d_model]` on the target.
fn effects(directions: &Tensor, target: &Tensor) -> Result<Vec<f32>> {
    Ok(directions.matmul(&target.t()?)?.flatten_all()?.to_vec1()?)
}

fn norms(directions: &Tensor) -> Result<Vec<f32>> {
    Ok(directions.sqr()?.sum(1)?.sqrt()?.to_vec1()?)
}

fn read(model: &Decoder, trace: &Trace, layer: usize, head: usize, position: usize) -> Result<Head> {
    let (block, n) = (&model.blocks[layer], trace.n_pos());
    let (width, group) = (model.arch.d_head, model.arch.n_heads / model.arch.n_kv_heads);
    let weight = block.attention.o.weight.narrow(1, head * width, width)?.contiguous()?;
    let output = Linear { weight, bias: None };
    // A post-norm acts with the scale it has at the position that is written to.
    let reach = |x: Tensor| -> Result<Tensor> {
        let x = ops::linear(model.route(), &x.contiguous()?, &output)?.to_dtype(DType::F32)?;
        Ok(match &block.ln1_post {
            Some(norm) => {
                let scale = trace.block(layer, BlockSite::Ln1PostScale)?.narrow(0, position, 1)?;
                ops::norm_with_scale(&x, norm, &scale.broadcast_as((x.dim(0)?, 1))?.contiguous()?)?
            }
            None => x,
        })
    };
    let values = trace.block(layer, BlockSite::V)?.narrow(1, head / group, 1)?.squeeze(1)?;
    let z = trace.block(layer, BlockSite::Z)?.narrow(0, position, 1)?.narrow(1, head, 1)?.squeeze(1)?;
    let pattern = trace.numbers(Site::Block(layer, BlockSite::Pattern))?;
    let pattern = pattern[head * n * n..(head + 1) * n * n].to_vec();
    Ok(Head { pattern, sources: reach(values)?, written: reach(z)? })
}

fn sources(job: &Job, order: &[usize], row: &[f32], given: &Tensor, target: &Tensor) -> Result<Table> {
    let (norms, effects) = (norms(given)?, effects(given, target)?);
    let mut table = Table::new([
        Column::integer("key"),
        Column::token("token"),
        Column::number("attention", "", 4),
        Column::number("value_weighted", "", 4),
        Column::number("direct_effect", "logit", 4),
    ]);
    for &k in order {
        table.push([
            k.into(),
            Cell::token(&job.input.tokens[k].text),
            row[k].into(),
            (row[k] * norms[k]).into(),
            (row[k] * effects[k]).into(),
        ]);
    }
    Ok(table)
}

/// Direct effects of what is written on all logits: the highest and the lowest.
fn written(job: &Job, written: &Tensor, k: usize) -> Result<(Table, Table)> {
    let model = &job.model.decoder;
    let stream = job.trace().get(target::last_stream(job.model))?.narrow(0, job.position, 1)?.contiguous()?;
    let (_, scale) = ops::norm(model.route(), &stream, &model.ln_final)?;
    let found = project(model, &written.broadcast_div(&scale)?, k)?.into_iter().next().unwrap_or_default();
    let table = |ranked: &Ranked| {
        let mut table =
            Table::new([Column::integer("id"), Column::token("text"), Column::number("direct_effect", "logit", 4)]);
        for (id, effect) in ranked {
            table.push([(*id).into(), Cell::token(job.model.piece(*id)), (*effect).into()]);
        }
        table
    };
    Ok((table(&found.promoted), table(&found.suppressed)))
}
