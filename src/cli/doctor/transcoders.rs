//! How far a dictionary stands for the MLPs of a model: the share of their output that it explains, on a text of ours.

use crate::cli::{DeviceArgs, output};
use crate::model::dictionary::Dictionary;
use crate::model::forward::Logits;
use crate::model::site::Sites;
use crate::model::text::Bos;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Result};

/// Plain English, of which a model of any kind has seen the like.
const TEXT: &str = "The river was low that summer, and the men who worked the ferry had little to do. In the morning they sat by the water and talked \
     about the price of grain, the war in the north, and a letter that one of them had received from his brother. By noon it was too hot to \
     talk. A boy came down the road with a dog and asked whether the ferry would go to the other side before evening.";

/// Adds what the dictionary explains of every layer to a report.
pub fn add(report: &mut Report, model: &str, name: &str, on: &DeviceArgs) -> Result<()> {
    let model = on.open(model)?;
    let dictionary = on.hub.dictionary(name, || Dictionary::find(name, &model.decoder))?;
    let mut ids = model.encode(TEXT, Bos::Auto)?.ids();
    ids.truncate(model.decoder.arch.n_ctx);
    let sites = Sites::only(dictionary.explained_sites(&model.decoder));
    let run = model.run(&ids, &sites, Logits::Last)?;
    let mut progress = output::work_progress("layers");
    let explained = dictionary.explained(&model.decoder, &run, &mut progress)?;
    progress(1, 1)?;
    let explained = explained.context("the text is too short in this model's tokens")?;
    report.fact("dictionary", dictionary.name.clone());
    report.fact("mlp_explained", explained.words());
    let warnings = [dictionary.of_another_model(&model.source), explained.warning(&dictionary.name)];
    for warning in warnings.into_iter().flatten() {
        report.fact("warning", warning);
    }
    let mut table = Table::new([
        Column::integer("layer"),
        Column::integer("features"),
        Column::number("explained", "", 4),
        Column::text("verdict"),
    ]);
    for (layer, share) in explained.layers().iter().enumerate() {
        let verdict = if *share < 0.0 { "WORSE than the mean" } else { "" };
        let row: [Cell; 4] = [layer.into(), dictionary.n_features[layer].into(), (*share).into(), verdict.into()];
        table.push(row);
    }
    report.table("transcoders", "Share of what each MLP writes that the transcoders explain", table);
    Ok(())
}
