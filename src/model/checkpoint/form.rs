//! How a tensor lies in its file where that is not how a Hugging Face checkpoint has it.

/// What is to be done to a stored tensor; nothing by default.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TensorForm {
    /// The order of its rows.
    pub rows: Rows,
    /// Subtract one from every number: norms that are stored with it added.
    pub minus_one: bool,
    /// It is stored as its transpose.
    pub turned: bool,
}

/// Where the rows of a tensor are found in the file.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Rows {
    /// In their order.
    #[default]
    AsStored,
    /// From this row of a larger tensor on.
    From(usize),
    /// In every head, the two halves that rotary embedding turns together are stored alternating: `[d_head / 2, 2]` for `[2, d_head / 2]`.
    Alternating {
        /// Width of a head.
        d_head: usize,
    },
    /// Queries, keys and values are stored one after the other: `[3, n_heads, d_head]` for `[n_heads, 3, d_head]`.
    ByPart {
        /// Number of heads.
        n_heads: usize,
        /// Width of a head.
        d_head: usize,
    },
}

impl Rows {
    /// The stored row that is wanted as row `row`.
    pub fn stored(self, row: usize) -> usize {
        match self {
            Self::AsStored => row,
            Self::From(first) => first + row,
            Self::Alternating { d_head } => {
                let (head, within) = (row / d_head, row % d_head);
                let (half, pair) = (within / (d_head / 2), within % (d_head / 2));
                head * d_head + 2 * pair + half
            }
            Self::ByPart { n_heads, d_head } => {
                let (head, within) = (row / (3 * d_head), row % (3 * d_head));
                (within / d_head * n_heads + head) * d_head + within % d_head
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_found_where_converters_put_them() {
        // Two heads of width 4: 0 1 | 2 3 are the halves of the first.
        let alternating: Vec<usize> = (0..8).map(|r| Rows::Alternating { d_head: 4 }.stored(r)).collect();
        assert_eq!(alternating, [0, 2, 1, 3, 4, 6, 5, 7]);
        // Two heads of width 2: q0 k0 v0 q1 k1 v1 are wanted, q0 q1 k0 k1 v0 v1 are stored.
        let parts: Vec<usize> = (0..12).map(|r| Rows::ByPart { n_heads: 2, d_head: 2 }.stored(r)).collect();
        assert_eq!(parts, [0, 1, 4, 5, 8, 9, 2, 3, 6, 7, 10, 11]);
        assert_eq!(Rows::From(5).stored(2), 7);
    }
}
