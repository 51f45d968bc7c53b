//! Path patching (Wang et al. 2022, Interpretability in the Wild, section 3 and appendix B): what a sender tells named receivers, and nobody else.
//!
//! | run | what happens | what is kept |
//! |---|---|---|
//! | 1 | both prompts as they are | every head's mix, and what else is held |
//! | 2 | the sender has the other run's value; every other head is held, MLPs and norms are computed anew unless they are held too | what the receivers read |
//! | 3 | the receivers read that; all else is computed anew | the answer |
//!
//! If the receiver is the logits, run 2 gives the answer. Senders whose change no receiver sees are 0 without a third run.

use super::metric::Measure;
use super::{
    AnswerMetric, EffectEstimate, NoGap, PatchAnswer, PatchCell, PatchCells, PatchDirection, PatchQuestion, PatchSite,
    PromptPair, cells, no_gap, run,
};
use crate::address::{Address, Component, Edit, Part, resolve_position};
use crate::analysis::copy_logits;
use crate::analysis::target::{Target, last_stream};
use crate::analysis::{About, Evidence, MethodCommand, MethodDirection};
use crate::cast::{signed, single};
use crate::model::Model;
use crate::model::edit::{EditPlan, needs, place};
use crate::model::forward::{Logits, Step};
use crate::model::site::{BlockSite as S, Site, Sites};
use crate::model::trace::Trace;
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeSet;
use std::ops::Range;

/// The entry of `mechscope path`.
pub static PATH: MethodCommand = MethodCommand {
    about: About {
        name: "path",
        title: "path patching",
        question: "Which heads and MLPs tell these receivers what tells two prompts apart?",
        direction: MethodDirection::TopDown,
        unit: "path from a head or MLP to a head's queries, keys or values, an MLP, the residual stream or the logits",
        evidence: Evidence::Intervention,
        assumes: "both prompts have as many tokens; every head between sender and receiver is held, so that what goes by way of other heads is not seen; a head held at \
                  its value in one run meets streams that it never met",
        cost: "2 forward passes, and up to 2 for every sender, in batches; 1 if the receiver is the logits",
        reference: "Wang et al. 2022, Interpretability in the Wild; Goldowsky-Dill et al. 2023, Localizing Model Behavior with Path Patching",
        params: &[],
    },
    run: "mechscope path --prompt CLEAN --corrupt CORRUPT --receivers L9.H9.q",
};

/// What reads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Receivers {
    /// The logits: the path that no head lies on.
    Logits,
    /// Queries, keys and values of heads, inputs of MLPs, streams.
    Inputs(Vec<Address>),
}

/// A question about paths between a pair of prompts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PathQuestion {
    /// What reads.
    pub receivers: Receivers,
    /// Which run is written into.
    pub way: PatchDirection,
    /// What is measured.
    pub metric: AnswerMetric,
    /// Where senders are replaced: everywhere, or at one position; negative counts from the end.
    pub at: Option<i64>,
    /// Whether MLPs between sender and receivers are held.
    pub hold_mlps: bool,
    /// Whether norm scales are held while receivers' inputs are made.
    pub hold_norms: bool,
}

/// What a receiver reads: columns of a site at some positions.
struct Reading {
    site: Site,
    cols: Range<usize>,
    positions: Vec<usize>,
}

impl Receivers {
    /// Reads names: `logits`, or addresses of queries, keys and values (of a head all three), MLPs and streams.
    ///
    /// # Errors
    /// One that is none, or the logits beside others.
    pub fn parse(names: &[String]) -> Result<Self> {
        if let [only] = names
            && only == "logits"
        {
            return Ok(Receivers::Logits);
        }
        ensure!(
            !names.iter().any(|n| n == "logits"),
            "logits are receivers by themselves; accepted: logits, or a list of addresses"
        );
        ensure!(
            !names.is_empty(),
            "no receiver is named; accepted: logits, or addresses such as L9.H9.q, L5.mlp, L7.resid_pre"
        );
        Ok(Receivers::Inputs(names.iter().map(|n| n.parse()).collect::<Result<_>>()?))
    }

    /// As they are called in reports.
    pub fn name(&self) -> String {
        match self {
            Receivers::Logits => "logits".to_owned(),
            Receivers::Inputs(all) => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
        }
    }

    /// What they read, in numbers.
    fn readings(&self, model: &Model, ids: &[u32]) -> Result<Vec<Reading>> {
        let Receivers::Inputs(addresses) = self else { return Ok(Vec::new()) };
        let mut all = Vec::new();
        for address in addresses {
            let some = readings(model, address, ids).with_context(|| format!("the receiver {address}"))?;
            all.extend(some);
        }
        Ok(all)
    }
}

fn readings(model: &Model, address: &Address, ids: &[u32]) -> Result<Vec<Reading>> {
    let Component::Unit { layer, part } = address.place else {
        bail!("accepted: logits, queries, keys and values of heads, mlp, resid_pre, resid_mid, resid_post")
    };
    // What can be written can be received: the same checks of range and of shared keys.
    let edit: Edit = format!("{address}=0").parse()?;
    needs(&model.scope(ids), &[edit])?;
    let positions = match address.position {
        Some(p) => vec![resolve_position(p, ids.len())?],
        None => (0..ids.len()).collect(),
    };
    let arch = &model.decoder.arch;
    let kv = |head: usize| head / (arch.n_heads / arch.n_kv_heads).max(1);
    let parts = match part {
        Part::Head(h) => vec![Part::Query(h), Part::SharedKey(kv(h)), Part::SharedValue(kv(h))],
        Part::Query(_) | Part::Key(_) | Part::SharedKey(_) | Part::Value(_) | Part::SharedValue(_) => vec![part],
        Part::ResidPre | Part::ResidMid | Part::ResidPost => vec![part],
        Part::Mlp => {
            let site = Site::Block(layer, S::Ln2Normalized);
            ensure!(
                model.decoder.has_site(site),
                "this model's MLPs read the stream itself; accepted: L{layer}.resid_mid"
            );
            return Ok(vec![Reading { site, cols: 0..arch.d_model, positions }]);
        }
        _ => bail!(
            "accepted: logits, queries, keys and values of heads (L9.H9.q; L9.H9 is all three), mlp, resid_pre, resid_mid, resid_post"
        ),
    };
    let one = |part: Part| {
        let (site, cols) = place(&model.decoder, &Address::unit(layer, part))?;
        Ok(Reading { site, cols, positions: positions.clone() })
    };
    parts.into_iter().map(one).collect()
}

impl PathQuestion {
    /// The same as a question of patching, for tables.
    pub fn as_patch(&self) -> PatchQuestion {
        PatchQuestion {
            site: PatchSite::Z,
            by: Some(PatchCells::Head),
            way: self.way,
            metric: self.metric,
            layer: None,
            at: self.at,
            approx: vec![EffectEstimate::Exact],
        }
    }

    /// What is computed anew between sender and receivers, in words.
    pub fn held(&self) -> &'static str {
        match (self.hold_mlps, self.hold_norms) {
            (false, false) => "heads held; MLPs and norms computed anew",
            (true, false) => "heads and MLPs held; norms computed anew",
            (false, true) => "heads and norms held; MLPs computed anew",
            (true, true) => "heads, MLPs and norms held",
        }
    }

    /// All senders: every head, then every MLP, in the model's order.
    fn senders(&self, model: &Model, n_pos: usize) -> Result<Vec<PatchCell>> {
        let mut all = cells::cells(&model.decoder, &self.as_patch(), n_pos)?;
        let at = self.at.map(|p| resolve_position(p, n_pos)).transpose()?;
        for layer in 0..model.decoder.arch.n_layers {
            let address = Address { position: at.map(signed), ..Address::unit(layer, Part::Mlp) };
            all.push(PatchCell {
                layer,
                unit: None,
                position: at,
                name: address.to_string(),
                address: Some(address),
                cols: 0..model.decoder.arch.d_model,
                positions: at.map_or(0..n_pos, |p| p..p + 1),
            });
        }
        Ok(all)
    }
}

/// The site that a sender writes at.
fn site_of(sender: &PatchCell) -> Site {
    Site::Block(sender.layer, if sender.unit.is_some() { S::Z } else { S::MlpOut })
}

impl<'a> PromptPair<'a> {
    /// Runs both prompts with all that this question reads; the answer is at `position`, counted from 0.
    ///
    /// # Errors
    /// As [`PromptPair::new`]; receivers that this model does not have.
    pub fn for_paths(
        model: &'a Model,
        ids: (&[u32], &[u32]),
        position: usize,
        path: &PathQuestion,
        step: Step,
    ) -> Result<Self> {
        let mut sites: BTreeSet<Site> = run::sites(model, &path.as_patch(), position + 1 == ids.0.len());
        let layers = 0..model.decoder.arch.n_layers;
        sites.extend(layers.clone().map(|l| Site::Block(l, S::MlpOut)));
        if path.hold_norms {
            let scales = [S::Ln1Scale, S::Ln1PostScale, S::Ln2Scale, S::Ln2PostScale];
            let scales = layers.flat_map(|l| scales.map(|s| Site::Block(l, s))).chain([Site::LnFinalScale]);
            sites.extend(scales.filter(|s| model.decoder.has_site(*s)));
            sites.insert(last_stream(model));
        }
        sites.extend(path.receivers.readings(model, ids.0)?.into_iter().map(|r| r.site));
        Self::of_sites(model, ids, position, Sites::Only(sites), step)
    }

    /// Every sender's effect by way of the receivers. `step` is called with the senders done and all.
    ///
    /// # Errors
    /// Answers that do not differ, or what `step` returns.
    pub fn paths(&self, target: Target, path: &PathQuestion, step: Step) -> Result<PatchAnswer> {
        let (model, n_pos) = (self.model, self.clean.n_pos());
        let logits =
            |run: &Trace| -> Result<Vec<f32>> { Ok(copy_logits::read(model, run, self.position, false)?.remove(0)) };
        let of_clean = logits(&self.clean)?;
        let measure = Measure::new(path.metric, target, &of_clean)?;
        let (clean, corrupt) = (measure.value(&of_clean), measure.value(&logits(&self.corrupt)?));
        if no_gap(clean, corrupt) {
            return Err(NoGap { metric: path.metric, clean, corrupt }.into());
        }
        let (from, sign) = match path.way {
            PatchDirection::Denoise => (corrupt, 1.0),
            PatchDirection::Noise => (clean, -1.0),
        };
        let senders = path.senders(model, n_pos)?;
        let mut walk = PathRuns::new(self, path)?;
        let mut effects = Vec::with_capacity(senders.len());
        let batch = copy_logits::at_once(model, n_pos);
        for of_layer in senders.chunk_by(|a, b| a.layer == b.layer && a.unit.is_some() == b.unit.is_some()) {
            for some in of_layer.chunks(batch) {
                step(effects.len(), senders.len())?;
                let answers = walk.answers(some, &measure, &mut |_, _| step(effects.len(), senders.len()))?;
                effects.extend(
                    answers.into_iter().map(|a| single(a.map_or(0.0, |m| sign * (m - from) / (clean - corrupt)))),
                );
            }
        }
        step(senders.len(), senders.len())?;
        Ok(PatchAnswer { target, clean, corrupt, cells: senders, effects: vec![effects] })
    }
}

/// The second and third runs.
struct PathRuns<'p, 'm> {
    pair: &'p PromptPair<'m>,
    path: &'p PathQuestion,
    readings: Vec<Reading>,
    /// What each receiver reads in the run that is written into.
    usual: Vec<Vec<Vec<f32>>>,
    /// The last layer that a receiver reads in; all of them for the logits.
    last: usize,
}

impl<'p, 'm> PathRuns<'p, 'm> {
    fn new(pair: &'p PromptPair<'m>, path: &'p PathQuestion) -> Result<Self> {
        let (base, _) = pair.base_and_donor(path.way);
        let readings = path.receivers.readings(pair.model, base.tokens())?;
        let usual = readings.iter().map(|r| Ok(r.rows(&base.numbers(r.site)?, base.n_pos()))).collect::<Result<_>>()?;
        let last = readings.iter().filter_map(|r| r.site.layer()).max().unwrap_or(usize::MAX);
        Ok(PathRuns { pair, path, readings, usual, last })
    }

    /// The metric for each of some senders of one layer; none where no receiver sees the change.
    fn answers(&mut self, senders: &[PatchCell], measure: &Measure, step: Step) -> Result<Vec<Option<f64>>> {
        let (base, donor) = self.pair.base_and_donor(self.path.way);
        let (layer, n_pos) = (senders[0].layer, base.n_pos());
        let own = [base.numbers(site_of(&senders[0]))?, donor.numbers(site_of(&senders[0]))?];
        let width = own[0].len() / n_pos;
        let felt = |sender: &PatchCell| {
            let rows = sender.positions.clone().map(|p| p * width + sender.cols.start..p * width + sender.cols.end);
            layer <= self.last && rows.into_iter().any(|at| own[0][at.clone()] != own[1][at])
        };
        let some: Vec<usize> = (0..senders.len()).filter(|i| felt(&senders[*i])).collect();
        let mut answers = vec![None; senders.len()];
        if some.is_empty() {
            return Ok(answers);
        }
        let mut plan = EditPlan::default();
        for (copy, i) in some.iter().enumerate() {
            self.hold(&mut plan, copy, layer, senders[*i].unit.is_some(), base)?;
            let sender = &senders[*i];
            let rows = sender.positions.clone().map(|p| own[1][p * width..][sender.cols.clone()].to_vec()).collect();
            plan.replace(copy, site_of(sender), sender.positions.clone().collect(), sender.cols.clone(), rows);
        }
        if self.path.hold_norms {
            plan.hold_norms(base, &self.pair.model.decoder)?;
        }
        let model = self.pair.model;
        let logits = copy_logits::site(model, self.pair.position + 1 == n_pos, false);
        let sites = Sites::only(self.readings.iter().map(|r| r.site).chain([logits]));
        let second = model.run_copies(base, some.len(), &plan, &sites, Logits::Last, step)?;
        if self.path.receivers == Receivers::Logits {
            for (i, logits) in some.iter().zip(copy_logits::read(model, &second, self.pair.position, false)?) {
                answers[*i] = Some(measure.value(&logits));
            }
            return Ok(answers);
        }
        self.third(&second, &some, &mut answers, measure, step)?;
        Ok(answers)
    }

    /// Every head, and every MLP if those are held, at its value in the run that is written into, from the sender's layer on.
    fn hold(&self, plan: &mut EditPlan, copy: usize, layer: usize, head: bool, base: &Trace) -> Result<()> {
        let n_pos = base.n_pos();
        let mut whole = |site: Site| -> Result<()> {
            let numbers = base.numbers(site)?;
            let width = numbers.len() / n_pos;
            let rows = numbers.chunks_exact(width).map(<[f32]>::to_vec).collect();
            plan.replace(copy, site, (0..n_pos).collect(), 0..width, rows);
            Ok(())
        };
        // Of an MLP's own layer the heads have been mixed before it, or beside it.
        let first = if head { layer } else { layer + 1 };
        for l in first..self.pair.model.decoder.arch.n_layers {
            whole(Site::Block(l, S::Z))?;
            if self.path.hold_mlps {
                whole(Site::Block(l, S::MlpOut))?;
            }
        }
        Ok(())
    }

    /// The answers where receivers read what they read in the second run.
    fn third(
        &self,
        second: &Trace,
        some: &[usize],
        answers: &mut [Option<f64>],
        measure: &Measure,
        step: Step,
    ) -> Result<()> {
        let (base, _) = self.pair.base_and_donor(self.path.way);
        let (model, n_pos) = (self.pair.model, base.n_pos());
        let (mut plan, mut copies) = (EditPlan::default(), Vec::new());
        for (nth, i) in some.iter().enumerate() {
            let alone = second.alone(nth)?;
            let read = |r: &Reading| Ok(r.rows(&alone.numbers(r.site)?, n_pos));
            let now = self.readings.iter().map(read).collect::<Result<Vec<_>>>()?;
            if now == self.usual {
                continue;
            }
            for (reading, rows) in self.readings.iter().zip(now) {
                plan.replace(copies.len(), reading.site, reading.positions.clone(), reading.cols.clone(), rows);
            }
            copies.push(*i);
        }
        if copies.is_empty() {
            return Ok(());
        }
        let sites = Sites::only([copy_logits::site(model, self.pair.position + 1 == n_pos, false)]);
        let run = model.run_copies(base, copies.len(), &plan, &sites, Logits::Last, step)?;
        for (i, logits) in copies.iter().zip(copy_logits::read(model, &run, self.pair.position, false)?) {
            answers[*i] = Some(measure.value(&logits));
        }
        Ok(())
    }
}

impl Reading {
    /// Its rows among the numbers of its site.
    fn rows(&self, numbers: &[f32], n_pos: usize) -> Vec<Vec<f32>> {
        let width = numbers.len() / n_pos;
        self.positions.iter().map(|p| numbers[p * width..][self.cols.clone()].to_vec()).collect()
    }
}
