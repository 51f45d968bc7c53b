//! Places in the corpus where a unit was active, and the orders in which they are kept.

/// A position of the corpus with the activation of a unit there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Example {
    /// The activation.
    pub value: f32,
    /// The document: [`document_id`].
    pub doc: u64,
    /// Which token of the document begins the context.
    pub start: u32,
    /// The position in the context.
    pub pos: u32,
    /// The token there.
    pub token: u32,
}

/// A document: the number of its file and the byte where it begins.
pub fn document_id(file: usize, offset: u64) -> u64 {
    (file as u64) << 40 | offset & OFFSETS
}

/// Back from [`document_id`].
pub fn document_place(id: u64) -> (usize, u64) {
    (crate::cast::size(id >> 40), id & OFFSETS)
}

const OFFSETS: u64 = (1 << 40) - 1;

/// A number that stands for a position of the corpus, the same for every unit: what is drawn by it is drawn at the same positions for all, so that two
/// units can be compared. (The finisher of SplitMix64 over each part.)
pub fn position_hash(seed: u64, doc: u64, start: u32, pos: u32) -> u64 {
    mix(mix(seed ^ mix(doc)).wrapping_add(u64::from(start) << 32 | u64::from(pos)))
}

fn mix(x: u64) -> u64 {
    let x = x.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let x = (x ^ x >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let x = (x ^ x >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    x ^ x >> 31
}

/// The rank of a position in a sample in which positions are as likely as the square of the activation there: the sample keeps the lowest ranks
/// (priority sampling: Duffield, Lund and Thorup, 2007). Lower for strong activations.
#[inline(always)]
pub fn priority(hash: u64, value: f32) -> f64 {
    // 53 bits, never 0.
    let uniform = ((hash >> 11) + 1) as f64;
    uniform / (f64::from(value) * f64::from(value))
}

/// Whether [`priority`] may be at most `limit`: never no where it is, told without a division.
#[inline(always)]
pub fn may_rank_below(limit: f64, hash: u64, value: f32) -> bool {
    // What both sides are rounded by is less than this.
    const SLACK: f64 = 1.0 + 1e-12;
    ((hash >> 11) + 1) as f64 <= limit * SLACK * (f64::from(value) * f64::from(value))
}

impl Example {
    /// An empty place in a file.
    pub const EMPTY: Example = Example { value: 0.0, doc: u64::MAX, start: u32::MAX, pos: u32::MAX, token: u32::MAX };

    /// Whether this is a place in the corpus.
    pub fn is_there(&self) -> bool {
        self.doc != u64::MAX
    }

    /// The key that its context is found by.
    pub fn context(&self) -> (u64, u32) {
        (self.doc, self.start)
    }

    /// Its place in the corpus, which orders what is equal otherwise.
    pub fn place(&self) -> (u64, u32, u32) {
        (self.doc, self.start, self.pos)
    }

    /// Its number under a seed.
    pub fn hash(&self, seed: u64) -> u64 {
        position_hash(seed, self.doc, self.start, self.pos)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_go_by_file_and_byte() {
        assert_eq!(document_place(document_id(3, 1 << 39)), (3, 1 << 39));
        assert_ne!(document_id(1, 0), document_id(0, 1));
    }

    #[test]
    fn strong_positions_are_drawn_first_and_the_same_for_all() {
        let hash = |pos| position_hash(7, document_id(0, 99), 0, pos);
        assert!(priority(hash(1), 2.0) < priority(hash(1), -1.0));
        for pos in 0..1000 {
            let (hash, value) = (hash(pos), 1.0 / (pos + 1) as f32);
            let rank = priority(hash, value);
            assert!(may_rank_below(rank, hash, value) && !may_rank_below(rank * (1.0 - 1e-9), hash, value));
        }
        // Numbers of neighbours are spread evenly: their mean is the middle.
        let mean = (0..10_000).map(|pos| (hash(pos) >> 11) as f64 / (1u64 << 53) as f64).sum::<f64>() / 1e4;
        assert!((mean - 0.5).abs() < 0.02, "{mean}");
    }
}
