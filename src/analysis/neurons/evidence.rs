//! What an index of a corpus says of neurons, beside what they do in this prompt.

use super::LayerNeurons;
use crate::address::{Address, Part};
use crate::analysis::Job;
use crate::cast::{single, size};
use crate::corpus::identity;
use crate::corpus::index::{Brief, Index, ShownExample};
use crate::corpus::labels::NamedUnit;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Context, Result, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// Tokens of a table's cell.
const FEW: usize = 3;

/// Contexts, tokens and companions of a page.
const CONTEXTS: usize = 20;
const COMPANIONS: usize = 10;

/// The index that was opened last, by its place and the model that it was found to be of.
type Kept = Option<((String, String), Arc<Index>)>;

static OPEN: Mutex<Kept> = Mutex::new(None);

/// The index that the question names, if it names one. It stays open: the next question mostly names the same.
///
/// # Errors
/// It cannot be read, or is of another model.
pub fn index(job: &Job) -> Result<Option<Arc<Index>>> {
    let place = job.values.text("index")?;
    if place.is_empty() {
        return Ok(None);
    }
    let key = (place.clone(), job.model.source.to_string());
    let mut open = OPEN.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((known, index)) = open.as_ref()
        && *known == key
    {
        return Ok(Some(index.clone()));
    }
    let index = Index::open(Path::new(&place)).context("index")?;
    let found = identity::of_model(&job.model.source)?;
    ensure!(
        found == index.header.model_id,
        "index: {place} is of another model: of {}; accepted: an index of {}",
        index.header.spec.model,
        job.model.source
    );
    let index = Arc::new(index);
    *open = Some((key, index.clone()));
    Ok(Some(index))
}

/// What the index says of neurons of a report.
pub struct IndexColumns {
    index: Arc<Index>,
    briefs: BTreeMap<(usize, usize), Brief>,
}

impl IndexColumns {
    /// Of these neurons; whole layers are read at once.
    ///
    /// # Errors
    /// The index cannot be read.
    pub fn of(job: &Job, layers: &[LayerNeurons], chosen: &[(usize, usize)]) -> Result<Option<Self>> {
        let Some(index) = index(job)? else { return Ok(None) };
        let mut sorted = chosen.to_vec();
        sorted.sort_unstable();
        let mut briefs = BTreeMap::new();
        for some in sorted.chunk_by(|a, b| a.0 == b.0 && a.1 + 1 == b.1) {
            let (l, first) = some[0];
            briefs.extend(some.iter().copied().zip(index.briefs(layers[l].layer, first, some.len())?));
        }
        Ok(Some(IndexColumns { index, briefs }))
    }

    /// The columns that a table of neurons gains.
    pub fn columns() -> [Column; 4] {
        [
            Column::number("percentile", "", 2),
            Column::number("density", "", 5),
            Column::text("fires_on"),
            Column::text("label"),
        ]
    }

    /// The cells of a neuron whose activation here is `value`.
    pub fn cells(&self, neuron: (usize, usize), layer: usize, value: f32) -> [Cell; 4] {
        let Some(brief) = self.briefs.get(&neuron) else { return [const { Cell::Empty }; 4] };
        let pieces = brief.tokens.iter().take(FEW).map(|id| self.index.piece(*id).unwrap_or_default());
        let tokens = pieces.map(|piece| format!("{piece:?}")).collect::<Vec<_>>().join(" ");
        [
            Cell::Number(single(brief.percentile(value))),
            Cell::Number(single(brief.density)),
            tokens.into(),
            name(&self.index, layer, neuron.1, brief.case).map_or(Cell::Empty, Cell::Text),
        ]
    }
}

/// The name of a neuron in a case, with its score where it was tested.
fn name(index: &Index, layer: usize, neuron: usize, case: usize) -> Option<String> {
    index.labels.best(NamedUnit::Neuron(layer, neuron), index.cases()[case]).map(|label| match label.score {
        Some(score) => format!("{} ({score:.2})", label.text),
        None => label.text.clone(),
    })
}

/// Adds the page of a neuron to its report: where today's activation stands, and what it fires on elsewhere.
///
/// # Errors
/// The index cannot be read.
pub fn page(job: &Job, report: &mut Report, (layer, neuron): (usize, usize), value: f32) -> Result<()> {
    let Some(index) = index(job)? else { return Ok(()) };
    let page = index.unit(layer, neuron)?;
    let case = page.main_case();
    report.fact("corpus_tokens", size(index.header.n_tokens));
    report.fact("density", single(page.density()));
    report.fact("percentile", single(100.0 * page.distribution.rank(value)));
    if let Some(name) = name(&index, layer, neuron, case) {
        report.fact("label", name);
    }
    let mut table = Table::new([
        Column::number("value", "", 3),
        Column::tokens("context"),
        Column::text("document"),
        Column::integer("token"),
    ]);
    let bos = job.model.text.as_ref().and_then(|text| text.bos_id().map(|id| text.piece(id)));
    for shown in page.examples(case, CONTEXTS)? {
        let document = format!("{}:{}", shown.file, shown.offset);
        let at = shown.example.start as usize + shown.example.pos as usize;
        table.push([shown.example.value.into(), context(shown, bos.as_deref()), document.into(), at.into()]);
    }
    report.table("contexts", "Where it is strongest in the corpus", table);
    let mut table = Table::new([Column::number("max", "", 3), Column::token("token")]);
    for (_, token, max) in page.tokens(case)? {
        table.push([max.into(), Cell::token(token)]);
    }
    report.table("fires_on", "Tokens it fires on, by the strongest activation on each", table);
    report.table("histogram", "How often it is how strong in the corpus", histogram(page.distribution.bins(), value));
    let mut table = Table::new([Column::address("neuron"), Column::number("shared", "", 3), Column::text("label")]);
    for (other, share) in index.companions(layer, neuron, COMPANIONS)? {
        let label = index.labels.of(layer, other).first().map(|label| label.text.clone());
        table.push([Address::unit(layer, Part::Neuron(other)).into(), share.into(), label.into()]);
    }
    report.table("companions", "Neurons of its layer that are strong at the same places", table);
    Ok(())
}

/// The text around an example without the BOS before it, which a prompt gets anyway.
fn context(shown: ShownExample, bos: Option<&str>) -> Cell {
    let activations = shown.activations.into_iter().chain(std::iter::repeat(0.0));
    let begins = shown.first == 0 && bos.is_some() && shown.tokens.first().map(String::as_str) == bos;
    Cell::Tokens(shown.tokens.into_iter().zip(activations).skip(usize::from(begins)).collect())
}

/// Bins two by two, with the one that holds the activation of this prompt marked.
fn histogram(bins: &[(f32, f32, u64)], value: f32) -> Table {
    let mut table = Table::new([
        Column::number("from", "", 3),
        Column::number("to", "", 3),
        Column::integer("positions"),
        Column::text("here"),
    ]);
    let here = bins.iter().position(|(from, to, _)| (*from..*to).contains(&value));
    for (at, some) in bins.chunks(2).enumerate() {
        let n = some.iter().map(|bin| bin.2).sum::<u64>();
        let marked = here.is_some_and(|here| here / 2 == at);
        let (from, to) = (some[0].0, some[some.len() - 1].1);
        table.push([from.into(), to.into(), size(n).into(), if marked { "<- here".into() } else { Cell::Empty }]);
    }
    table
}
