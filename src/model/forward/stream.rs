//! A forward pass whose sites are looked at block by block and then forgotten: for many tokens, and without logits.

use super::{Pass, Start};
use crate::model::arch::Decoder;
use crate::model::edit::EditPlan;
use crate::model::memory::Need;
use crate::model::site::{BlockSite, Site, Sites};
use crate::model::trace::Trace;
use anyhow::Result;

impl Decoder {
    /// Runs a batch of prompts of equal length through all blocks. After each block `each` is given its number and what `sites` recorded in it; then
    /// that is dropped: a run over a long batch takes the memory of one block.
    ///
    /// # Errors
    /// As [`Decoder::run`], a run that left the range of its dtype at the end, when `each` has seen it; or what `each` returns.
    pub fn stream(
        &self,
        prompts: &[Vec<u32>],
        sites: &Sites,
        each: &mut dyn FnMut(usize, &Trace) -> Result<()>,
    ) -> Result<()> {
        self.check(prompts)?;
        let n_pos = prompts[0].len();
        if self.device().is_cpu() {
            let one_block = sites.of_block(0);
            Need::of_run(&self.arch, (prompts.len(), n_pos), &one_block, false).check_now("this batch")?;
        }
        let (tables, route) = (self.tables(0, n_pos)?, self.route());
        let trace = || Trace::new(Vec::new());
        let (edits, reads) = (EditPlan::NONE, trace());
        let mut pass =
            Pass { route, sites, edits, trace: trace(), first: 0, cache: None, tables, reads, added: Vec::new() };
        let mut resid = self.embed(prompts, &mut pass)?;
        for (l, block) in self.blocks.iter().enumerate() {
            resid = block.forward(l, resid, self.arch.parallel, &mut pass)?;
            each(l, &std::mem::replace(&mut pass.trace, trace()))?;
        }
        // What is NaN or infinite in a block is so in the stream behind the last one.
        let last = Site::Block(self.arch.n_layers.saturating_sub(1), BlockSite::ResidPost);
        self.refuse_numbers_out_of_range(last, &resid, Start::Tokens(prompts), edits)
    }
}
