//! Rotary position embedding: frequencies from `config.json`, tables for a prompt.
//!
//! Su et al. 2021 (arXiv 2104.09864); the scaled variants as transformers computes them (`modeling_rope_utils.py`).

use super::config::Config;
use anyhow::{Result, bail, ensure};

/// The frequencies of one rotary embedding.
#[derive(Clone, Debug, PartialEq)]
pub struct Rope {
    /// Radians per position, one for each rotated pair.
    pub frequencies: Vec<f32>,
    /// Other frequencies for prompts longer than the given number of tokens (longrope).
    pub beyond: Option<(usize, Vec<f32>)>,
    /// Multiplies cosine and sine.
    pub amplitude: f32,
}

impl Rope {
    /// Unscaled: `theta^(-2i / width)` for the pairs of the first `width` features.
    pub fn new(theta: f32, width: usize) -> Self {
        let frequencies = (0..width / 2).map(|i| 1.0 / theta.powf((2 * i) as f32 / width as f32)).collect();
        Rope { frequencies, beyond: None, amplitude: 1.0 }
    }

    /// Reads the rotary fields of a `config.json` in either spelling: `rope_theta` and `rope_scaling` (transformers 4),
    /// or `rope_parameters` (transformers 5), for the first `width` features of a head.
    ///
    /// # Errors
    /// A rope type other than default, linear, llama3 and longrope, or a field it needs that is missing.
    pub fn from_config(c: &mut Config, width: usize, default_theta: f32) -> Result<Self> {
        let theta = c.opt_f32("rope_theta")?;
        let scaling = c.section("rope_scaling")?;
        match c.section("rope_parameters")? {
            Some(mut p) => Self::from_section(c, &mut p, width, theta.unwrap_or(default_theta)),
            None => match scaling {
                Some(mut s) => Self::from_section(c, &mut s, width, theta.unwrap_or(default_theta)),
                None => Ok(Self::new(theta.unwrap_or(default_theta), width)),
            },
        }
    }

    /// Reads one `rope_parameters` or `rope_scaling` object.
    ///
    /// # Errors
    /// As [`Rope::from_config`].
    pub fn from_section(c: &mut Config, s: &mut Config, width: usize, theta: f32) -> Result<Self> {
        let theta = s.opt_f32("rope_theta")?.unwrap_or(theta);
        s.opt_f32("partial_rotary_factor")?;
        let mut rope = Self::new(theta, width);
        let kind = s.opt_str("rope_type")?;
        let kind = s.opt_str("type")?.or(kind).unwrap_or_else(|| "default".into());
        match kind.as_str() {
            "default" => {}
            "linear" => {
                let factor = s.f32("factor")?;
                rope.frequencies.iter_mut().for_each(|f| *f /= factor);
            }
            "llama3" => {
                let (factor, low, high) = (s.f32("factor")?, s.f32("low_freq_factor")?, s.f32("high_freq_factor")?);
                let old = s.f32("original_max_position_embeddings")?;
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
                let stretch = s.opt_f32("factor")?.unwrap_or(c.usize("max_position_embeddings")? as f32 / old as f32);
                let natural = if stretch <= 1.0 { 1.0 } else { (1.0 + stretch.ln() / (old as f32).ln()).sqrt() };
                rope.amplitude = s.opt_f32("attention_factor")?.unwrap_or(natural);
                let scaled = |by: &[f32]| rope.frequencies.iter().zip(by).map(|(f, b)| f / b).collect::<Vec<f32>>();
                rope.beyond = Some((old, scaled(&long)));
                rope.frequencies = scaled(&short);
            }
            _ => {
                bail!("{}: rope type {kind:?} is not supported; accepted: default, linear, llama3, longrope", s.place())
            }
        }
        s.finish()?;
        Ok(rope)
    }

    /// Cosine and sine of every (position, pair): two `[n_pos, pairs]` tables.
    pub fn tables(&self, n_pos: usize) -> (Vec<f32>, Vec<f32>) {
        let frequencies = match &self.beyond {
            Some((limit, long)) if n_pos > *limit => long,
            _ => &self.frequencies,
        };
        let angles = (0..n_pos).flat_map(|p| frequencies.iter().map(move |f| p as f32 * f));
        // The angle is rounded to f32 as in transformers; its cosine is taken in f64.
        angles
            .map(|a| (a as f64).sin_cos())
            .map(|(s, c)| (c as f32 * self.amplitude, s as f32 * self.amplitude))
            .unzip()
    }
}
