//! Whether a unit exists in a model and a prompt, and which units a range takes in.

use anyhow::{Context, Result, bail, ensure};
use std::ops::Range;

use super::{Address, Edit, EditTarget, Numbered, Part, Parts, Places, Positions, Span, TokenName};

/// How far a model's and a prompt's numbers go; what addresses are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Layers.
    pub n_layers: usize,
    /// Query heads in a layer.
    pub n_heads: usize,
    /// Key/value heads in a layer.
    pub n_kv_heads: usize,
    /// MLP neurons in a layer.
    pub d_mlp: usize,
    /// Rows of the unembedding.
    pub d_vocab: usize,
    /// Tokens of the prompt.
    pub n_pos: usize,
    /// Features in a layer of the dictionary, if one is loaded.
    pub n_features: Option<usize>,
}

/// A target in the numbers of one model and prompt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// Layers; empty of an embedding or a logit.
    pub layers: Range<usize>,
    /// Heads, neurons or features in each layer; empty of parts without a number.
    pub numbers: Range<usize>,
    /// Positions, ascending.
    pub positions: Vec<usize>,
    /// What reads what, `(query, key)`: only of a target with keys.
    pub edges: Option<Vec<(usize, usize)>>,
}

impl Address {
    /// Checks that the unit exists: an error names the part that is out of range and the range allowed.
    ///
    /// A token given by its text is not looked up here: that takes a tokenizer.
    ///
    /// ```
    /// use mechscope::address::{Address, Extent};
    /// let small =
    ///     Extent { n_layers: 12, n_heads: 12, n_kv_heads: 4, d_mlp: 3072, d_vocab: 50257, n_pos: 8, n_features: None };
    /// assert!("L11.N3071@-8".parse::<Address>()?.check(&small).is_ok());
    /// let error = "L12.H0".parse::<Address>()?.check(&small).unwrap_err();
    /// assert_eq!(format!("{error:#}"), "L12.H0: layer 12: this model has layers 0..=11");
    /// let error = "L0.H5.k".parse::<Address>()?.check(&small).unwrap_err();
    /// assert!(format!("{error:#}").ends_with("accepted: L0.KV1.k, which changes it for heads 3..5"));
    /// # anyhow::Ok(())
    /// ```
    pub fn check(&self, extent: &Extent) -> Result<()> {
        EditTarget::from(self.clone()).resolve(extent, None).map(drop).with_context(|| self.to_string())
    }
}

impl Edit {
    /// Checks that what the edit changes exists, as [`Address::check`] does, and that attention edges read backwards.
    pub fn check(&self, extent: &Extent) -> Result<()> {
        self.target.resolve(extent, None).map(drop).with_context(|| self.to_string())
    }

    /// Whether it is of a dictionary's feature.
    pub fn names_a_feature(&self) -> bool {
        matches!(self.target.places, Places::Layers(_, Parts::Numbered(Numbered::Feature, _)))
    }
}

impl EditTarget {
    /// What the target takes in; `tokens` are the texts of the prompt's tokens, where they are known.
    ///
    /// # Errors
    /// A number that is out of range, a range that is empty, a token that the prompt does not have: an edit never silently touches nothing.
    pub fn resolve(&self, extent: &Extent, tokens: Option<&[String]>) -> Result<Reach> {
        let (layers, numbers) = match &self.places {
            Places::Embed | Places::Logit(TokenName::Text(_)) => (0..0, 0..0),
            Places::Logit(TokenName::Id(id)) => {
                let id = usize::try_from(*id).unwrap_or(usize::MAX);
                within("token id", id, extent.d_vocab, "this model", "token ids")?;
                (0..0, 0..0)
            }
            Places::Layers(layers, parts) => {
                let found = layers.within("layer", extent.n_layers, "this model", "layers")?;
                (found, parts.within(*layers, extent)?)
            }
        };
        let positions = self.positions.resolve(extent.n_pos, tokens);
        let Some(keys) = &self.keys else { return Ok(Reach { layers, numbers, positions: positions?, edges: None }) };
        let positions = positions.context("query")?;
        let keys = keys.resolve(extent.n_pos, tokens).context("key")?;
        if let ([query], [key]) = (&positions[..], &keys[..]) {
            ensure!(key <= query, "key {key}: query {query} can only read keys 0..={query}");
        }
        let edges = positions.iter().flat_map(|q| keys.iter().filter(|k| *k <= q).map(|k| (*q, *k)));
        let edges: Vec<(usize, usize)> = edges.collect();
        ensure!(!edges.is_empty(), "every key lies behind every query; accepted: keys up to the query");
        Ok(Reach { layers, numbers, positions, edges: Some(edges) })
    }
}

impl Span<usize> {
    /// The numbers below `count` that the span takes in.
    fn within(self, part: &str, count: usize, owner: &str, parts: &str) -> Result<Range<usize>> {
        let (first, last) = (self.first.unwrap_or(0), self.last.unwrap_or(count.saturating_sub(1)));
        within(part, first.max(last), count, owner, parts)?;
        ensure!(first <= last, "{parts} {self}: the first lies behind the last");
        Ok(first..last + 1)
    }
}

impl Positions {
    fn resolve(&self, n_pos: usize, tokens: Option<&[String]>) -> Result<Vec<usize>> {
        match self {
            // What has no position is at every one, even of a prompt without tokens.
            Positions::Span(Span { first: None, last: None }) => Ok((0..n_pos).collect()),
            Positions::Span(span) => {
                let end = |end: Option<i64>, open: i64| resolve_position(end.unwrap_or(open), n_pos);
                let (first, last) = (end(span.first, 0)?, end(span.last, -1)?);
                ensure!(first <= last, "positions {span}: position {first} lies behind position {last}");
                Ok((first..=last).collect())
            }
            Positions::FromPromptEnd => Ok(vec![resolve_position(-1, n_pos)?]),
            Positions::Token(text) => {
                let tokens =
                    tokens.with_context(|| format!("{text:?}: the tokens of the prompt are not known here"))?;
                let found: Vec<usize> = (0..tokens.len()).filter(|p| tokens[*p] == *text).collect();
                ensure!(!found.is_empty(), "no token of this prompt is {text:?}; its tokens are {tokens:?}");
                Ok(found)
            }
        }
    }
}

impl Parts {
    /// The numbers of these parts that every layer has; nothing for parts without numbers.
    fn within(self, layers: Span<usize>, extent: &Extent) -> Result<Range<usize>> {
        let (kind, numbers) = match self {
            Parts::Only(Part::Error) if extent.n_features.is_none() => bail!("error: no dictionary is loaded"),
            Parts::Only(_) => return Ok(0..0),
            Parts::Numbered(kind, numbers) => (kind, numbers),
        };
        let each = "each layer";
        match kind {
            Numbered::Head | Numbered::Query | Numbered::Pattern => {
                numbers.within("head", extent.n_heads, each, "heads")
            }
            Numbered::Key | Numbered::Value => {
                let found = numbers.within("head", extent.n_heads, each, "heads")?;
                ensure!(extent.n_kv_heads == extent.n_heads, shared(kind, layers, &found, extent));
                Ok(found)
            }
            Numbered::SharedKey | Numbered::SharedValue => {
                numbers.within("key/value head", extent.n_kv_heads, each, "key/value heads")
            }
            Numbered::Neuron => numbers.within("neuron", extent.d_mlp, each, "neurons"),
            Numbered::Feature => match extent.n_features {
                Some(n) => numbers.within("feature", n, each, "features"),
                None => bail!("feature {numbers}: no dictionary is loaded"),
            },
        }
    }
}

/// Why heads that share their keys and values cannot be named by themselves, and what can.
fn shared(kind: Numbered, layers: Span<usize>, heads: &Range<usize>, extent: &Extent) -> String {
    let group = extent.n_heads / extent.n_kv_heads.max(1);
    let (first, last) = (heads.start / group.max(1), (heads.end - 1) / group.max(1));
    let kind = if kind == Numbered::Key { Numbered::SharedKey } else { Numbered::SharedValue };
    let places = Places::Layers(layers, Parts::Numbered(kind, Span { first: Some(first), last: Some(last) }));
    format!(
        "{} query heads share {} key/value heads here; accepted: {places}, which changes it for heads {}..{}",
        extent.n_heads,
        extent.n_kv_heads,
        first * group,
        (last + 1) * group - 1
    )
}

/// The position counted from 0; negative ones count from the end of `n_pos` tokens.
///
/// ```
/// use mechscope::address::resolve_position;
/// assert_eq!(resolve_position(-1, 8)?, 7);
/// let error = resolve_position(8, 8).unwrap_err().to_string();
/// assert_eq!(error, "position 8: this prompt has positions 0..=7, or -8..=-1 from the end");
/// # anyhow::Ok(())
/// ```
pub fn resolve_position(position: i64, n_pos: usize) -> Result<usize> {
    if n_pos == 0 {
        bail!("position {position}: this prompt has no tokens");
    }
    let distance = usize::try_from(position.unsigned_abs()).unwrap_or(usize::MAX);
    let resolved = if position < 0 { n_pos.checked_sub(distance) } else { Some(distance) };
    match resolved {
        Some(resolved) if resolved < n_pos => Ok(resolved),
        _ => bail!("position {position}: this prompt has positions 0..={}, or -{n_pos}..=-1 from the end", n_pos - 1),
    }
}

fn within(part: &str, found: usize, count: usize, owner: &str, parts: &str) -> Result<()> {
    match count {
        0 => bail!("{part} {found}: {owner} has no {parts}"),
        _ if found < count => Ok(()),
        _ => bail!("{part} {found}: {owner} has {parts} 0..={}", count - 1),
    }
}
