//! One feature: its activation everywhere, what its encoder reads on this prompt and of the vocabulary, what its decoder writes.

use super::written;
use crate::address::{Address, Part};
use crate::analysis::neurons::links;
use crate::analysis::vocabulary::{self, Projection};
use crate::analysis::{Job, passes};
use crate::cast::{signed, single};
use crate::model::dictionary::{Dictionary, ReadPoint};
use crate::model::forward::Step;
use crate::model::site::BlockSite as S;
use crate::model::trace::Trace;
use crate::replacement::transpose::norm_back;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Result, ensure};
use candle_core::{DType, Tensor};

/// The feature's report. Of the dictionary only the feature's own rows are read, unless its activation depends on all (TopK).
pub fn report(job: &Job, dictionary: &Dictionary, layer: usize, feature: usize, step: Step) -> Result<Report> {
    let arch = &job.model.decoder.arch;
    ensure!(layer < arch.n_layers, "layer {layer}: this model has layers 0..={}", arch.n_layers - 1);
    let address = Address::unit(layer, Part::Feature(feature));
    let position = job.position;
    let over = |trace: &Trace| -> Result<Vec<(f32, f32)>> {
        dictionary.over(layer, feature, &dictionary.input(layer, arch.parallel, trace)?)
    };
    let here = over(job.trace())?;
    let clean = job.edited.map(|_| over(job.clean)).transpose()?;
    let (pre, activation) = here[position];
    let row = dictionary.encoder_rows(layer, &[feature])?.remove(0).0;
    let row = Tensor::from_vec(row, (1, arch.d_model), job.model.decoder.device())?;

    let mut report = Report::default();
    report.fact("feature", address.clone());
    report.fact("position", position);
    report.fact("dictionary", dictionary.name.clone());
    report.fact("activation", activation);
    report.fact("pre_activation", pre);
    if let Some(clean) = &clean {
        report.fact("activation_clean", clean[position].1);
    }
    let mut everywhere = activations(job, &address, &here);
    if let Some(clean) = &clean {
        everywhere = everywhere.beside(&activations(job, &address, clean), &["activation"]);
    }
    report.table("activations", "Activation at every token", everywhere);

    let read = read_back(job, dictionary, layer, &row)?;
    let feeds = job.model.decoder.feeds_of(job.trace(), (layer, position), read, passes(job)?, step)?;
    let (inputs, carried) = links::inputs(job, position, ("pre-activation", pre), &feeds)?;
    report.table("inputs", &format!("What makes {address} active at position {position}"), inputs);
    report.table("carried", "What heads carry of that, by any path through heads", carried);

    let found = drivers(job, dictionary, layer, &row)?;
    report.table("driven_by", "Tokens whose embedding drives it", vocabulary::table(job.model, &found.promoted));
    report.table("inhibited_by", "Tokens whose embedding inhibits it", vocabulary::table(job.model, &found.suppressed));
    let (rows, sum) = written(job.model, dictionary, layer, feature)?;
    let direction = Tensor::from_vec(sum, (1, arch.d_model), job.model.decoder.device())?;
    let k = job.values.count("tokens")?;
    let found = vocabulary::project(&job.model.decoder, &direction, k)?.pop().unwrap_or_default();
    report.table("promoted", "Tokens it promotes", vocabulary::table(job.model, &found.promoted));
    report.table("suppressed", "Tokens it suppresses", vocabulary::table(job.model, &found.suppressed));
    if rows.len() > 1 {
        report.table("writes", "Where it writes", writes(layer, &rows));
    }
    Ok(report)
}

/// The encoder's row as a direction of the stream that it reads, by the run's norm scale.
fn read_back(job: &Job, dictionary: &Dictionary, layer: usize, row: &Tensor) -> Result<Tensor> {
    let block = &job.model.decoder.blocks[layer];
    let scale = || -> Result<Tensor> {
        Ok(job.trace().block(layer, S::Ln2Scale)?.narrow(0, job.position, 1)?.to_dtype(DType::F32)?)
    };
    Ok(match dictionary.reads {
        ReadPoint::Normalized => match &block.ln2 {
            Some(norm) => norm_back(row, norm, &scale()?)?,
            None => row.clone(),
        },
        ReadPoint::Unweighted => row.broadcast_div(&scale()?)?,
        ReadPoint::Residual => row.clone(),
    })
}

/// The tokens of the embedding that drive it, as far as the read point's weight goes.
fn drivers(job: &Job, dictionary: &Dictionary, layer: usize, row: &Tensor) -> Result<Projection> {
    let (model, k) = (&job.model.decoder, job.values.count("tokens")?);
    let found = match dictionary.reads {
        ReadPoint::Normalized => vocabulary::drivers(model, row, model.blocks[layer].ln2.as_ref(), k)?,
        ReadPoint::Unweighted | ReadPoint::Residual => vocabulary::embeddings(model, row, k)?,
    };
    Ok(found.into_iter().next().unwrap_or_default())
}

/// Activation and pre-activation at every token.
fn activations(job: &Job, unit: &Address, here: &[(f32, f32)]) -> Table {
    let number = |name| Column::number(name, "", 4);
    let mut table = Table::new([Column::address("unit"), Column::token("token"), number("activation"), number("pre")]);
    for (p, (token, (pre, activation))) in job.input.tokens.iter().zip(here).enumerate() {
        table.push([unit.clone().at(signed(p)).into(), Cell::token(&token.text), (*activation).into(), (*pre).into()]);
    }
    table
}

/// The layers that a feature of a cross-layer transcoder writes to.
fn writes(layer: usize, rows: &[Vec<f32>]) -> Table {
    let mut table = Table::new([Column::address("unit"), Column::number("norm", "", 4)]);
    for (above, row) in rows.iter().enumerate() {
        let norm = row.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
        table.push([Address::unit(layer + above, Part::Mlp).into(), single(norm).into()]);
    }
    table
}
