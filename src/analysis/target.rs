//! What is explained: the logit of a token, or the difference of two.

use super::next_token::NextToken;
use crate::model::Model;
use crate::model::site::{BlockSite, Site};
use crate::model::trace::Trace;
use crate::report::Report;
use anyhow::{Context, Result, ensure};

/// The logit of a token, or the difference of two.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Target {
    /// The token.
    pub token: u32,
    /// The token whose logit is subtracted.
    pub contrast: Option<u32>,
    /// Nobody named it: it is the most probable token.
    pub by_default: bool,
}

impl Target {
    /// The logit of `token`, less that of `contrast`.
    pub fn new(token: u32, contrast: Option<u32>) -> Self {
        Target { token, contrast, by_default: false }
    }

    /// Reads tokens as the user names them, see [`token`].
    ///
    /// # Errors
    /// As [`token`]; a contrast without a token.
    pub fn parse(model: &Model, target: Option<&str>, contrast: Option<&str>) -> Result<Option<Self>> {
        let contrast = contrast.map(|text| token(model, text).context("contrast")).transpose()?;
        ensure!(target.is_some() || contrast.is_none(), "a contrast needs a target to be subtracted from");
        let target = target.map(|text| token(model, text).context("target")).transpose()?;
        Ok(target.map(|token| Target::new(token, contrast)))
    }

    /// The most probable token at a position of a run that recorded the last residual stream.
    ///
    /// # Errors
    /// It was not recorded.
    pub fn most_probable(model: &Model, trace: &Trace, position: usize) -> Result<Self> {
        let next = next_token(model, trace, position)?;
        let token = next.top(1).first().copied().context("the vocabulary is empty")?;
        Ok(Target { token, contrast: None, by_default: true })
    }

    /// The tokens with their weights in the target.
    pub fn weights(&self) -> impl Iterator<Item = (u32, f32)> {
        std::iter::once((self.token, 1.0)).chain(self.contrast.map(|c| (c, -1.0)))
    }

    /// As readers see it: `" Austin" - " Dallas"`.
    pub fn name(&self, model: &Model) -> String {
        let piece = |id| format!("\"{}\"", model.piece(id));
        match self.contrast {
            Some(contrast) => format!("{} - {}", piece(self.token), piece(contrast)),
            None => piece(self.token),
        }
    }

    /// Says in a report what is explained, where, and who chose it.
    pub fn describe(&self, report: &mut Report, model: &Model, position: usize) {
        let chosen = if self.by_default { ", the most probable token" } else { "" };
        report.fact("target", format!("{} at position {position}{chosen}", self.name(model)));
    }
}

/// The id that `text` names: a token's text (space included), a JSON string, or an id.
///
/// # Errors
/// No such token; the error says how the text splits.
pub fn token(model: &Model, text: &str) -> Result<u32> {
    if !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit()) {
        let rows = model.decoder.arch.d_vocab;
        let id = text.parse().ok().filter(|id: &u32| (*id as usize) < rows);
        return id.with_context(|| format!("token id {text}: accepted: 0..={}", rows - 1));
    }
    let quoted = text.starts_with('"').then(|| serde_json::from_str::<String>(text).ok()).flatten();
    let text = quoted.as_deref().unwrap_or(text);
    ensure!(!text.is_empty(), "the token is empty");
    model.text()?.token_id(text)
}

/// Behind a word most tokens begin with a space: the token that was likely meant where a text without one was named, as it is written on a
/// command line. None where the text was named exactly, or where there is no such token.
pub fn likely_meant(model: &Model, text: &str) -> Option<String> {
    let bare = text.starts_with(char::is_alphabetic);
    let spaced = format!(" {text}");
    (bare && model.text().ok()?.token_id(&spaced).is_ok()).then_some(spaced)
}

/// The site that logits are read from: the residual stream after the last block.
pub fn last_stream(model: &Model) -> Site {
    Site::Block(model.decoder.arch.n_layers.saturating_sub(1), BlockSite::ResidPost)
}

/// The next-token distribution at a position of a run that recorded [`last_stream`].
///
/// # Errors
/// It was not recorded.
pub fn next_token(model: &Model, trace: &Trace, position: usize) -> Result<NextToken> {
    let row = trace.get(last_stream(model))?.narrow(0, position, 1)?;
    Ok(NextToken::new(model.decoder.read_out(&row)?.logits.flatten_all()?.to_vec1()?))
}
