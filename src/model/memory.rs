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
use std::num::Saturating as Sat;

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

    /// Bytes in all; more than a `u64` holds are as many as it holds.
    pub fn total(&self) -> u64 {
        self.0.iter().fold(0, |all, (_, bytes)| all.saturating_add(*bytes))
    }

    /// What a forward pass takes beside the weights: the sites it records, the numbers of the block that is computed, the logits.
    pub fn of_run(arch: &Arch, (batch, n_pos): (usize, usize), sites: &Sites, all_logits: bool) -> Self {
        let [batch, pos, d, mlp, vocab] = [batch, n_pos, arch.d_model, arch.d_mlp, arch.d_vocab].map(count);
        let rows = batch * pos;
        let heads = Sat(2) * (count(arch.n_heads) + count(arch.n_kv_heads)) * count(arch.d_head);
        // The stream, its norm and what is added to it; queries, keys, values and z, once more rotated; the MLP before and after its
        // activation.
        let live = Sat(6) * d + Sat(2) * heads + Sat(3) * mlp;
        let logit_rows = if all_logits { rows } else { batch };
        let copies = Sat(if arch.final_softcap.is_some() { 2 } else { 1 });
        Need::of("recorded sites", (Sat(4) * rows * recorded(arch, n_pos, sites)).0)
            .and("activations", (Sat(4) * rows * live).0)
            .and("logits", (Sat(4) * logit_rows * vocab * copies).0)
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
        let [pos, n, d, layers] = [n_pos, units, arch.d_model, arch.n_layers].map(count);
        let heads = count(arch.n_heads);
        let attention = (heads + count(arch.n_kv_heads)) * count(arch.d_head) * d;
        let columns = Sat(2) * n + (layers + Sat(2)) * pos;
        let threads = count(rayon::current_num_threads());
        Need::of("attention weights", (Sat(4) * layers * attention).0)
            .and("patterns", (Sat(4) * layers * heads * pos * pos).0)
            .and("units", (Sat(2 * 4 * 2) * n * d).0)
            .and("rows", (Sat(4) * n * (columns + layers * heads)).0)
            .and("edges", (Sat(24 / 2) * n * columns).0)
            .and("targets at once", (threads * Sat(3 * 4 * 16) * pos * d).0)
    }

    /// What both backward passes of a graph with attention inside take beside the weights and the run: gradients of the stream, queries, keys and
    /// values of every layer, those to the units of one layer at a time, and what every layer wrote.
    pub fn of_backward(arch: &Arch, n_pos: usize) -> Self {
        let [pos, d, layers, mlp] = [n_pos, arch.d_model, arch.n_layers, arch.d_mlp].map(count);
        let heads = count(arch.n_heads) * count(arch.d_head);
        // Those to streams, queries and keys stay; those to units are one layer's at a time, with what the products between take.
        let kept = layers * (Sat(3) * d + Sat(2) * heads);
        Need::of("gradients", (Sat(4) * pos * (kept + Sat(8) * (mlp + heads))).0)
            .and("what was written", (Sat(4) * layers * pos * (heads + d)).0)
    }

    /// What a graph with attention inside takes beside the weights and its run: two backward passes ([`Need::of_backward`]), rows and nodes of at
    /// most `units` heads, MLPs and neurons, or of all that the prompt has where that is fewer.
    pub fn of_circuit(arch: &Arch, n_pos: usize, units: usize) -> Self {
        let [pos, d, layers, mlp] = [n_pos, arch.d_model, arch.n_layers, arch.d_mlp].map(count);
        let n = count(units).min(layers * pos * (count(arch.n_heads) + Sat(1) + mlp));
        Need::of_backward(arch, n_pos).and("units", (Sat(4) * n * d).0).and("rows", (Sat(16) * n * (n + pos)).0)
    }

    /// What a graph of neurons takes until its units are chosen: the run frozen, which is its recorded sites once more, and the relevance of
    /// every neuron, with its gradient.
    pub fn of_choosing(arch: &Arch, n_pos: usize, sites: &Sites) -> Self {
        let [pos, layers, mlp] = [n_pos, arch.n_layers, arch.d_mlp].map(count);
        Need::of("frozen run", (Sat(4) * pos * recorded(arch, n_pos, sites)).0)
            .and("relevance", (Sat(12) * layers * pos * mlp).0)
    }

    /// What logits of `rows` positions take that are read out together, as a tensor and as numbers.
    pub fn of_logits(arch: &Arch, rows: usize) -> Self {
        Need::of("logits at once", (Sat(2 * 4) * count(rows) * count(arch.d_vocab)).0)
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
            false if self.total() <= Room::now().bytes => {}
            false => {
                // What is kept without a use is room too.
                allocator::give_back();
                self.check(&Room::now(), what)?;
            }
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

/// A number of things, of which products and sums stop at the most there is.
fn count(n: usize) -> Sat<u64> {
    Sat(n as u64)
}

/// Numbers of one position that the recorded sites of all blocks hold.
fn recorded(arch: &Arch, n_pos: usize, sites: &Sites) -> Sat<u64> {
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
        S::Ln1Scale | S::Ln1PostScale | S::Ln2Scale | S::Ln2PostScale => Sat(1),
        S::Q | S::RotQ | S::Z => count(arch.n_heads) * count(arch.d_head),
        S::K | S::V | S::RotK => count(arch.n_kv_heads) * count(arch.d_head),
        S::AttnScores | S::Pattern => count(arch.n_heads) * count(n_pos),
        S::Result => count(arch.n_heads) * count(arch.d_model),
        S::MlpPre | S::MlpPreLinear | S::MlpPost => count(arch.d_mlp),
        _ => count(arch.d_model),
    };
    let each = (0..arch.n_layers).flat_map(|layer| all.iter().filter(move |s| sites.has(Site::Block(layer, **s))));
    each.fold(Sat(0), |sum, s| sum + width(*s))
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
        assert!(Need::of("any", u64::MAX).and("more", 1).check_now("everything").is_err());
    }

    #[test]
    fn more_than_can_be_counted_is_as_much_as_can_be() {
        let arch = Arch {
            family: "any",
            n_layers: 4096,
            d_model: 1 << 31,
            n_heads: 1 << 31,
            n_kv_heads: 1 << 31,
            d_head: 1 << 31,
            d_mlp: 1 << 31,
            d_vocab: 1 << 31,
            n_ctx: 1 << 31,
            parallel: false,
            final_softcap: None,
        };
        let all = Sites::Standard;
        for need in [
            Need::of_run(&arch, (usize::MAX, usize::MAX), &all, true),
            Need::of_graph(&arch, usize::MAX, usize::MAX),
            Need::of_circuit(&arch, usize::MAX, usize::MAX),
            Need::of_choosing(&arch, usize::MAX, &all),
        ] {
            assert_eq!(need.total(), u64::MAX);
        }
    }

    #[test]
    fn a_circuit_has_no_more_units_than_the_prompt() {
        let arch = Arch {
            family: "any",
            n_layers: 2,
            d_model: 8,
            n_heads: 2,
            n_kv_heads: 2,
            d_head: 4,
            d_mlp: 32,
            d_vocab: 10,
            n_ctx: 16,
            parallel: false,
            final_softcap: None,
        };
        let need = |units| Need::of_circuit(&arch, 3, units).total();
        let all = 2 * 3 * (2 + 1 + 32);
        assert!(need(all - 1) < need(all));
        assert_eq!(need(usize::MAX), need(all));
    }
}
