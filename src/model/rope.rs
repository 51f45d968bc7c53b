//! Rotary position embedding: frequencies from `config.json`, tables for a prompt.
//!
//! Su et al. 2021 (arXiv 2104.09864); the scaled variants as transformers computes them (`modeling_rope_utils.py`).

use super::config::ModelConfig;
use super::kernel::attention::Pairs;
use crate::cast::{single, whole};
use anyhow::{Result, bail, ensure};
use std::borrow::Cow;

/// The frequencies of one rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position, one for each rotated pair.
    pub frequencies: Vec<f32>,
    /// Other frequencies for prompts longer than the given number of tokens.
    pub beyond: Option<(usize, Beyond)>,
    /// Multiplies cosine and sine.
    pub amplitude: f32,
    /// Which features of a head turn together.
    pub pairs: Pairs,
}

/// The frequencies of a prompt that is longer than the limit.
#[derive(Clone, Debug, PartialEq)]
pub enum Beyond {
    /// These (longrope).
    Fixed(Vec<f32>),
    /// A base that grows with the prompt (dynamic): `theta (factor n / limit - (factor - 1)) ^ (width / (width - 2))` for `n` tokens.
    Grown {
        /// The base up to the limit.
        theta: f32,
        /// How fast it grows.
        factor: f32,
    },
}

/// What a family says about its rotary embedding, where `config.json` does not say otherwise.
#[derive(Clone, Copy, Debug)]
pub struct Rotary {
    /// Width of a head.
    pub d_head: usize,
    /// The share of a head that is rotated; `None` in families that always rotate whole heads.
    pub share: Option<f32>,
    /// Base of the frequencies.
    pub theta: f32,
}

impl Rotary {
    /// Whole heads.
    pub fn whole(d_head: usize, theta: f32) -> Self {
        Rotary { d_head, share: None, theta }
    }

    /// Takes over what an object of `config.json` says.
    fn read(mut self, c: &mut ModelConfig) -> Result<Self> {
        self.theta = c.opt_positive("rope_theta")?.unwrap_or(self.theta);
        match (self.share.as_mut(), c.opt_positive("partial_rotary_factor")?) {
            (Some(share), Some(found)) => *share = found,
            (None, Some(found)) if found != 1.0 => {
                bail!("{}: field \"partial_rotary_factor\" is {found}; accepted in this family: 1.0", c.place())
            }
            _ => {}
        }
        Ok(self)
    }

    /// Features of a head that are rotated, in pairs.
    fn width(&self, c: &ModelConfig) -> Result<usize> {
        let width = whole(self.d_head as f32 * self.share.unwrap_or(1.0));
        ensure!(
            width > 0 && width.is_multiple_of(2) && width <= self.d_head.min(WIDEST_HEAD),
            "{}: {width} features of each head of {} would be rotated; accepted: an even number up to {}",
            c.place(),
            self.d_head,
            self.d_head.min(WIDEST_HEAD)
        );
        Ok(width)
    }
}

/// No head is wider; a `config.json` that says so must not decide how much memory is taken.
pub const WIDEST_HEAD: usize = 1 << 16;

impl Rope {
    /// Unscaled: `theta^(-2i / width)` for the pairs of the first `width` features.
    pub fn new(theta: f32, width: usize) -> Self {
        let frequencies = (0..width / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / width as f32)).collect();
        Rope { frequencies, beyond: None, amplitude: 1.0, pairs: Pairs::Halves }
    }

    /// Reads the rotary fields of a `config.json` in either spelling: `rope_theta` and `rope_scaling` (transformers 4),
    /// or `rope_parameters` (transformers 5).
    ///
    /// # Errors
    /// A rope type other than default, linear, dynamic, yarn, llama3 and longrope, a field it needs that is missing, or a rotated share
    /// that the family does not have.
    pub fn from_config(c: &mut ModelConfig, rotary: Rotary) -> Result<Self> {
        let rotary = rotary.read(c)?;
        let (older, newer) = (c.section("rope_scaling")?, c.section("rope_parameters")?);
        ensure!(
            older.is_none() || newer.is_none(),
            "{}: both \"rope_scaling\" and \"rope_parameters\" are given; accepted: one of them",
            c.place()
        );
        match newer.or(older) {
            Some(mut section) => Self::from_section(c, &mut section, rotary),
            None => Ok(Self::new(rotary.theta, rotary.width(c)?)),
        }
    }

    /// Reads one `rope_parameters` or `rope_scaling` object.
    ///
    /// # Errors
    /// As [`Rope::from_config`].
    pub fn from_section(c: &mut ModelConfig, s: &mut ModelConfig, rotary: Rotary) -> Result<Self> {
        let rotary = rotary.read(s)?;
        let width = rotary.width(s)?;
        let mut rope = Self::new(rotary.theta, width);
        let kind = s.opt_str("rope_type")?;
        let kind = s.opt_str("type")?.or(kind).unwrap_or_else(|| "default".into());
        match kind.as_str() {
            "default" => {}
            "linear" => {
                let factor = s.positive("factor")?;
                rope.frequencies.iter_mut().for_each(|f| *f /= factor);
            }
            "dynamic" => {
                let (limit, factor) = (c.usize("max_position_embeddings")?, s.positive("factor")?);
                ensure!(width > 2, "{}: dynamic rope needs more than {width} rotated features", s.place());
                rope.beyond = Some((limit, Beyond::Grown { theta: rotary.theta, factor }));
            }
            "yarn" => rope.yarn(c, s, rotary.theta, width)?,
            "llama3" => {
                let (factor, low, high) =
                    (s.positive("factor")?, s.positive("low_freq_factor")?, s.positive("high_freq_factor")?);
                let old = s.positive("original_max_position_embeddings")?;
                ensure!(high > low, "{}: high_freq_factor {high} must be above low_freq_factor {low}", s.place());
                for f in &mut rope.frequencies {
                    let wavelength = 2.0 * std::f32::consts::PI / *f;
                    if wavelength > old / low {
                        *f /= factor;
                    } else if wavelength >= old / high {
                        let smooth = (old / wavelength - low) / (high - low);
                        *f = (1.0 - smooth) * *f / factor + smooth * *f;
                    }
                }
            }
            "longrope" | "su" => {
                let (short, long) = (s.f32_list("short_factor")?, s.f32_list("long_factor")?);
                ensure!(
                    short.len() == width / 2 && long.len() == width / 2,
                    "{}: short_factor and long_factor have {} and {} entries; accepted: {} each",
                    s.place(),
                    short.len(),
                    long.len(),
                    width / 2
                );
                let own = s.opt_usize("original_max_position_embeddings")?;
                let old = match c.opt_usize("original_max_position_embeddings")?.or(own) {
                    Some(n) if n > 1 => n,
                    found => bail!(
                        "{}: original_max_position_embeddings is {found:?}; longrope needs a number above 1",
                        c.place()
                    ),
                };
                let stretch = c.usize("max_position_embeddings")? as f32 / old as f32;
                // transformers 4 ignores a factor beside the original length, transformers 5 prefers it.
                let factor = s.opt_positive("factor")?.unwrap_or(stretch);
                ensure!(
                    (factor - stretch).abs() <= 1e-4 * stretch,
                    "{}: field \"factor\" is {factor}; accepted: max_position_embeddings / \
                     original_max_position_embeddings, which is {stretch}",
                    s.place()
                );
                let natural = if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (old as f32).ln()).sqrt() };
                rope.amplitude = s.opt_positive("attention_factor")?.unwrap_or(natural);
                let scaled = |by: &[f32]| rope.frequencies.iter().zip(by).map(|(f, b)| f / b).collect::<Vec<f32>>();
                rope.beyond = Some((old, Beyond::Fixed(scaled(&long))));
                rope.frequencies = scaled(&short);
            }
            _ => {
                bail!(
                    "{}: rope type {kind:?} is not supported; accepted: default, linear, dynamic, yarn, llama3, longrope",
                    s.place()
                )
            }
        }
        s.finish()?;
        Ok(rope)
    }

    /// Long waves are stretched by the factor, short ones are not, those between are blended along a ramp over their pairs.
    ///
    /// Peng et al. 2023 (YaRN, arXiv 2309.00071).
    fn yarn(&mut self, c: &mut ModelConfig, s: &mut ModelConfig, theta: f32, width: usize) -> Result<()> {
        let factor = s.positive("factor")?;
        let old = match s.opt_usize("original_max_position_embeddings")? {
            Some(old) => old,
            None => c.usize("max_position_embeddings")?,
        };
        let (fast, slow) = (s.opt_positive("beta_fast")?.unwrap_or(32.0), s.opt_positive("beta_slow")?.unwrap_or(1.0));
        ensure!(theta > 1.0, "{}: yarn needs a rope_theta above 1, found {theta}", s.place());
        // The pair that turns so many times over the original context.
        let pair = |turns: f32| {
            let waves = old as f64 / (f64::from(turns) * std::f64::consts::TAU);
            width as f64 * waves.ln() / (2.0 * f64::from(theta).ln())
        };
        let (mut low, mut high) = (pair(fast), pair(slow));
        if s.opt_bool("truncate")?.unwrap_or(true) {
            (low, high) = (low.floor(), high.ceil());
        }
        let (low, mut high) = (single(low.max(0.0)), single(high.min(width as f64 - 1.0)));
        if low == high {
            high += 0.001;
        }
        for (i, f) in self.frequencies.iter_mut().enumerate() {
            let kept = 1.0 - ((i as f32 - low) / (high - low)).clamp(0.0, 1.0);
            *f = *f / factor * (1.0 - kept) + *f * kept;
        }
        let stretch = |by: f32| if factor <= 1.0 { 1.0 } else { 0.1 * f64::from(by) * f64::from(factor).ln() + 1.0 };
        let (one, all) = (s.opt_f32("mscale")?.unwrap_or(0.0), s.opt_f32("mscale_all_dim")?.unwrap_or(0.0));
        let natural = if one != 0.0 && all != 0.0 { stretch(one) / stretch(all) } else { stretch(1.0) };
        self.amplitude = s.opt_positive("attention_factor")?.unwrap_or(single(natural));
        Ok(())
    }

    /// Cosine and sine of every (position, pair): two `[n_pos, pairs]` tables.
    pub fn tables(&self, n_pos: usize) -> (Vec<f32>, Vec<f32>) {
        self.tables_of(0..n_pos, n_pos)
    }

    /// Whether two lengths of a prompt turn with the same frequencies.
    pub fn same_at(&self, a: usize, b: usize) -> bool {
        a == b || self.at(a) == self.at(b)
    }

    /// The frequencies for a prompt of `n_pos` tokens.
    fn at(&self, n_pos: usize) -> Cow<'_, [f32]> {
        match &self.beyond {
            Some((limit, Beyond::Fixed(long))) if n_pos > *limit => long.into(),
            Some((limit, Beyond::Grown { theta, factor })) if n_pos > *limit => {
                let width = 2 * self.frequencies.len();
                let by = factor * n_pos as f32 / *limit as f32 - (factor - 1.0);
                Self::new(theta * by.powf(width as f32 / (width as f32 - 2.0)), width).frequencies.into()
            }
            _ => (&self.frequencies).into(),
        }
    }

    /// The tables of some positions of a prompt of `n_pos` tokens.
    pub fn tables_of(&self, positions: std::ops::Range<usize>, n_pos: usize) -> (Vec<f32>, Vec<f32>) {
        let frequencies = self.at(n_pos);
        let frequencies: &[f32] = &frequencies;
        let angles = positions.flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
        // The angle is rounded to f32 as in transformers; its cosine is taken in f64.
        angles
            .map(|a| (a as f64).sin_cos())
            .map(|(s, c)| (single(c) * self.amplitude, single(s) * self.amplitude))
            .unzip()
    }
}
