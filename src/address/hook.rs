//! TransformerLens's names of activations, with the indices of its cache, read as units: `blocks.1.attn.hook_z[0, 5, 2]` is `L1.H2@5`.

use anyhow::Result;

use super::cursor::Cursor;
use super::{EditTarget, Numbered, Part, Parts, Places, Positions, Span};

/// How an activation is laid out, after the batch.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// `[pos, d_model]`
    Stream,
    /// `[pos, number, ...]`
    ByPosition,
    /// `[head, query, key]`
    Pattern,
}

/// The activations that an edit can touch, by what stands behind `blocks.N.`.
const HOOKS: [(&str, Parts, Layout); 11] = [
    ("hook_resid_pre", Parts::Only(Part::ResidPre), Layout::Stream),
    ("hook_resid_mid", Parts::Only(Part::ResidMid), Layout::Stream),
    ("hook_resid_post", Parts::Only(Part::ResidPost), Layout::Stream),
    ("hook_attn_out", Parts::Only(Part::Attn), Layout::Stream),
    ("hook_mlp_out", Parts::Only(Part::Mlp), Layout::Stream),
    ("attn.hook_q", Parts::Numbered(Numbered::Query, Span::ALL), Layout::ByPosition),
    // TransformerLens counts key/value heads here.
    ("attn.hook_k", Parts::Numbered(Numbered::SharedKey, Span::ALL), Layout::ByPosition),
    ("attn.hook_v", Parts::Numbered(Numbered::SharedValue, Span::ALL), Layout::ByPosition),
    ("attn.hook_z", Parts::Numbered(Numbered::Head, Span::ALL), Layout::ByPosition),
    ("attn.hook_pattern", Parts::Numbered(Numbered::Pattern, Span::ALL), Layout::Pattern),
    ("mlp.hook_post", Parts::Numbered(Numbered::Neuron, Span::ALL), Layout::ByPosition),
];

const EMBED: &str = "hook_embed";

/// Whether the name of an activation begins here.
pub(super) fn begins(cursor: &Cursor) -> bool {
    cursor.rest.starts_with("blocks.") || cursor.rest.starts_with(EMBED)
}

impl Cursor<'_> {
    /// An activation's name and, in brackets, indices: `[batch, pos, head]`, `[batch, head, query, key]`; those that are missing, and `:`, are all.
    pub(super) fn hook(&mut self) -> Result<EditTarget> {
        if self.take(EMBED) {
            let positions = self.indices(Layout::Stream)?.positions;
            return Ok(EditTarget { places: Places::Embed, positions, keys: None });
        }
        self.take("blocks.");
        let layers = self.span("layer")?;
        if !self.take(".") {
            return Err(self.wrong("after the layer", "a dot and the name of an activation"));
        }
        let before = *self;
        let name = self.take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | '.'));
        let Some((_, parts, layout)) = HOOKS.iter().find(|(known, ..)| *known == name) else {
            let known: Vec<&str> = HOOKS.iter().map(|(known, ..)| *known).collect();
            return Err(before.wrong("activation", &known.join(", ")));
        };
        let indices = self.indices(*layout)?;
        let parts = match *parts {
            Parts::Numbered(kind, _) => Parts::Numbered(kind, indices.numbers),
            only => only,
        };
        Ok(EditTarget { places: Places::Layers(layers, parts), positions: indices.positions, keys: indices.keys })
    }

    fn indices(&mut self, layout: Layout) -> Result<Indices> {
        let mut found = Indices { positions: Positions::ALL, numbers: Span::ALL, keys: None };
        if !self.take("[") {
            return Ok(found);
        }
        let axes: &[Axis] = match layout {
            Layout::Stream => &[Axis::Batch, Axis::Position],
            Layout::ByPosition => &[Axis::Batch, Axis::Position, Axis::Number],
            Layout::Pattern => &[Axis::Batch, Axis::Number, Axis::Position, Axis::Key],
        };
        for (n, axis) in axes.iter().enumerate() {
            match axis {
                Axis::Batch => {
                    let before = *self;
                    if ![Span::ALL, Span::one(0)].contains(&self.slice("batch index")?) {
                        return Err(before.wrong("batch index", "0: there is one prompt"));
                    }
                }
                Axis::Position => found.positions = Positions::Span(self.slice("position index")?),
                Axis::Number => found.numbers = self.unsigned("head or neuron index")?,
                Axis::Key => found.keys = Some(Positions::Span(self.slice("key index")?)),
            }
            self.take_while(|c| c == ' ');
            if self.take("]") {
                return Ok(found);
            }
            let last = n + 1 == axes.len();
            if last || !self.take(",") {
                let accepted = match (last, layout) {
                    (false, _) => "a comma or ]",
                    (true, Layout::Stream) => "]: the indices are [batch, pos], a vector is changed as a whole",
                    (true, Layout::ByPosition) => {
                        "]: the indices are [batch, pos, number], a head is changed as a whole"
                    }
                    (true, Layout::Pattern) => "]: the indices are [batch, head, query, key]",
                };
                return Err(self.wrong("indices", accepted));
            }
        }
        Err(self.wrong("indices", "]"))
    }

    /// An index or a slice as Python writes it, without the number after its end.
    fn slice(&mut self, part: &str) -> Result<Span<i64>> {
        const ACCEPTED: &str = "a whole number or a slice (:, 2:5)";
        self.take_while(|c| c == ' ');
        let begins = |c: char| c.is_ascii_digit() || c == '-';
        let before = *self;
        let first = if self.rest.starts_with(':') { None } else { Some(self.integer(part, ACCEPTED)?) };
        if !self.take(":") {
            return Ok(Span { first, last: first });
        }
        let end = if self.rest.starts_with(begins) { Some(self.integer(part, ACCEPTED)?) } else { None };
        let empty = || before.wrong(part, "a slice that takes something in");
        let last = match end {
            // Nothing stands before the first.
            Some(0) => return Err(empty()),
            Some(end) => Some(end.checked_sub(1).ok_or_else(empty)?),
            None => None,
        };
        match (first, last) {
            (Some(a), Some(b)) if a > b && (a < 0) == (b < 0) => Err(empty()),
            (first, last) => Ok(Span { first, last }),
        }
    }

    /// As [`Cursor::slice`], of numbers that do not count from the end.
    fn unsigned(&mut self, part: &str) -> Result<Span<usize>> {
        let before = *self;
        let Span { first, last } = self.slice(part)?;
        let whole = |n: Option<i64>| n.map(usize::try_from).transpose();
        match (whole(first), whole(last)) {
            (Ok(first), Ok(last)) => Ok(Span { first, last }),
            _ => Err(before.wrong(part, "a whole number, not negative")),
        }
    }
}

/// What an index counts.
#[derive(Clone, Copy)]
enum Axis {
    Batch,
    Position,
    Number,
    Key,
}

/// What indices say.
struct Indices {
    positions: Positions,
    numbers: Span<usize>,
    keys: Option<Positions>,
}
