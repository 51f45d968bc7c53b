//! `mechscope doctor`: is everything here as it should be? What the explorer would find, devices, folders, numbers.

mod transcoders;

use super::{DeviceArgs, OutputArgs, models, output};
use crate::builtin::{self, Builtin};
use crate::model::Model;
use crate::model::device::{DTypeChoice, DeviceChoice, device_name};
use crate::model::forward::Logits;
use crate::model::kernel;
use crate::model::site::Sites;
use crate::model::source::{self, Source};
use crate::paths;
use crate::report::{Cell, Column, Report, Table};
use crate::terminal::clipboard;
use crate::terminal::color::depth;
use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use serde::Deserialize;
use std::io::IsTerminal;

/// Options of `mechscope doctor`.
#[derive(Args, Debug)]
pub struct Doctor {
    /// A model to look at as well: what it is, and what of its settings is not read
    #[arg(short, long)]
    model: Option<String>,
    /// Transcoders to look at with it: how much of what its MLPs write they explain
    #[arg(long, value_name = "DIR", requires = "model")]
    dictionary: Option<String>,
    #[command(flatten)]
    on: DeviceArgs,
    #[command(flatten)]
    output: OutputArgs,
}

/// What another implementation computed: the file `reference.json` of a built-in model.
#[derive(Deserialize)]
struct Known {
    prompts: Vec<KnownPrompt>,
}

#[derive(Deserialize)]
struct KnownPrompt {
    ids: Vec<u32>,
    top: Vec<KnownLogit>,
}

#[derive(Deserialize)]
struct KnownLogit {
    id: u32,
    logit: f32,
}

impl Doctor {
    /// Prints what was found; fails when a number is wrong.
    pub fn run(self) -> Result<()> {
        let mut report = match &self.model {
            Some(name) => models::about(name, &self.on.accept_config)?,
            None => Report::default(),
        };
        if let (Some(model), Some(dictionary)) = (&self.model, &self.dictionary) {
            transcoders::add(&mut report, model, dictionary, &self.on)?;
        }
        report.fact("version", env!("CARGO_PKG_VERSION"));
        report.fact("vector_instructions", format!("{:?}", kernel::level()).to_lowercase());
        report.fact("threads", rayon::current_num_threads());
        report.table("terminal", "Terminal", terminal());
        report.table("devices", "Devices", devices());
        report.table("folders", "Folders", folders());
        let (table, wrong) = parity();
        report.table("parity", "Built-in models against the numbers of Hugging Face transformers", table);
        output::print(&report, &self.output)?;
        ensure!(wrong == 0, "{wrong} check(s) of the built-in models failed");
        Ok(())
    }
}

fn terminal() -> Table {
    let mut table = Table::new([Column::text("property"), Column::text("value")]);
    let variable = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
    let streams = [("input", std::io::stdin().is_terminal()), ("output", std::io::stdout().is_terminal())];
    for (name, is_terminal) in streams {
        let what = if is_terminal { "a terminal" } else { "no terminal: the explorer does not open here" };
        table.push([name.into(), what.into()]);
    }
    let size = crossterm::terminal::size().map(|(columns, rows)| format!("{columns}x{rows}"));
    table.push(["size".into(), size.unwrap_or_else(|_| "not known".into()).into()]);
    let named = ["TERM", "COLORTERM", "NO_COLOR", "TMUX"].map(|n| variable(n).map(|v| format!("{n}={v}")));
    table.push(["environment".into(), named.into_iter().flatten().collect::<Vec<_>>().join(" ").into()]);
    let depth = depth(|name| std::env::var_os(name));
    table.push(["colours".into(), depth.to_string().into()]);
    table.push(["clipboard".into(), clipboard::way().into()]);
    table
}

fn devices() -> Table {
    let mut table = Table::new([Column::text("device"), Column::text("state")]);
    for choice in [DeviceChoice::Cpu, DeviceChoice::Cuda(0), DeviceChoice::Metal] {
        let state = match choice.open() {
            Ok(device) => format!("ready as {}", device_name(&device)),
            Err(e) => format!("{e:#}").lines().next().unwrap_or("not there").to_owned(),
        };
        table.push([choice.to_string().into(), state.into()]);
    }
    table
}

fn folders() -> Table {
    let mut table = Table::new([Column::text("folder"), Column::text("path"), Column::text("state")]);
    let all = [
        ("config", paths::config()),
        ("state", paths::state()),
        ("data", paths::data()),
        ("steering directions", paths::directions()),
        ("Hugging Face cache", source::cache()),
    ];
    for (name, path) in all {
        let state = match &path {
            None => "no home folder",
            Some(p) if p.is_dir() => "there",
            Some(_) => "not made yet",
        };
        let path = path.map(|p| p.display().to_string());
        table.push([name.into(), path.into(), state.into()]);
    }
    table
}

/// Runs every built-in model on its reference prompt; the second value counts what does not agree.
fn parity() -> (Table, usize) {
    let mut table = Table::new([
        Column::text("model"),
        Column::integer("logits"),
        Column::number("largest_difference", "", 7),
        Column::text("verdict"),
    ]);
    let mut wrong = 0;
    for model in builtin::all() {
        let row: [Cell; 4] = match compare(model) {
            Ok((n, difference, allowed)) => {
                let good = difference <= allowed;
                wrong += usize::from(!good);
                let verdict = if good { "equal" } else { "DIFFERENT" };
                [model.name.into(), n.into(), difference.into(), format!("{verdict} (allowed {allowed:.1e})").into()]
            }
            Err(e) => {
                wrong += 1;
                [model.name.into(), Cell::Empty, Cell::Empty, format!("FAILED: {e:#}").into()]
            }
        };
        table.push(row);
    }
    (table, wrong)
}

/// Number of logits compared, their largest difference, and how large it may be.
fn compare(model: &'static Builtin) -> Result<(usize, f32, f32)> {
    let Some(known) = model.file("reference.json") else { bail!("it ships no reference numbers") };
    let known: Known = serde_json::from_slice(known).context("reference.json")?;
    let device = candle_core::Device::Cpu;
    let open = Model::open_source(Source::BuiltIn(model), &device, DTypeChoice::F32, Box::new(|_, _| {}))?;
    let (mut count, mut worst, mut top) = (0, 0f32, 0f32);
    for prompt in &known.prompts {
        let logits = open.run(&prompt.ids, &Sites::None, Logits::Last)?.last_logits(0)?;
        for k in &prompt.top {
            let got = logits.get(k.id as usize).with_context(|| format!("reference.json: token {}", k.id))?;
            worst = worst.max((got - k.logit).abs());
            count += 1;
        }
        top = logits.iter().fold(top, |m, x| m.max(x.abs()));
    }
    ensure!(count > 0, "reference.json holds no logits");
    Ok((count, worst, 2e-5 * top + 1e-5))
}
