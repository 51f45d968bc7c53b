//! Generation: tokens after tokens, each appended as an id and never as text, under the edits that are on.
//!
//! Where edits apply while the prompt grows: one without a position at every token, new ones too; `@5` at that token alone; a position from
//! the end (`@-1`) at the newest token alone, which an earlier newest token then loses again, or, if so chosen ([`GenerateSettings::onward`]), from
//! there on as steering tools with a cache do; `@prompt-end..` from the prompt's last token on; a range with an open end (`@5..`) at new tokens too.
//! Values that edits take from a run (`=mean`, `=from:`, `diff:`) are those of the prompt's run and stay as they are; what is patched in position by
//! position (`=from:`) stays at those of the prompt, but for `@-1`, which moves on. The numbers are those of a run of the whole text so far with these
//! edits, but for rounding: keys and values are kept from token to token as far as the edits leave them alone ([`EditPlan::parts_from`]).

mod draw;
mod longer;
mod stop;

pub use draw::Sampling;
pub use longer::{Longer, longer};
pub use stop::{Stops, Written};

use super::next_token::NextToken;
use super::{About, Evidence, MethodCommand, MethodDirection};
use crate::address::{Edit, EditTarget, Op, Positions, Span, resolve_position};
use crate::cast::signed;
use crate::model::Model;
use crate::model::cache::Cache;
use crate::model::edit::{EditPlan, References, needs};
use crate::model::forward::{Logits, Start, Step};
use crate::model::memory::Need;
use crate::model::open::token_ids;
use crate::model::site::Sites;
use crate::model::text::Bos;
use crate::model::trace::Trace;
use anyhow::{Context, Result, ensure};

/// The entry of `mechscope generate`.
pub static GENERATE: MethodCommand = MethodCommand {
    about: About {
        name: "generate",
        title: "generation",
        question: "What does the model write, and how does it write under edits?",
        direction: MethodDirection::BottomUp,
        unit: "token of the vocabulary",
        evidence: Evidence::Intervention,
        assumes: "an edit without a position acts on every token, new ones too, one at @-1 on the newest token alone, one at @prompt-end.. from the \
                  prompt's last token on; values taken from runs are those of the prompt's run; log-probabilities are the model's own, before \
                  temperature, top-k and top-p",
        cost: "1 forward pass of the prompt and one position for every token; with an edit at @-1 two",
        reference: "the model itself; Turner et al. 2023, Activation Addition, for steering while generating",
        params: &[],
    },
    run: "mechscope generate --prompt PROMPT",
};

/// One token that was generated.
#[derive(Clone, Debug, PartialEq)]
pub struct Generated {
    /// Its id.
    pub id: u32,
    /// Its log-probability, before temperature, top-k and top-p.
    pub logprob: f32,
    /// The most probable tokens with their log-probabilities, best first; as many as were asked for.
    pub alternatives: Vec<(u32, f32)>,
}

/// How much is generated and how.
#[derive(Clone, Debug, Default)]
pub struct GenerateSettings {
    /// At most so many tokens.
    pub count: usize,
    /// Drawn by probability; none is the most probable token.
    pub sampling: Option<Sampling>,
    /// Alternatives listed beside every token.
    pub alternatives: usize,
    /// Edits at a position counted from the end act from there on, and not at that distance from the newest token.
    pub onward: bool,
    /// Tokens that end the text, see [`end_ids`].
    pub ends: Vec<u32>,
}

/// Why generation ended.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum Ended {
    /// As many tokens as were asked for.
    Count,
    /// The model wrote this token, one of its ends of a text.
    End(u32),
    /// Whoever takes the tokens wanted no more.
    Enough,
    /// The model was made for so many tokens.
    Context(usize),
}

/// Generates after `ids`; every token goes to `each` as soon as it is there, which says whether to go on. `bos` says how prompts named in
/// edits are encoded.
///
/// # Errors
/// An edit that touches nothing, logits that are no numbers, a prompt that the model does not take, or what `step` and `each` return.
pub fn generate(
    model: &Model,
    ids: &[u32],
    edits: &[Edit],
    bos: Bos,
    settings: &GenerateSettings,
    step: Step,
    each: &mut dyn FnMut(&Generated) -> Result<bool>,
) -> Result<Ended> {
    let arch = &model.decoder.arch;
    if model.decoder.device().is_cpu() {
        let most = if ids.len() <= arch.n_ctx { arch.n_ctx } else { usize::MAX };
        let positions = ids.len().saturating_add(settings.count).min(most);
        let bytes = (2 * 4 * arch.n_layers * arch.n_kv_heads * arch.d_head).saturating_mul(positions);
        let run = Need::of_run(arch, (1, ids.len()), &Sites::None, false);
        run.and("keys and values", bytes as u64).check_now("a text of this length")?;
    }
    model.refuse_idle(ids, edits, bos)?;
    let clean = clean_run(model, ids, edits, step)?;
    let mut references = model.references(&clean, bos);
    let edits = edits.iter().map(|edit| Growing::new(edit, ids.len(), settings.onward)).collect::<Result<Vec<_>>>()?;
    let mut writer = Writer {
        model,
        edits: &edits,
        prompt: ids,
        tokens: ids.to_vec(),
        cache: Cache::new(&model.decoder),
        plan: EditPlan::default(),
    };
    for n in 0..settings.count {
        // What was written has to fit as a prompt. One that was too long before is refused by the run where positions are learned; where they are
        // rotary, it goes on as it began.
        if writer.tokens.len() >= arch.n_ctx && ids.len() <= arch.n_ctx {
            return Ok(Ended::Context(arch.n_ctx));
        }
        let next = writer.next(&mut references, step)?;
        let id = draw::choose(&next, settings.sampling.as_ref(), n as u64).context("the vocabulary is empty")?;
        let logprob = |id: u32| next.logprob(id);
        let alternatives = next.top(settings.alternatives).into_iter().map(|id| (id, logprob(id))).collect();
        writer.tokens.push(id);
        let more = each(&Generated { id, logprob: logprob(id), alternatives })?;
        if settings.ends.contains(&id) {
            return Ok(Ended::End(id));
        }
        if !more {
            return Ok(Ended::Enough);
        }
    }
    Ok(Ended::Count)
}

/// A text in the making.
struct Writer<'a> {
    model: &'a Model,
    edits: &'a [Growing],
    prompt: &'a [u32],
    tokens: Vec<u32>,
    cache: Cache,
    /// The edits as they were when the cache was last extended.
    plan: EditPlan,
}

impl Writer<'_> {
    /// What comes after the tokens so far.
    fn next(&mut self, references: &mut dyn References, step: Step) -> Result<NextToken> {
        let decoder = &self.model.decoder;
        if !self.edits.is_empty() {
            let (prompt, whole) = (self.model.scope(self.prompt), self.model.scope(&self.tokens));
            let mut plan = EditPlan::default();
            for Growing { edit, stays } in self.edits {
                plan.push(if *stays { &prompt } else { &whole }, edit, references)?;
            }
            // What was computed where the edits now act otherwise is computed again.
            let same = self.plan.parts_from(&plan, self.cache.len());
            self.cache.truncate(same);
            self.plan = plan;
        }
        let logits = if self.plan.needs_all_positions() {
            let prompt = [self.tokens.clone()];
            let run = decoder.run(Start::Tokens(&prompt), &Sites::None, &self.plan, Logits::Last, step)?;
            run.logits()?
        } else {
            let new = &self.tokens[self.cache.len()..];
            decoder.extend(&mut self.cache, new, &self.plan, Logits::Last, step)?
        };
        let next = NextToken::new(logits.flatten_all()?.to_vec1()?);
        ensure!(next.is_finite(), "the logits hold NaN or infinity: the run left the range of its dtype");
        Ok(next)
    }
}

/// The run of the prompt that edits take values from, where one does.
fn clean_run(model: &Model, ids: &[u32], edits: &[Edit], step: Step) -> Result<Trace> {
    let prompt = [ids.to_vec()];
    if !edits.iter().any(|e| e.op == Op::Mean) {
        return Ok(Trace::new(prompt.to_vec()));
    }
    let sites = Sites::Only(needs(&model.scope(ids), edits)?);
    model.decoder.run(Start::Tokens(&prompt), &sites, EditPlan::NONE, Logits::Last, step)
}

/// An edit of a text in the making.
struct Growing {
    edit: Edit,
    /// It acts on the prompt alone: what is patched in from another prompt is of its positions, and new tokens have no partner there.
    stays: bool,
}

impl Growing {
    /// An edit of a prompt of `n_pos` tokens. If `onward`, one at a position counted from the end acts from there on.
    fn new(edit: &Edit, n_pos: usize, onward: bool) -> Result<Self> {
        let positions = &edit.target.positions;
        let newest = match positions {
            Positions::Span(span) => span.single().filter(|p| *p < 0),
            _ => None,
        };
        if matches!(edit.op, Op::From(_) | Op::Resample { .. } | Op::MeanOfSet { by_position: true, .. }) {
            let moves = matches!(positions, Positions::Span(Span { last: Some(..0), .. }));
            return Ok(Growing { edit: edit.clone(), stays: !moves || (onward && newest.is_some()) });
        }
        let first = match newest {
            Some(position) if onward => position,
            _ if *positions == Positions::FromPromptEnd => -1,
            _ => return Ok(Growing { edit: edit.clone(), stays: false }),
        };
        let first = signed(resolve_position(first, n_pos)?);
        let positions = Positions::Span(Span { first: Some(first), last: None });
        Ok(Growing {
            edit: Edit { target: EditTarget { positions, ..edit.target.clone() }, op: edit.op.clone() },
            stays: false,
        })
    }
}

/// The tokens that end a text: `eos_token_id` of `generation_config.json`, else of `config.json`; one or a list. None where neither says so.
pub fn end_ids(model: &Model) -> Vec<u32> {
    let settings = model.source.read("generation_config.json").ok().flatten();
    let settings = settings.and_then(|bytes| serde_json::from_slice::<serde_json::Value>(&bytes).ok());
    let named = settings.and_then(|settings| settings.get("eos_token_id").map(token_ids));
    named.unwrap_or_else(|| model.ends.clone())
}
