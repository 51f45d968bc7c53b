//! What a job will take of memory, against what there is: whoever is about to take much asks first, so that the answer is an error that
//! names both numbers and not the end of the process.

pub mod allocator;
mod plan;
mod room;

pub use plan::{Planned, plan_only, planned, planning};
pub use room::Room;

use super::arch::Arch;
use super::site::{BlockSite as S, Site, Sites};
use anyhow::{Result, bail};
use std::fmt;

/// Below this many bytes nobody asks: reading what there is would cost more than what it guards.
const SMALL: u64 = 32 << 20;

/// What the program itself takes, with its threads.
const PROGRAM: u64 = 20 << 20;

/// What a job takes, part by part.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Need(Vec<(&'static str, u64)>);

impl Need {
    /// One part.
    pub fn of(part: &'static str, bytes: u64) -> Self {
        Need(vec![(part, bytes)])
    }

    /// This and another part.
    pub fn and(mut self, part: &'static str, bytes: u64) -> Self {
        self.0.push((part, bytes));
        self
    }

    /// The parts with their bytes.
    pub fn parts(&self) -> &[(&'static str, u64)] {
        &self.0
    }

    /// Bytes in all.
    pub fn total(&self) -> u64 {
        self.0.iter().map(|(_, bytes)| bytes).sum()
    }

    /// What a forward pass takes beside the weights: the sites it records, the numbers of the block that is computed, the logits.
    pub fn of_run(arch: &Arch, (batch, n_pos): (usize, usize), sites: &Sites, all_logits: bool) -> Self {
        let rows = (batch * n_pos) as u64;
        let recorded = (0..arch.n_layers).map(|l| recorded(arch, l, n_pos, sites)).sum::<u64>();
        let d = arch.d_model as u64;
        let heads = ((2 * arch.n_heads + 2 * arch.n_kv_heads) * arch.d_head) as u64;
        // The stream, its norm and what is added to it; queries, keys, values and z, once more rotated; the MLP before and after its
        // activation.
        let live = 6 * d + 2 * heads + 3 * arch.d_mlp as u64;
        let logit_rows = if all_logits { rows } else { batch as u64 };
        let copies = if arch.final_softcap.is_some() { 2 } else { 1 };
        Need::of("recorded sites", 4 * rows * recorded)
            .and("activations", 4 * rows * live)
            .and("logits", 4 * logit_rows * arch.d_vocab as u64 * copies)
    }

    /// # Errors
    /// There is less than this takes; the error names both numbers, the parts and what the limit is.
    pub fn check(&self, room: &Room, what: &str) -> Result<()> {
        if self.total() <= room.bytes {
            return Ok(());
        }
        bail!("{what} needs {} ({self}), and {} {}", Size(self.total()), Size(room.bytes), room.by)
    }

    /// What a graph of `units` takes beside the weights and its run: copies of the attention weights, what the units write, one row for each
    /// of them, and the edges.
    pub fn of_graph(arch: &Arch, n_pos: usize, units: usize) -> Self {
        let [pos, n, d, layers] = [n_pos, units, arch.d_model, arch.n_layers].map(|x| x as u64);
        let attention = ((arch.n_heads + arch.n_kv_heads) * arch.d_head) as u64 * d;
        let columns = 2 * n + (layers + 2) * pos;
        let threads = rayon::current_num_threads() as u64;
        Need::of("attention weights", 4 * layers * attention)
            .and("patterns", 4 * layers * arch.n_heads as u64 * pos * pos)
            .and("units", 2 * 4 * 2 * n * d)
            .and("rows", 4 * n * (columns + layers * arch.n_heads as u64))
            .and("edges", 24 * n * columns / 2)
            .and("targets at once", threads * 3 * 4 * pos * d * 16)
    }

    /// What a graph of neurons takes until its units are chosen: the run frozen, which is its recorded sites once more, and the relevance of
    /// every neuron, with its gradient.
    pub fn of_choosing(arch: &Arch, n_pos: usize, sites: &Sites) -> Self {
        let [pos, layers] = [n_pos, arch.n_layers].map(|x| x as u64);
        let recorded = (0..arch.n_layers).map(|l| recorded(arch, l, n_pos, sites)).sum::<u64>();
        Need::of("frozen run", 4 * pos * recorded).and("relevance", 12 * layers * pos * arch.d_mlp as u64)
    }

    /// What logits of `rows` positions take that are read out together, as a tensor and as numbers.
    pub fn of_logits(arch: &Arch, rows: usize) -> Self {
        Need::of("logits at once", 2 * 4 * rows as u64 * arch.d_vocab as u64)
    }

    /// What a process with a model takes beside its weights: the program with its threads, and a tokenizer. By measurement ten times the bytes of a
    /// `tokenizer.json`, or 650 bytes for each token of a GGUF file.
    pub fn beside_weights(tokenizer: u64) -> Self {
        Need::of("program", PROGRAM).and("tokenizer", tokenizer)
    }

    /// This and all parts of another.
    pub fn with(mut self, other: Need) -> Self {
        self.0.extend(other.0);
        self
    }

    /// [`Need::check`] against what there is for this process now, when it is worth a look: before weights are read.
    ///
    /// # Errors
    /// As [`Need::check`].
    pub fn check_load(self, what: &str) -> Result<()> {
        match planning() {
            true => plan::note(what, self),
            false if self.total() < SMALL => {}
            false => self.check(&Room::now(), what)?,
        }
        Ok(())
    }

    /// [`Need::check_load`] before something is computed, which only planning ends ([`Planned`]).
    ///
    /// # Errors
    /// As [`Need::check`].
    pub fn check_now(self, what: &str) -> Result<()> {
        self.check_load(what)?;
        if planning() { Err(Planned.into()) } else { Ok(()) }
    }
}

/// Numbers of one position that the recorded sites of a block hold.
fn recorded(arch: &Arch, layer: usize, n_pos: usize, sites: &Sites) -> u64 {
    let all = [
        S::ResidPre,
        S::Ln1Scale,
        S::Ln1Normalized,
        S::Q,
        S::K,
        S::V,
        S::RotQ,
        S::RotK,
        S::AttnScores,
        S::Pattern,
        S::Z,
        S::Result,
        S::AttnOutPrePostNorm,
        S::Ln1PostScale,
        S::AttnOut,
        S::ResidMid,
        S::Ln2Scale,
        S::Ln2Normalized,
        S::MlpPre,
        S::MlpPreLinear,
        S::MlpPost,
        S::MlpOutPrePostNorm,
        S::Ln2PostScale,
        S::MlpOut,
        S::ResidPost,
    ];
    let width = |s: S| match s {
        S::Ln1Scale | S::Ln1PostScale | S::Ln2Scale | S::Ln2PostScale => 1,
        S::Q | S::RotQ | S::Z => arch.n_heads * arch.d_head,
        S::K | S::V | S::RotK => arch.n_kv_heads * arch.d_head,
        S::AttnScores | S::Pattern => arch.n_heads * n_pos,
        S::Result => arch.n_heads * arch.d_model,
        S::MlpPre | S::MlpPreLinear | S::MlpPost => arch.d_mlp,
        _ => arch.d_model,
    };
    all.into_iter().filter(|s| sites.has(Site::Block(layer, *s))).map(|s| width(s) as u64).sum()
}

impl fmt::Display for Need {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let parts = self.0.iter().filter(|(_, bytes)| *bytes >= 1 << 20);
        let parts: Vec<String> = parts.map(|(part, bytes)| format!("{part} {}", Size(*bytes))).collect();
        f.write_str(&parts.join(", "))
    }
}

/// Bytes as readers see them: `1.5 GB`, `38 MB`, `2.4 MB`, `12 kB`, never less than there are; a GB is 1024 MB.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let mb = self.0.div_ceil(1 << 20);
        match self.0 {
            0..1_048_576 => write!(f, "{} kB", self.0.div_ceil(1 << 10)),
            // Tenths that are rounded up too.
            1_048_576..10_485_760 => write!(f, "{:.1} MB", (self.0 * 10).div_ceil(1 << 20) as f64 / 10.0),
            _ if mb < 1024 => write!(f, "{mb} MB"),
            _ => write!(f, "{:.1} GB", self.0 as f64 / (1u64 << 30) as f64),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_told_as_exactly_as_they_are_small() {
        let told = [0, 1, 20_000, 1 << 20, (1 << 20) + 1, 38 << 20, 3 << 30].map(|bytes| Size(bytes).to_string());
        assert_eq!(told, ["0 kB", "1 kB", "20 kB", "1.0 MB", "1.1 MB", "38 MB", "3.0 GB"]);
    }

    #[test]
    fn a_refusal_names_both_numbers_and_what_the_limit_is() {
        let need = Need::of("weights", 3 << 30).and("logits", 100 << 20).and("small", 12);
        assert_eq!(need.total(), (3 << 30) + (100 << 20) + 12);
        let room = Room { bytes: 1 << 30, by: "are free".into() };
        let error = need.check(&room, "the run").unwrap_err().to_string();
        assert_eq!(error, "the run needs 3.1 GB (weights 3.0 GB, logits 100 MB), and 1.0 GB are free");
        assert!(need.check(&Room { bytes: need.total(), by: String::new() }, "the run").is_ok());
        assert!(Need::of("any", SMALL - 1).check_now("nothing").is_ok());
        assert!(Need::of("any", u64::MAX).check_now("everything").is_err());
    }
}
