//! `mechscope` without a command: the explorer.

use super::hub::HubArgs;
use super::sessions::{NEWEST, Sessions};
use super::{notebook, overview, plan, tour_kept};
use crate::address::Edit;
use crate::analysis::attribution::Basis;
use crate::app::Tab;
use crate::app::edits::ListedEdit;
use crate::app::session::Session;
use crate::app::tour::TourStart;
use crate::builtin;
use crate::config::{Config, Given};
use crate::engine::{IndexPlaces, Setup};
use crate::files::read_text_if_there;
use crate::graph::format::json;
use crate::keymap::Keymap;
use crate::model::device::{DTypeChoice, DeviceChoice};
use crate::model::hub;
use crate::model::open::Options;
use crate::model::source;
use crate::model::text::Bos;
use crate::run::{self, ExplorerSettings};
use crate::terminal::color::{Depth, depth};
use crate::view::theme::{Colors, Theme, ThemeName};
use crate::{log, paths, report};
use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use clap::{Args, Subcommand};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::str::FromStr;

/// What `--resume` prints the sessions for.
const LIST: &str = "list";

/// Options of the explorer.
#[derive(Args, Debug)]
pub struct Explore {
    /// A built-in model (hello, induction), a folder in Hugging Face layout, a GGUF file, or org/name or org/name@revision: from the
    /// Hugging Face cache, or downloaded into it
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
    /// An index of a corpus that mechscope sweep made of this model: neurons show what they fire on
    #[arg(long, value_name = "DIR")]
    index: Option<PathBuf>,
    /// A graph file to begin with: ours, circuit-tracer's or Neuronpedia's
    #[arg(long, value_name = "FILE")]
    graph: Option<String>,
    /// auto, cpu, cuda, cuda:N or metal
    #[arg(long)]
    device: Option<DeviceChoice>,
    /// auto, f32, bf16 or f16
    #[arg(long)]
    dtype: Option<DTypeChoice>,
    /// A field of config.json that is not known, to be let pass all the same; repeatable
    #[arg(long, value_name = "FIELD")]
    accept_config: Vec<String>,
    /// Begin prompts with the BOS token: auto, always or never
    #[arg(long)]
    bos: Option<Bos>,
    /// Go on where a session ended: the newest, or that of a number; list prints them
    #[arg(long, value_name = "SESSION", num_args = 0..=1, default_missing_value = NEWEST)]
    resume: Option<String>,
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
    /// Print the commands that reproduce what was looked at and done
    Log {
        /// Which session, by its number in the list
        #[arg(default_value = NEWEST)]
        session: String,
    },
    /// Write a session as a notebook in Markdown: what was asked, what was measured, and the commands that do it again
    Export {
        /// Which session, by its number in the list
        #[arg(default_value = NEWEST)]
        session: String,
        /// The file; - or none is standard output
        #[arg(short, long, value_name = "FILE")]
        out: Option<PathBuf>,
        /// Run the commands, and put below each what it prints
        #[arg(long)]
        run: bool,
    },
    /// List the sessions that are kept, the newest first
    List,
}

impl Explore {
    /// What is said where there is no terminal: the overview, unless something was asked for. What cannot be opened is named first.
    pub fn without_terminal(self) -> Result<()> {
        match self.resume.as_deref() {
            Some(LIST) => return SessionCommand::List.run(),
            Some(which) => drop(Sessions::here()?.find(which)?),
            None => {}
        }
        self.model.as_deref().map(source::Source::find).transpose()?;
        if !self.asks_anything() {
            return overview::print();
        }
        bail!(
            "the explorer needs a terminal for its input and its output; commands print without one: mechscope predict -m MODEL -p PROMPT \
             (mechscope --help lists them)"
        )
    }

    /// Runs the explorer; returns its exit code. Who starts it for the first time, for nothing in particular, is offered the tour.
    pub fn run(self) -> Result<u8> {
        let nothing_asked = !self.asks_anything();
        let tour = tour_kept::start(Sessions::here().is_ok_and(|kept| kept.is_empty()) && nothing_asked);
        self.begin(tour)
    }

    /// Whether anything was asked for on the command line.
    fn asks_anything(&self) -> bool {
        let anything = [&self.model, &self.prompt, &self.target, &self.dictionary, &self.graph, &self.resume];
        anything.into_iter().any(Option::is_some) || !self.edits.is_empty()
    }

    /// Runs the explorer for the guided tour.
    pub(super) fn run_tour(self, look: Look, tour: TourStart) -> Result<u8> {
        Explore { look, ..self }.begin(tour)
    }

    fn begin(self, tour: TourStart) -> Result<u8> {
        plan::check_base()?;
        let config = load_config()?.with(self.look.into());
        let keymap = keymap(&config.keymap)?;
        let sessions = Sessions::here();
        let mut session = match &self.resume {
            Some(list) if list == LIST => return SessionCommand::List.run().map(|()| 0),
            Some(which) => sessions.as_ref().map_err(|e| anyhow!("{e:#}"))?.find(which)?,
            None => Session::new(&first_model(&config)),
        };
        let begun = session.clone();
        // A graph file is opened with the model and the dictionary that it names, where they are there.
        let made_with = self.graph.as_ref().map(|file| json::made_with(Path::new(file))).unwrap_or_default();
        if let Some(model) = self.model.or(made_with.model.filter(|name| source::is_model(name))) {
            // Another model's tokens mean something else.
            session.ids = session.ids.filter(|_| session.model == model);
            session.model = model;
        }
        // A file's graph is of its own prompt: what the other tabs show is of it too.
        if let Some(prompt) = self.prompt.or(made_with.prompt) {
            (session.prompt, session.ids, session.position) = (Some(prompt), None, -1);
        }
        if self.target.is_some() {
            (session.target, session.contrast) = (self.target, self.contrast);
        }
        session.edits.extend(self.edits.into_iter().map(ListedEdit::on));
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
        // The example of a model is nobody's work; a prompt that was typed is.
        let mut given = session.clone();
        given.model.clone_from(&begun.model);
        let asked = given != begun;
        // What cannot be opened is said before a screen is there that would cut it off.
        let policy = self.hub.before_screen(&session.model)?;
        let shown = depth(|name| std::env::var_os(name));
        let colors = colors(config.theme, shown);
        let settings = ExplorerSettings {
            setup: Setup {
                options: Options {
                    device: option(&session, "device")?,
                    dtype: option(&session, "dtype")?,
                    accept: Vec::leak(self.accept_config),
                },
                bos: option(&session, "bos")?,
                directions: paths::directions().into_iter().collect(),
                hub: policy,
                index: index_places(self.index)?,
            },
            session,
            keymap,
            theme: Theme { colors, ascii: config.ascii },
            mouse: config.mouse,
            asked,
            tour,
            keep_tour: tour_kept::keep,
            log: if self.verbose { log::line } else { log::nothing },
        };
        // Without a home folder there is nowhere to keep anything.
        let sessions = sessions.ok();
        run::run(settings, move |session| sessions.as_ref().map_or(Ok(()), |sessions| sessions.save(session)))
    }
}

/// The index that was given, which must be there, and where others are.
fn index_places(given: Option<PathBuf>) -> Result<IndexPlaces> {
    if let Some(place) = &given {
        ensure!(place.exists(), "--index: {} is not there", place.display());
    }
    Ok(IndexPlaces { given, known: paths::indices() })
}

/// The colours that a theme has on a terminal that shows so many.
fn colors(theme: ThemeName, shown: Depth) -> Colors {
    match (theme, shown) {
        (ThemeName::Mono, _) | (ThemeName::Auto, Depth::Mono) => Colors::Mono,
        (ThemeName::Terminal, _) | (_, Depth::Sixteen) => Colors::Sixteen,
        (_, Depth::True) => Colors::True,
        _ => Colors::Many,
    }
}

/// An option that was given now or in the session that is gone on with.
fn option<T: FromStr<Err = Error> + Default>(session: &Session, name: &str) -> Result<T> {
    let value = session.options.iter().find(|(known, _)| known == name);
    value.map_or_else(|| Ok(T::default()), |(_, text)| text.parse()).with_context(|| format!("--{name}"))
}

impl SessionCommand {
    /// Prints the log of a session, or the list of them.
    pub fn run(self) -> Result<()> {
        let mut out = std::io::stdout().lock();
        match self {
            SessionCommand::List => Sessions::here()?.list().write(report::Format::Text, &mut out)?,
            SessionCommand::Export { session, out: file, run } => {
                drop(out);
                let session = Sessions::here()?.find(&session)?;
                return notebook::write(&notebook::notebook(&session, run)?, file.as_deref());
            }
            SessionCommand::Log { session } => {
                for command in Sessions::here()?.find(&session)?.log {
                    writeln!(out, "{command}")?;
                }
            }
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
    let own = paths::config().map(|folder| folder.join("keys.toml"));
    let text = own.as_deref().map(read_text_if_there).transpose()?.flatten();
    let files: Vec<(String, String)> =
        own.zip(text).map(|(file, text)| (file.display().to_string(), text)).into_iter().collect();
    let overlays: Vec<&str> = overlays.iter().map(String::as_str).collect();
    Keymap::load(&overlays, &files)
}

/// The model opened when none is named: the one set, else the default one, else any that travels inside the program.
fn first_model(config: &Config) -> String {
    let default = || builtin::get(source::DEFAULT).or(builtin::all().first()).map_or(source::DEFAULT, |b| b.name);
    config.model.clone().unwrap_or_else(|| default().to_owned())
}
