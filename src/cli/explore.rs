//! `mechscope` without a command: the explorer.

use super::hub::HubArgs;
use super::output::replace;
use crate::address::Edit;
use crate::analysis::attribution::Basis;
use crate::app::Tab;
use crate::app::edits::Item;
use crate::app::session::Session;
use crate::builtin;
use crate::config::{Config, Given};
use crate::engine::Setup;
use crate::graph::format::json;
use crate::keymap::Keymap;
use crate::model::device::{DTypeChoice, DeviceChoice};
use crate::model::hub;
use crate::model::open::Options;
use crate::model::source;
use crate::model::text::Bos;
use crate::run::{self, Settings};
use crate::terminal::color::{Depth, depth};
use crate::view::theme::{Colors, Theme, ThemeName};
use crate::{log, paths};
use anyhow::{Context, Error, Result, bail};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// Options of the explorer.
#[derive(Args, Debug)]
pub struct Explore {
    /// Built-in name, folder, or name in the Hugging Face cache
    #[arg(short, long)]
    model: Option<String>,
    /// The prompt to begin with
    #[arg(short, long, allow_hyphen_values = true)]
    prompt: Option<String>,
    /// A token to explain: its text, a JSON string, or an id
    #[arg(short, long, value_name = "TOKEN", allow_hyphen_values = true)]
    target: Option<String>,
    /// A second token, subtracted from the target
    #[arg(short, long, value_name = "TOKEN", requires = "target", allow_hyphen_values = true)]
    contrast: Option<String>,
    /// An intervention to begin with, repeatable: L7.H3=0
    #[arg(short, long = "edit", value_name = "EDIT", allow_hyphen_values = true)]
    edits: Vec<Edit>,
    /// A folder of transcoders: graphs are of its features
    #[arg(long, value_name = "DIR")]
    dictionary: Option<String>,
    /// A graph file to begin with: ours, circuit-tracer's or Neuronpedia's
    #[arg(long, value_name = "FILE")]
    graph: Option<String>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// auto, f32, bf16 or f16
    #[arg(long)]
    dtype: Option<DTypeChoice>,
    /// Begin prompts with the BOS token: auto, always or never
    #[arg(long)]
    bos: Option<Bos>,
    /// Go on where the last session ended
    #[arg(long)]
    resume: bool,
    #[command(flatten)]
    hub: HubArgs,
    #[command(flatten)]
    look: Look,
    /// Keep a log file in the state directory
    #[arg(short, long)]
    verbose: bool,
}

/// How the explorer looks and listens, before what the file of settings says.
#[derive(Args, Debug)]
pub struct Look {
    /// auto, mono or terminal (the terminal's 16 colours)
    #[arg(long)]
    theme: Option<ThemeName>,
    /// Draw with ASCII characters only
    #[arg(long)]
    ascii: bool,
    /// Use the wheel and clicks (the terminal's own selection then needs Shift)
    #[arg(long)]
    mouse: bool,
    /// Keys laid over the default ones: vim, emacs or arrows
    #[arg(long, value_name = "NAME")]
    keymap: Vec<String>,
}

/// What to do with the session.
#[derive(Subcommand, Debug)]
pub enum SessionCommand {
    /// Print the commands that reproduce what was looked at
    Log,
}

impl Explore {
    /// Runs the explorer; returns its exit code.
    pub fn run(self) -> Result<u8> {
        let config = load_config()?.with(self.look.into());
        let keymap = keymap(&config.keymap)?;
        let mut session = match (self.resume, session_file()) {
            (true, Some(file)) if file.is_file() => read_session()?,
            _ => Session::new(&first_model(&config)),
        };
        // A graph file is opened with the model and the dictionary that it names, where they are there.
        let made_with = self.graph.as_ref().map(|file| json::made_with(Path::new(file))).unwrap_or_default();
        if let Some(model) = self.model.or(made_with.model.filter(|name| source::is_model(name))) {
            // Another model's tokens mean something else.
            session.ids = session.ids.filter(|_| session.model == model);
            session.model = model;
        }
        if self.prompt.is_some() {
            (session.prompt, session.ids, session.position) = (self.prompt, None, -1);
        }
        if self.target.is_some() {
            (session.target, session.contrast) = (self.target, self.contrast);
        }
        session.edits.extend(self.edits.into_iter().map(Item::on));
        let given = [
            ("device", self.device.map(|d| d.to_string())),
            ("dtype", self.dtype.map(|d| d.to_string())),
            ("bos", self.bos.map(|b| b.to_string())),
        ];
        for (name, value) in given.into_iter().filter_map(|(name, value)| Some((name, value?))) {
            session.options.retain(|(known, _)| known != name);
            session.options.push((name.to_owned(), value));
        }
        // What a file names is not fetched unasked.
        let dictionary = self.dictionary.or(made_with.dictionary.filter(|name| hub::is_here(name)));
        if dictionary.is_some() {
            (session.dictionary, session.basis) = (dictionary, Basis::Features);
        }
        if self.graph.is_some() {
            (session.graph, session.tab) = (self.graph, Tab::Graph);
        }
        // What cannot be opened is said before a screen is there that would cut it off.
        let policy = self.hub.before_screen(&session.model)?;
        let shown = depth(|name| std::env::var_os(name));
        let colors = match (config.theme, shown) {
            (ThemeName::Mono, _) | (ThemeName::Auto, Depth::Mono) => Colors::Mono,
            (ThemeName::Terminal, _) | (_, Depth::Sixteen) => Colors::Sixteen,
            _ => Colors::Many,
        };
        let settings = Settings {
            setup: Setup {
                options: Options { device: option(&session, "device")?, dtype: option(&session, "dtype")? },
                bos: option(&session, "bos")?,
                directions: paths::directions().into_iter().collect(),
                hub: policy,
            },
            session,
            keymap,
            theme: Theme { colors, ascii: config.ascii },
            mouse: config.mouse,
            log: if self.verbose { log::line } else { log::nothing },
        };
        run::run(settings, save)
    }
}

/// An option that was given now or in the session that is gone on with.
fn option<T: FromStr<Err = Error> + Default>(session: &Session, name: &str) -> Result<T> {
    let value = session.options.iter().find(|(known, _)| known == name);
    value.map_or_else(|| Ok(T::default()), |(_, text)| text.parse()).with_context(|| format!("--{name}"))
}

impl SessionCommand {
    /// Prints the log of the last session.
    pub fn run(self) -> Result<()> {
        let SessionCommand::Log = self;
        let mut out = std::io::stdout().lock();
        for command in read_session()?.log {
            writeln!(out, "{command}")?;
        }
        Ok(())
    }
}

/// Prints the effective keymap: context, keys, action, what it does.
pub fn print_keys(overlays: &[String]) -> Result<()> {
    let config = load_config()?;
    let keymap = keymap(if overlays.is_empty() { &config.keymap } else { overlays })?;
    let mut out = std::io::stdout().lock();
    for (context, keys, action) in keymap.iter() {
        writeln!(out, "{:<8} {keys:<12} {:<18} {}", context.name(), action.name(), action.about())?;
    }
    Ok(())
}

impl Look {
    /// Prints the settings that hold with these options, and where each comes from.
    pub fn print(self) -> Result<()> {
        let mut config = load_config()?.with(self.into());
        // As for the explorer: a keymap that does not load is an error here too.
        keymap(&config.keymap)?;
        config.model = Some(first_model(&config));
        let variable = |name: &str| std::env::var_os(name);
        if let (ThemeName::Auto, Depth::Mono) = (config.theme, depth(variable)) {
            config.theme = ThemeName::Mono;
            let no_color = variable("NO_COLOR").is_some_and(|v| !v.is_empty());
            config.from.insert("theme", if no_color { "NO_COLOR" } else { "TERM=dumb" }.into());
        }
        let mut out = std::io::stdout().lock();
        if let Some(folder) = paths::config() {
            writeln!(out, "# {}", folder.join("config.toml").display())?;
        }
        Ok(out.write_all(config.print().as_bytes())?)
    }
}

impl From<Look> for Given {
    fn from(look: Look) -> Self {
        Given { theme: look.theme, ascii: look.ascii, mouse: look.mouse, keymap: look.keymap }
    }
}

fn load_config() -> Result<Config> {
    paths::config().map_or_else(|| Ok(Config::default()), |folder| Config::load(&folder.join("config.toml")))
}

/// The default keys, the overlays, and the user's own `keys.toml`.
fn keymap(overlays: &[String]) -> Result<Keymap> {
    let own = paths::config().map(|folder| folder.join("keys.toml")).filter(|file| file.is_file());
    let files = own.into_iter().map(|file| {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(&file).with_context(|| name.clone())?;
        Ok((name, text))
    });
    let overlays: Vec<&str> = overlays.iter().map(String::as_str).collect();
    Keymap::load(&overlays, &files.collect::<Result<Vec<_>>>()?)
}

/// The model opened when none is named: the one set, else the default one, else any that travels inside the program.
fn first_model(config: &Config) -> String {
    let default = || builtin::get(source::DEFAULT).or(builtin::all().first()).map_or(source::DEFAULT, |b| b.name);
    config.model.clone().unwrap_or_else(|| default().to_owned())
}

fn session_file() -> Option<PathBuf> {
    paths::state().map(|folder| folder.join("session.json"))
}

fn read_session() -> Result<Session> {
    let file = session_file().context("there is no home folder to keep sessions in")?;
    let place = || file.display().to_string();
    let text = match std::fs::read_to_string(&file) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
            bail!("{}: no session is kept yet; the explorer writes it when it is left", place())
        }
        read => read.with_context(place)?,
    };
    Session::read(&text).with_context(place)
}

/// Keeps the session, whole or not at all.
fn save(session: &Session) -> Result<()> {
    let Some(file) = session_file() else { return Ok(()) };
    if let Some(folder) = file.parent() {
        std::fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let text = session.write()?;
    replace(&file, |out| Ok(out.write_all(text.as_bytes())?))
}
