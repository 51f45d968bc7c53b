//! MLP neurons at a position: how active, what they did for the target, what they write.

mod choose;
mod evidence;
pub(super) mod links;
mod one;
mod sections;
mod table;

use super::over_set::Listing;
use super::param::{Param, ParamKind, Values};
use super::target::Target;
use super::{About, Analysis, Evidence, Job, MethodDirection, passes};
use crate::address::resolve_position;
use crate::model::Model;
use crate::model::edit::Passes;
use crate::model::forward::Step;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::replacement::Gate;
use crate::report::Report;
use anyhow::{Result, ensure};
use candle_core::DType;
use std::collections::BTreeSet;

/// The table of neurons.
pub struct Neurons;

static ABOUT: About = About {
    name: "neurons",
    title: "MLP neurons",
    question: "Which neurons are active here, what do they write, and what did they do for the answer?",
    direction: MethodDirection::BottomUp,
    unit: "MLP neuron",
    evidence: Evidence::Approximation,
    assumes: "attribution: attention patterns, norm scales and activation coefficients are held at the run's values (RelP), so what acts through them is not seen; activations and direct effects are exact",
    cost: "1 forward and 1 backward pass, about 2 forward passes",
    reference: "Jafari et al. 2025, RelP (arXiv 2508.21258)",
    params: &[
        Param {
            name: "neuron",
            kind: ParamKind::Neuron,
            default: "none",
            help: "One neuron in detail: what drives it, who reads it, its tokens, its activation everywhere",
        },
        Param { name: "layer", kind: ParamKind::Layer, default: "all", help: "Only the neurons of this layer" },
        Param {
            name: "top",
            kind: ParamKind::Count,
            default: "20",
            help: "Neurons to print, the strongest first; 0 is all",
        },
        Param {
            name: "include",
            kind: ParamKind::Neuron,
            default: "none",
            help: "A neuron to print even if it is not among the strongest",
        },
        Param {
            name: "sort",
            kind: ParamKind::Choice(&[
                "attribution",
                "activation",
                "direct_effect",
                "write_norm",
                "max_activation",
                "address",
            ]),
            default: "attribution",
            help: "What makes a neuron strong, by size",
        },
        Param {
            name: "order",
            kind: ParamKind::Choice(&["size", "high", "low"]),
            default: "size",
            help: "What comes first: the largest whatever its sign, the highest or the lowest",
        },
        Param {
            name: "filter",
            kind: ParamKind::Text,
            default: "",
            help: "Only neurons for which all of this holds, as in 'activation>2 layer=3..5 \"Austin\"'",
        },
        Param {
            name: "tokens",
            kind: ParamKind::Count,
            default: "5",
            help: "Promoted and suppressed tokens to print of each",
        },
        Param {
            name: "target-position",
            kind: ParamKind::Position,
            default: "-1",
            help: "Where the logit is read that attribution explains",
        },
        Param {
            name: "gate",
            kind: ParamKind::Choice(&["half", "freeze"]),
            default: "half",
            help: "Gated MLPs: half of the gradient through either branch, or none through the gate",
        },
        Param {
            name: "activations",
            kind: ParamKind::Flag,
            default: "false",
            help: "Print the activation at every position too",
        },
        Param {
            name: "index",
            kind: ParamKind::Text,
            default: "",
            help: "A folder that mechscope sweep made of this model: percentile, density, tokens and label of each, contexts of one",
        },
    ],
};

/// The neurons of one layer at the position, `[d_mlp]` each.
struct LayerNeurons {
    layer: usize,
    activation: Vec<f32>,
    attribution: Vec<f32>,
    direct: Vec<f32>,
    /// The activation of greatest size over all positions, and where.
    greatest: Vec<(f32, usize)>,
}

impl Analysis for Neurons {
    fn about(&self) -> &'static About {
        &ABOUT
    }

    fn listing(&self, _: &Values) -> Option<Listing> {
        Some(Listing { count: "top", table: "neurons", by: None, dear: Some("tokens"), absent_is_zero: false })
    }

    fn reads(&self, model: &Model, _: &Values) -> Result<BTreeSet<Site>> {
        // Those of the direct effects hold embeddings, mixed values and activations too, for one neuron's inputs.
        let mut sites = model.decoder.direct_sites();
        sites.extend(model.decoder.relp_sites());
        Ok(sites)
    }

    fn run(&self, job: &Job, step: Step) -> Result<Report> {
        if let Some((layer, neuron)) = job.values.neuron("neuron")? {
            return one::report(job, layer, neuron, step);
        }
        let n_layers = job.model.decoder.arch.n_layers;
        if let Some(layer) = job.values.layer("layer")? {
            ensure!(layer < n_layers, "layer {layer}: this model has layers 0..={}", n_layers - 1);
        }
        let at = resolve_position(job.values.position("target-position")?, job.input.tokens.len())?;
        let target = job.target_at(at)?;
        let only = job.values.layer("layer")?;
        let here = layers(job, job.trace(), (&target, at), only, passes(job)?, step)?;
        let clean = match job.edited {
            Some(_) => Some(layers(job, job.clean, (&target, at), only, Passes::default(), step)?),
            None => None,
        };
        let mut report = Report::default();
        target.describe(&mut report, job.model, at);
        report.fact("position", job.position);
        report.fact("neurons_in_all", here.iter().map(|layer| layer.activation.len()).sum::<usize>());
        sections::fill(job, &mut report, &here, clean.as_deref())?;
        Ok(report)
    }
}

fn gate(job: &Job) -> Result<Gate> {
    Ok(if job.values.choice("gate")? == "freeze" { Gate::Freeze } else { Gate::Half })
}

/// What is known of every neuron of all layers, or of the only one asked for.
fn layers(
    job: &Job,
    trace: &Trace,
    (target, at): (&Target, usize),
    only: Option<usize>,
    passes: Passes,
    step: Step,
) -> Result<Vec<LayerNeurons>> {
    let weights: Vec<(u32, f32)> = target.weights().collect();
    let gradients = job.model.decoder.relp(trace, &weights, at, gate(job)?, passes, step)?;
    let direct = job.model.decoder.direct(trace, job.position, &weights, true)?;
    let mut layers = Vec::new();
    for (layer, direct) in direct.layers.into_iter().enumerate().filter(|(l, _)| only.is_none_or(|o| o == *l)) {
        let post = trace.numbers(Site::Block(layer, BlockSite::MlpPost))?;
        let d_mlp = direct.neurons.len();
        let activation = post[job.position * d_mlp..(job.position + 1) * d_mlp].to_vec();
        // Positions after the target's cannot have had a part in it.
        let attribution = if job.position <= at {
            let row = gradients.neurons[layer].narrow(0, job.position, 1)?.to_dtype(DType::F32)?;
            let gradient: Vec<f32> = row.flatten_all()?.to_vec1()?;
            gradient.iter().zip(&activation).map(|(g, a)| g * a).collect()
        } else {
            vec![0.0; d_mlp]
        };
        let mut greatest = vec![(0f32, 0); d_mlp];
        for (position, row) in post.chunks(d_mlp.max(1)).enumerate() {
            for (best, value) in greatest.iter_mut().zip(row) {
                if value.abs() > best.0.abs() {
                    *best = (*value, position);
                }
            }
        }
        layers.push(LayerNeurons { layer, activation, attribution, direct: direct.neurons, greatest });
    }
    Ok(layers)
}
