//! Whether a unit exists in a model and a prompt.

use anyhow::{Context, Result, bail};

use super::{Address, Edit, Part, Place, Target, Token};

/// How far a model's and a prompt's numbers go; what addresses are checked against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Extent {
    /// Layers.
    pub n_layers: usize,
    /// Query heads in a layer.
    pub n_heads: usize,
    /// MLP neurons in a layer.
    pub d_mlp: usize,
    /// Rows of the unembedding.
    pub d_vocab: usize,
    /// Tokens of the prompt.
    pub n_pos: usize,
    /// Features in a layer of the dictionary, if one is loaded.
    pub n_features: Option<usize>,
}

impl Address {
    /// Checks that the unit exists: an error names the part that is out of range and the range allowed.
    ///
    /// A token given by its text is not looked up here: that takes a tokenizer.
    ///
    /// ```
    /// use mechscope::address::{Address, Extent};
    /// let small = Extent { n_layers: 12, n_heads: 12, d_mlp: 3072, d_vocab: 50257, n_pos: 8, n_features: None };
    /// assert!("L11.N3071@-8".parse::<Address>()?.check(&small).is_ok());
    /// let error = "L12.H0".parse::<Address>()?.check(&small).unwrap_err();
    /// assert_eq!(format!("{error:#}"), "L12.H0: layer 12: this model has layers 0..=11");
    /// # anyhow::Ok(())
    /// ```
    pub fn check(&self, extent: &Extent) -> Result<()> {
        self.check_parts(extent).with_context(|| self.to_string())
    }

    fn check_parts(&self, extent: &Extent) -> Result<()> {
        match &self.place {
            Place::Embed | Place::Logit(Token::Text(_)) => {}
            Place::Logit(Token::Id(id)) => {
                let id = usize::try_from(*id).unwrap_or(usize::MAX);
                within("token id", id, extent.d_vocab, "this model", "token ids")?;
            }
            Place::Unit { layer, part } => {
                within("layer", *layer, extent.n_layers, "this model", "layers")?;
                part.check(extent)?;
            }
        }
        if let Some(position) = self.position {
            resolve_position(position, extent.n_pos)?;
        }
        Ok(())
    }
}

impl Part {
    fn check(self, extent: &Extent) -> Result<()> {
        match self {
            Part::Head(head) => within("head", head, extent.n_heads, "each layer", "heads"),
            Part::Neuron(neuron) => within("neuron", neuron, extent.d_mlp, "each layer", "neurons"),
            Part::Feature(feature) => match extent.n_features {
                Some(n) => within("feature", feature, n, "each layer", "features"),
                None => bail!("feature {feature}: no dictionary is loaded"),
            },
            Part::Error if extent.n_features.is_none() => bail!("error: no dictionary is loaded"),
            Part::Error | Part::Attn | Part::Mlp | Part::ResidPre | Part::ResidMid | Part::ResidPost => Ok(()),
        }
    }
}

impl Edit {
    /// Checks that what the edit changes exists, as [`Address::check`] does, and that an attention edge reads backwards.
    pub fn check(&self, extent: &Extent) -> Result<()> {
        match &self.target {
            Target::Unit(address) => address.check_parts(extent),
            Target::AttentionEdge { layer, head, query, key } => {
                check_edge(Address::unit(*layer, Part::Head(*head)), *query, *key, extent)
            }
        }
        .with_context(|| self.to_string())
    }
}

fn check_edge(head: Address, query: i64, key: i64, extent: &Extent) -> Result<()> {
    head.check_parts(extent)?;
    let query = resolve_position(query, extent.n_pos).context("query")?;
    let key = resolve_position(key, extent.n_pos).context("key")?;
    if key > query {
        bail!("key {key}: query {query} can only read keys 0..={query}");
    }
    Ok(())
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
