//! `mechscope sweep`: what units fire on over a corpus.

mod export;
mod run;
mod spec;
mod status;

use super::hub::HubArgs;
use super::{DeviceArgs, output};
use crate::corpus::drivers;
use crate::corpus::merge;
use crate::corpus::part::{self, PartHeader};
use crate::corpus::plan::{INDEX, Plan};
use crate::model::Model;
use crate::model::device::DeviceChoice;
use crate::model::memory::Size;
use anyhow::{Context, Result, ensure};
use clap::{Args, Subcommand};
use std::path::{Path, PathBuf};

/// The steps of a sweep.
#[derive(Debug, Subcommand)]
pub enum SweepCommand {
    /// Plan, run and merge on this machine; run again, it goes on where it was
    Local(spec::SpecArgs),
    /// Cut a corpus into shards; writes the plan into a folder, and drivers for one machine, Slurm, Ray and datatrove
    Plan(spec::SpecArgs),
    /// Run shards of a plan: those that are not done
    Run(run::RunShards),
    /// Say what is done, what is missing and how fast it goes
    Status(status::Status),
    /// Merge parts, or indices, to an index
    Merge(Merge),
    /// Write an index in the formats of others
    Export(export::Export),
}

impl SweepCommand {
    /// Does the step.
    pub fn run(self) -> Result<()> {
        match self {
            SweepCommand::Local(c) => local(c),
            SweepCommand::Plan(c) => {
                let plan = c.plan()?;
                let program = std::env::current_exe().context("where this program is")?;
                drivers::write(&plan, &c.out, &program)?;
                tell_plan(&plan, &c.out);
                Ok(())
            }
            SweepCommand::Run(c) => c.run(),
            SweepCommand::Status(c) => c.run(),
            SweepCommand::Merge(c) => c.run(),
            SweepCommand::Export(c) => c.run(),
        }
    }
}

/// Where a worker computes; everything else is in the plan.
#[derive(Args, Debug)]
pub struct WorkerArgs {
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long, default_value = "auto")]
    pub device: DeviceChoice,
    /// What may be fetched.
    #[command(flatten)]
    pub hub: HubArgs,
    /// A field of config.json that is not known, to be let pass all the same; repeatable
    #[arg(long, value_name = "FIELD")]
    pub accept_config: Vec<String>,
}

impl WorkerArgs {
    /// Opens the model of a plan.
    fn open(self, plan: &Plan) -> Result<Model> {
        let dtype = plan.spec.dtype.parse().context("dtype")?;
        let on = DeviceArgs { device: self.device, dtype, hub: self.hub, accept_config: self.accept_config };
        on.open(&plan.spec.model)
    }
}

fn local(args: spec::SpecArgs) -> Result<()> {
    let plan = args.plan()?;
    tell_plan(&plan, &args.out);
    let shards = (0..plan.shards.len()).collect::<Vec<_>>();
    run::shards(&plan, &args.out, &shards, args.worker)?;
    merge_to(std::slice::from_ref(&args.out), &args.out.join(INDEX))
}

/// Says what was planned, and what it will cost.
fn tell_plan(plan: &Plan, folder: &Path) {
    let bytes: u64 = plan.files.iter().map(|file| file.size).sum();
    let (files, shards) = (plan.files.len(), plan.shards.len());
    output::remark(&format!(
        "{}: {files} files, {}, {shards} shards, contexts of {} tokens; about {:.2e} operations a token; spec {}",
        folder.display(),
        Size(bytes),
        plan.spec.ctx,
        plan.flops_a_token,
        plan.spec_hash
    ));
}

/// Options of `mechscope sweep merge`.
#[derive(Args, Debug)]
pub struct Merge {
    /// Folders of sweeps (their parts), indices, or single parts
    #[arg(required = true, value_name = "PLACE")]
    places: Vec<PathBuf>,
    /// The folder for the index; that of the sweep when only one is named
    #[arg(short, long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Fail where some of the corpus is missing
    #[arg(long)]
    whole: bool,
}

impl Merge {
    fn run(self) -> Result<()> {
        let out = match (&self.out, &self.places[..]) {
            (Some(out), _) => out.clone(),
            (None, [one]) if one.is_dir() => one.clone(),
            (None, _) => {
                anyhow::bail!("--out is needed: several places, or a single part, say no folder for the index")
            }
        };
        if self.whole {
            let parts = parts(&self.places)?;
            let headers = parts.iter().map(|path| Ok(part::open(path)?.1)).collect::<Result<Vec<PartHeader>>>()?;
            let (done, all) = (headers.iter().map(|h| h.coverage().0).sum::<u64>(), headers[0].coverage().1);
            ensure!(
                done >= all,
                "{done} of {all} bytes of the corpus are there; without --whole a part of it is merged"
            );
        }
        merge_to(&self.places, &out.join(INDEX))
    }
}

fn parts(places: &[PathBuf]) -> Result<Vec<PathBuf>> {
    Ok(places.iter().map(|place| merge::parts_of(place)).collect::<Result<Vec<_>>>()?.concat())
}

fn merge_to(places: &[PathBuf], index: &Path) -> Result<()> {
    let mut progress = output::work_progress("merging");
    let state = merge::merge(&parts(places)?, &mut progress)?;
    if let Some(folder) = index.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    merge::write(&state, index)?;
    let (done, all) = state.header.coverage();
    let partial = if done < all {
        format!(" (partial: {:.1} % of the corpus)", 100.0 * done as f64 / all as f64)
    } else {
        String::new()
    };
    let size = std::fs::metadata(index).map_or(0, |there| there.len());
    output::remark(&format!(
        "wrote {}: {} tokens of {} documents in {} contexts, {}{partial}",
        index.display(),
        state.header.n_tokens,
        state.header.n_docs,
        state.header.n_contexts,
        Size(size)
    ));
    Ok(())
}
