//! Sites: the named points of the forward pass, with TransformerLens's names and shapes.

use anyhow::{Result, bail};
use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A point of the forward pass. Shapes are given without the batch dimension.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Site {
    /// `hook_embed` `[pos, d_model]`: token embeddings, scaled where the model scales them.
    Embed,
    /// `hook_pos_embed` `[pos, d_model]`: learned position embeddings.
    PosEmbed,
    /// A site inside a block.
    Block(usize, BlockSite),
    /// `ln_final.hook_scale` `[pos, 1]`.
    LnFinalScale,
    /// `ln_final.hook_normalized` `[pos, d_model]`, after weight and bias.
    LnFinalNormalized,
    /// `logits_pre_softcap` `[pos, d_vocab]`, only in models with a final soft-cap.
    LogitsPreSoftcap,
    /// `logits` `[pos, d_vocab]`.
    Logits,
}

macro_rules! block_sites {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A point inside a block, in the order of the forward pass.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum BlockSite {
            $($(#[$doc])* #[doc = concat!("`", $name, "`")] $variant,)*
        }

        impl BlockSite {
            /// Every block site.
            pub const ALL: &[BlockSite] = &[$(BlockSite::$variant,)*];

            /// The name behind `blocks.N.`.
            pub fn name(self) -> &'static str {
                match self { $(BlockSite::$variant => $name,)* }
            }
        }
    };
}

block_sites! {
    /// The residual stream before the block, `[pos, d_model]`:
    ResidPre = "hook_resid_pre",
    /// `sqrt(mean(centred^2) + eps)` of the attention norm, `[pos, 1]`:
    Ln1Scale = "ln1.hook_scale",
    /// What attention reads, after weight and bias, `[pos, d_model]`:
    Ln1Normalized = "ln1.hook_normalized",
    /// Queries, `[pos, n_heads, d_head]`:
    Q = "attn.hook_q",
    /// Keys, `[pos, n_kv_heads, d_head]`:
    K = "attn.hook_k",
    /// Values, `[pos, n_kv_heads, d_head]`:
    V = "attn.hook_v",
    /// Queries after their norm and rotation, rotary models only, `[pos, n_heads, d_head]`:
    RotQ = "attn.hook_rot_q",
    /// Keys after their norm and rotation, rotary models only, `[pos, n_kv_heads, d_head]`:
    RotK = "attn.hook_rot_k",
    /// Scaled, capped scores, minus infinity where masked, `[n_heads, query, key]`:
    AttnScores = "attn.hook_attn_scores",
    /// Attention weights, `[n_heads, query, key]`:
    Pattern = "attn.hook_pattern",
    /// Mixed values, `[pos, n_heads, d_head]`:
    Z = "attn.hook_z",
    /// What each head writes, without bias, recorded only on demand, `[pos, n_heads, d_model]`:
    Result = "attn.hook_result",
    /// Attention output before its post-norm, where there is one, `[pos, d_model]`:
    AttnOutPrePostNorm = "attn.hook_out_pre_post_norm",
    /// Scale of the attention post-norm, `[pos, 1]`:
    Ln1PostScale = "ln1_post.hook_scale",
    /// What attention adds to the residual stream, `[pos, d_model]`:
    AttnOut = "hook_attn_out",
    /// The residual stream between attention and MLP, absent in parallel blocks, `[pos, d_model]`:
    ResidMid = "hook_resid_mid",
    /// Scale of the MLP norm, `[pos, 1]`:
    Ln2Scale = "ln2.hook_scale",
    /// What the MLP reads, after weight and bias, `[pos, d_model]`:
    Ln2Normalized = "ln2.hook_normalized",
    /// Before the nonlinearity (the gate of a gated MLP), `[pos, d_mlp]`:
    MlpPre = "mlp.hook_pre",
    /// The linear branch of a gated MLP, `[pos, d_mlp]`:
    MlpPreLinear = "mlp.hook_pre_linear",
    /// Neuron activations, after gating, `[pos, d_mlp]`:
    MlpPost = "mlp.hook_post",
    /// MLP output before its post-norm, where there is one, `[pos, d_model]`:
    MlpOutPrePostNorm = "mlp.hook_out_pre_post_norm",
    /// Scale of the MLP post-norm, `[pos, 1]`:
    Ln2PostScale = "ln2_post.hook_scale",
    /// What the MLP adds to the residual stream, `[pos, d_model]`:
    MlpOut = "hook_mlp_out",
    /// The residual stream after the block, `[pos, d_model]`:
    ResidPost = "hook_resid_post",
}

const OUTER: [(Site, &str); 6] = [
    (Site::Embed, "hook_embed"),
    (Site::PosEmbed, "hook_pos_embed"),
    (Site::LnFinalScale, "ln_final.hook_scale"),
    (Site::LnFinalNormalized, "ln_final.hook_normalized"),
    (Site::LogitsPreSoftcap, "logits_pre_softcap"),
    (Site::Logits, "logits"),
];

impl Site {
    /// The block this site lies in.
    pub fn layer(self) -> Option<usize> {
        match self {
            Site::Block(l, _) => Some(l),
            _ => None,
        }
    }
}

impl fmt::Display for Site {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Site::Block(l, s) => write!(f, "blocks.{l}.{}", s.name()),
            _ => f.write_str(OUTER.iter().find(|(s, _)| s == self).map_or("", |(_, n)| n)),
        }
    }
}

impl FromStr for Site {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if let Some((layer, name)) = text.strip_prefix("blocks.").and_then(|r| r.split_once('.')) {
            let site = BlockSite::ALL.iter().find(|s| s.name() == name);
            if let (Ok(layer), Some(&site)) = (layer.parse(), site) {
                return Ok(Site::Block(layer, site));
            }
        } else if let Some((site, _)) = OUTER.iter().find(|(_, n)| *n == text) {
            return Ok(*site);
        }
        bail!(
            "no site is called {text:?}; sites are named as in TransformerLens, for example blocks.0.attn.hook_pattern"
        )
    }
}

/// Which sites a run records.
#[derive(Clone, Debug, Default)]
pub enum Sites {
    /// None: costs nothing.
    #[default]
    None,
    /// Every site but `attn.hook_result`, which costs `n_heads` times the residual stream.
    Standard,
    /// Only these.
    Only(BTreeSet<Site>),
}

impl Sites {
    /// Only the given sites.
    pub fn only(sites: impl IntoIterator<Item = Site>) -> Self {
        Sites::Only(sites.into_iter().collect())
    }

    /// Those of one block alone.
    pub fn of_block(&self, layer: usize) -> Sites {
        match self {
            Sites::Only(set) => Sites::only(set.iter().copied().filter(|s| s.layer() == Some(layer))),
            all => all.clone(),
        }
    }

    /// Whether a run records `site`.
    pub fn has(&self, site: Site) -> bool {
        match self {
            Sites::None => false,
            Sites::Standard => !matches!(site, Site::Block(_, BlockSite::Result)),
            Sites::Only(set) => set.contains(&site),
        }
    }

    /// Reads a list of names and patterns, `blocks.*.attn.hook_pattern,hook_embed`, for a model of `n_layers` layers;
    /// `*` stands for any characters. `existing` says which sites the model has.
    ///
    /// # Errors
    /// A pattern that no site of the model matches.
    pub fn parse(list: &str, n_layers: usize, existing: impl Fn(Site) -> bool) -> Result<Self> {
        let blocks = (0..n_layers).flat_map(|l| BlockSite::ALL.iter().map(move |s| Site::Block(l, *s)));
        let all: Vec<Site> = OUTER.iter().map(|(s, _)| *s).chain(blocks).filter(|s| existing(*s)).collect();
        let mut set = BTreeSet::new();
        for pattern in list.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let before = set.len();
            let mut hit = false;
            for site in all.iter().filter(|s| matches(pattern, &s.to_string())) {
                hit = true;
                set.insert(*site);
            }
            if !hit && before == set.len() {
                bail!(
                    "no site of this model matches {pattern:?}; sites are named as in TransformerLens, for example blocks.0.attn.hook_pattern or blocks.*.hook_resid_post (layers 0..={})",
                    n_layers.saturating_sub(1)
                );
            }
        }
        if set.is_empty() {
            bail!("the list of sites is empty");
        }
        Ok(Sites::Only(set))
    }
}

/// Whether `name` matches `pattern`, where `*` stands for any characters.
fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let first = parts.next().unwrap_or("");
    let Some(mut rest) = name.strip_prefix(first) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_round_trip() {
        for site in OUTER.iter().map(|(s, _)| *s).chain(BlockSite::ALL.iter().map(|s| Site::Block(11, *s))) {
            assert_eq!(site.to_string().parse::<Site>().unwrap(), site);
        }
        for wrong in ["", "blocks.", "blocks.x.hook_resid_pre", "blocks.0.hook", "hook_embedding"] {
            assert!(wrong.parse::<Site>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn patterns_select_sites() {
        let some = Sites::parse("blocks.*.attn.hook_pattern, hook_embed", 3, |_| true).unwrap();
        let Sites::Only(set) = some else { panic!("a list selects sites") };
        assert_eq!(set.len(), 4);
        assert!(matches("a*b*c", "axxbyyc") && !matches("a*b*c", "axxc") && !matches("ab", "abc") && matches("*", ""));
        assert!(!matches("aa*aa", "aaa"));
        assert!(Sites::parse("blocks.7.*", 3, |_| true).is_err() && Sites::parse(" ,", 3, |_| true).is_err());
    }
}
