//! `mechscope generate`: what the model writes after a prompt, under edits.

use super::edits::{EditArgs, EditDictionary};
use super::output::{self, OutputFormat};
use super::{ModelArgs, OutputArgs, PromptArgs};
use crate::address::{Edit, Positions};
use crate::analysis::generate::{Ended, GenerateSettings, Generated, Sampling, Stops, Written, end_ids, generate};
use crate::analysis::input::Input;
use crate::model::Model;
use crate::report::text::escape;
use crate::report::{Cell, Column, Report, Table};
use anyhow::{Result, ensure};
use clap::Args;
use serde::Serialize;
use std::io::Write;

/// Options of `mechscope generate`.
#[derive(Args, Debug)]
pub struct Generate {
    #[command(flatten)]
    model: ModelArgs,
    #[command(flatten)]
    prompt: PromptArgs,
    #[command(flatten)]
    edits: EditArgs,
    #[command(flatten)]
    dictionary: EditDictionary,
    /// At most so many tokens
    #[arg(short = 'n', long, default_value_t = 50, value_name = "N")]
    tokens: usize,
    /// Draw by probability, logits divided by this; 0 is the most probable token, 1 holds where another option draws
    #[arg(long, value_name = "T", allow_negative_numbers = true)]
    temperature: Option<f32>,
    /// Draw among the K most probable tokens
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Draw among the fewest tokens that have probability P together
    #[arg(long, value_name = "P", allow_negative_numbers = true)]
    top_p: Option<f32>,
    /// Draw: the same seed draws the same tokens; 0 where another option draws
    #[arg(long, value_name = "N")]
    seed: Option<u64>,
    /// End before this text, repeatable
    #[arg(long, value_name = "TEXT", allow_hyphen_values = true)]
    stop: Vec<String>,
    /// Write on after the model's end-of-text token
    #[arg(long)]
    ignore_end: bool,
    /// Edits at @-1 act from the prompt's last token on, as those at @prompt-end.. do and steering tools with a cache (without it: on the newest
    /// token alone)
    #[arg(long)]
    onward: bool,
    /// How many of the most probable tokens to list beside each one (json, tsv)
    #[arg(short = 'k', long, default_value_t = 5, value_name = "N")]
    top: usize,
    #[command(flatten)]
    output: OutputArgs,
}

impl Generate {
    /// Generates; text goes out as it comes, the other formats at the end.
    pub fn run(self) -> Result<()> {
        let sampling = self.sampling()?;
        let model = self.model.open()?;
        self.dictionary.open(&model, &self.edits, self.model.on.hub)?;
        let input = self.prompt.read(&model)?;
        let ends = if self.ignore_end { Vec::new() } else { end_ids(&model) };
        let settings =
            GenerateSettings { count: self.tokens, sampling, alternatives: self.top, onward: self.onward, ends };
        let stream = self.output.format == OutputFormat::Text && self.output.out.is_none();
        let (mut written, mut all) = (Written::new(Stops::new(&self.stop)), Vec::new());
        let show = |text: &str| -> Result<()> {
            if stream {
                let mut out = std::io::stdout().lock();
                out.write_all(readable(text).as_bytes())?;
                out.flush()?;
            }
            Ok(())
        };
        let mut each = |token: &Generated| -> Result<bool> {
            all.push(token.clone());
            let end = settings.ends.contains(&token.id);
            show(&if end { String::new() } else { written.push(&bytes(&model, token.id)) })?;
            Ok(!written.stopped())
        };
        let (ids, edits) = (input.ids(), &self.edits.edits);
        edits.iter().filter_map(|edit| acts(edit, self.onward)).for_each(|said| output::remark(&said));
        // One option alone draws with the others' defaults.
        if let Some(drawn) = &settings.sampling {
            output::remark(&drawn.to_string());
        }
        let ended = generate(&model, &ids, edits, input.asked, &settings, &mut |_, _| Ok(()), &mut each)?;
        show(&format!("{}\n", written.rest()))?;
        let text = written.text();
        match self.output.format {
            OutputFormat::Json => self.object(&model, &input, &all, &text, &ended),
            OutputFormat::Tsv => output::print(&self.report(&model, &input, &all, &text, &ended)?, &self.output),
            OutputFormat::Text => self.say(&model, &all, &text, &ended),
        }
    }

    /// Whether and how tokens are drawn: any of the options asks for it, and a temperature of 0 is none.
    fn sampling(&self) -> Result<Option<Sampling>> {
        let temperature = self.temperature.unwrap_or(Sampling::TEMPERATURE);
        ensure!(temperature.is_finite() && temperature >= 0.0, "--temperature {temperature}; accepted: 0 and above");
        ensure!(self.top_k != Some(0), "--top-k 0; accepted: 1 and above");
        if let Some(p) = self.top_p {
            ensure!(p > 0.0 && p <= 1.0, "--top-p {p}; accepted: above 0, at most 1");
        }
        let asked = self.temperature.is_some() || self.top_k.is_some() || self.top_p.is_some() || self.seed.is_some();
        let drawn = asked && temperature > 0.0;
        let (top_k, top_p) = (self.top_k, self.top_p);
        Ok(drawn.then(|| Sampling { seed: self.seed.unwrap_or(0), temperature, top_k, top_p }))
    }

    /// The whole answer as one JSON object.
    fn object(&self, model: &Model, input: &Input, all: &[Generated], text: &str, ended: &Ended) -> Result<()> {
        let piece = |&(id, logprob): &(u32, f32)| Piece {
            id,
            text: model.piece(id),
            logprob: Some(logprob),
            alternatives: None,
        };
        let generated = all.iter().map(|token| Piece {
            alternatives: Some(token.alternatives.iter().map(piece).collect()),
            ..piece(&(token.id, token.logprob))
        });
        let tokens = input.tokens.iter();
        let answer = Answer {
            model: model.source.to_string(),
            prompt: input.prompt.as_deref(),
            bos: input.bos.to_string(),
            edits: self.edits.edits.iter().map(ToString::to_string).collect(),
            sampling: self.sampling()?,
            tokens: tokens
                .map(|t| Piece { id: t.id, text: t.text.clone(), logprob: None, alternatives: None })
                .collect(),
            generated: generated.collect(),
            text,
            ended: why(model, ended, all.len()),
        };
        output::write(&self.output, &mut |to| {
            serde_json::to_writer(&mut *to, &answer)?;
            Ok(writeln!(to)?)
        })
    }

    /// The answer as tables.
    fn report(&self, model: &Model, input: &Input, all: &[Generated], text: &str, ended: &Ended) -> Result<Report> {
        let mut report = output::begin(model, input, &self.output);
        self.edits.list(&mut report);
        if let Some(drawn) = self.sampling()? {
            report.fact("drawn", drawn.to_string());
        }
        report.fact("text", text.to_owned());
        report.fact("ended", why(model, ended, all.len()));
        let names = || [Column::integer("id"), Column::token("text"), Column::number("logprob", "", 4)];
        let mut generated = Table::new([Column::integer("pos")].into_iter().chain(names()));
        let mut alternatives = Table::new([Column::integer("pos"), Column::integer("rank")].into_iter().chain(names()));
        for (n, token) in all.iter().enumerate() {
            let pos = input.tokens.len() + n;
            generated.push([pos.into(), token.id.into(), Cell::token(model.piece(token.id)), token.logprob.into()]);
            for (rank, (id, logprob)) in token.alternatives.iter().enumerate() {
                alternatives.push([
                    pos.into(),
                    rank.into(),
                    (*id).into(),
                    Cell::token(model.piece(*id)),
                    (*logprob).into(),
                ]);
            }
        }
        report.table("generated", "Generated", generated);
        report.table("alternatives", "Alternatives", alternatives);
        Ok(report)
    }

    /// The text into a file, if one was named, and why it ended.
    fn say(&self, model: &Model, all: &[Generated], text: &str, ended: &Ended) -> Result<()> {
        if self.output.out.is_some() {
            output::write(&self.output, &mut |to| Ok(writeln!(to, "{text}")?))?;
        }
        output::remark(&why(model, ended, all.len()));
        Ok(())
    }
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Answer<'a> {
    model: String,
    prompt: Option<&'a str>,
    bos: String,
    edits: Vec<String>,
    /// None is the most probable token each time.
    sampling: Option<Sampling>,
    tokens: Vec<Piece>,
    generated: Vec<Piece>,
    text: &'a str,
    ended: String,
}

/// A token in it.
#[derive(Serialize)]
struct Piece {
    id: u32,
    text: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    logprob: Option<f32>,
    #[serde(skip_serializing_if = "Option::is_none")]
    alternatives: Option<Vec<Piece>>,
}

/// Where an edit acts while the text grows, if its position counts from the end.
fn acts(edit: &Edit, onward: bool) -> Option<String> {
    let positions = &edit.target.positions;
    let whole = onward && positions.single().is_some();
    edit.target.counts_from_end().then(|| {
        if *positions == Positions::FromPromptEnd {
            format!("note: {edit} acts from the prompt's last token on")
        } else if whole {
            format!("note: {edit} acts from that position of the prompt on (--onward)")
        } else {
            format!(
                "note: {edit} counts its position from the newest token, and leaves those before as they were (@prompt-end.. acts from the prompt's \
                 last token on; --onward: so does one position from the end)"
            )
        }
    })
}

/// How many tokens there are and why there are no more.
fn why(model: &Model, ended: &Ended, n: usize) -> String {
    let tokens = if n == 1 { "1 token".to_owned() } else { format!("{n} tokens") };
    match ended {
        Ended::Count => tokens,
        Ended::End(id) => format!("{tokens}: the model ended the text with {:?}", model.piece(*id)),
        Ended::Enough => format!("{tokens}: a stop text came"),
        Ended::Context(limit) => format!("{tokens}: this model was made for at most {limit}, prompt included"),
    }
}

/// The bytes of a token; without a tokenizer what it is shown as.
fn bytes(model: &Model, id: u32) -> Vec<u8> {
    model.text.as_ref().map_or_else(|| model.piece(id).into_bytes(), |text| text.bytes(id))
}

/// What of the characters that are not printed by themselves goes out as it is: ends of lines, tabs, and what joins emoji into one.
const PLAIN: [char; 3] = ['\n', '\t', '\u{200d}'];

/// Text for a terminal: all but newlines and tabs that would steer it is written out.
fn readable(text: &str) -> String {
    let part = |part: &str| -> String {
        let end = part.strip_suffix(PLAIN).map_or(part.len(), str::len);
        format!("{}{}", escape(&part[..end]), &part[end..])
    };
    text.split_inclusive(PLAIN).map(part).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn where_an_edit_at_the_end_acts_is_said() {
        let said = |edit: &str, onward| acts(&edit.parse().unwrap(), onward).unwrap_or_default();
        assert!(said("L1.mlp@-1=0", false).contains("from the newest token"));
        assert!(said("L1.mlp@-1=0", true).contains("of the prompt on"));
        assert!(said("L1.mlp@-3..=0", true).contains("from the newest token"), "a range stays one");
        assert!(said("L1.H0@-1<-2=0", false).contains("from the newest token"));
        assert!(said("L1.mlp@prompt-end..=0", false).contains("the prompt's last token on"));
        assert_eq!(said("L1.mlp=0", false) + &said("L1.mlp@3=0", true), "");
    }

    #[test]
    fn a_terminal_is_not_steered() {
        assert_eq!(readable("👩\u{200d}👧 \u{202e}"), "👩\u{200d}👧 \\u{202e}");
        assert_eq!(readable("a\tb\nc\u{1b}[2J\r\n"), "a\tb\nc\\u{1b}[2J\\r\n");
    }
}
