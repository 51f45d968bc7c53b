//! Units of a model and their names: one address is the same thing in a table, in a graph, on the clipboard and on the command line.
//!
//! ```text
//! edit      = target op
//! address   = a target that is one unit, at one position or at every one   L7.N1042@5      L7.H3       L7.N1042@-1
//! target    = place [ "@" positions [ "<-" positions ] ] | hook
//! place     = "embed" | "L" span "." part | "logit:" token
//! part      = "H" span [ ".q" | ".k" | ".v" | ".z" | ".pattern" ] | "KV" span ( ".k" | ".v" ) | "N" span | "F" span
//!           | "attn" | "mlp" | "resid_pre" | "resid_mid" | "resid_post" | "error"
//! span      = number | number ".." number | number ".." | ".." number | "*"          both ends belong to it
//! positions = a span, negative numbers count from the end | token | "prompt-end.."       @2..5   @-3..   @*   @" Dallas"
//! token     = a JSON string or an id                                                   logit:" Austin"    logit:1234
//! hook      = ( "hook_embed" | "blocks." span "." activation ) [ "[" indices "]" ]     blocks.1.attn.hook_z[0, 5, 2]
//! op        = "=" number | "=mean" | "=mean:" prompt | "=from:" prompt | "=mean:@" set [ ":pos" ] | "=resample:@" set [ ":" seed ]
//!           | "*=" number | "+=" number | "+=" direction [ "*" number ]
//!           | "=ablate:dir:" name | "=cap:dir:" name "[" [ number ] ".." [ number ] "]"
//! direction = "steer:" name | "diff:" prompt "-" prompt
//! name      = a file of a direction: letters, digits and _ . / - as they are, or a JSON string
//! prompt    = a JSON string
//! set       = a name or file of a set of prompts: [ "builtin:" ] and characters as of a name, or a JSON string
//! ```
//!
//! - `L7.H3` (or `.z`) is what a head mixes, `.q`, `.k`, `.v` its query, key and value before rotation, `.pattern` where it looks.
//! - Where query heads share keys and values (grouped-query attention), these belong to key/value heads and go by their numbers: `L7.KV1.k`; an edit
//!   changes them for every head that shares them. `L7.H3.k` is then an error that names the key/value head. Without sharing both names are one.
//! - `L5.H1@7<-3=0` takes an edge out: the rest of the row is renormalised. `L5.H1.pattern@7<-3=0.5` puts a number into the pattern as it is, and
//!   `L5.H1.pattern@7` is the whole row.
//! - A range stands for all its units that a model and a prompt have; one that has none there is an error.
//! - `@prompt-end..` is the prompt's last position and, while text is written on, every one after it; `@-1` moves on with the newest token.
//! - The indices of a hook are those of TransformerLens's cache: `[batch, pos]`, `[batch, pos, head or neuron]`, of a pattern
//!   `[batch, head, query, key]`; slices as in Python. `hook_k` and `hook_v` count key/value heads.
//!
//! ```
//! use mechscope::address::{Address, Edit, Op, Part};
//! let address: Address = "L7.N1042@-1".parse()?;
//! assert_eq!(address, Address::unit(7, Part::Neuron(1042)).at(-1));
//! assert_eq!("blocks.1.attn.hook_z[0, 5, 2]".parse::<Address>()?.to_string(), "L1.H2@5");
//! assert_eq!("L7.H3=mean".parse::<Edit>()?.op, Op::Mean);
//! assert_eq!("L3..5.H*.pattern@\" is\"<-0=0".parse::<Edit>()?.to_string(), "L3..5.H*.pattern@\" is\"<-0=0");
//!
//! let error = "L7.Q3".parse::<Address>().unwrap_err().to_string();
//! assert!(error.starts_with("\"L7.Q3\": part: found \"Q3\", expected H<head>, N<neuron>, F<feature>"), "{error}");
//! let error = "L7.H3@x=0".parse::<Edit>().unwrap_err().to_string();
//! assert!(error.starts_with("\"L7.H3@x=0\": position: found \"x=0\", expected a whole number, negative to count from the end"));
//! let error = "L7.H3=NaN".parse::<Edit>().unwrap_err().to_string();
//! assert!(error.starts_with("\"L7.H3=NaN\": value: found \"NaN\", expected a finite number, mean, mean:\"prompt\", mean:@<set>"));
//! # anyhow::Ok(())
//! ```

mod cursor;
mod extent;
mod hook;
mod parse;
mod print;
mod target;

pub use extent::{Extent, Reach, resolve_position};
pub use target::{EditTarget, Numbered, Parts, Places, Positions, Span};

/// The name of a unit, at one position or (without a position) at every one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Where in the model.
    pub place: Component,
    /// Which token of the prompt, counted from 0, or from the end when negative; `None` means every position.
    pub position: Option<i64>,
}

/// Where in the model a unit is. Orders as the model computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Component {
    /// The token embedding.
    Embed,
    /// A part of one layer.
    Unit {
        /// The layer, from 0.
        layer: usize,
        /// The part of that layer.
        part: Part,
    },
    /// The logit of one token.
    Logit(TokenName),
}

/// A part of a layer. Orders as the layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The residual stream before the layer.
    ResidPre,
    /// The query of a head before rotation, by the head's number.
    Query(usize),
    /// The key of a head before rotation, where heads do not share keys.
    Key(usize),
    /// The key of a key/value head before rotation, by that head's number: that of every query head that shares it.
    SharedKey(usize),
    /// The value of a head, where heads do not share values.
    Value(usize),
    /// The value of a key/value head, by that head's number.
    SharedValue(usize),
    /// The attention pattern of a head; at a position, the row of that query.
    Pattern(usize),
    /// An attention head, by number: what it mixes.
    Head(usize),
    /// The output of the attention block.
    Attn,
    /// The residual stream between attention and MLP.
    ResidMid,
    /// An MLP neuron, by number.
    Neuron(usize),
    /// A dictionary feature, by number.
    Feature(usize),
    /// What the layer's dictionary fails to reconstruct.
    Error,
    /// The output of the MLP block.
    Mlp,
    /// The residual stream after the layer.
    ResidPost,
}

/// A token of the vocabulary, by its text or by its id.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum TokenName {
    /// The token's exact text, leading space included.
    Text(String),
    /// The token's id.
    Id(u32),
}

/// An intervention: what to change and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What is changed.
    pub target: EditTarget,
    /// How it is changed.
    pub op: Op,
}

/// How an edit changes what it targets.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Every entry becomes this value: `=0`.
    Set(f32),
    /// The mean over the positions of the same run: `=mean`.
    Mean,
    /// The mean over the positions of a run on another prompt: `=mean:"prompt"`.
    MeanOf(String),
    /// The mean over the clean prompts of a set: `=mean:@builtin:ioi` over all their positions, `=mean:@set.jsonl:pos` position by position; or over a corpus, by
    /// the folder of its index: `=mean:@evidence`.
    MeanOfSet {
        /// The set's name or file.
        set: String,
        /// Position by position: prompts of equal length.
        by_position: bool,
    },
    /// The value in a run on another prompt (activation patching): `=from:"prompt"`.
    From(String),
    /// The value in a run on a prompt drawn from a set: `=resample:@set.jsonl:7`.
    Resample {
        /// The set's name or file.
        set: String,
        /// Which prompt is drawn.
        seed: u64,
    },
    /// Multiplied by a factor: `*=2`.
    Scale(f32),
    /// A value added to every entry: `+=0.5`.
    Add(f32),
    /// A direction added, `factor` times: `+=steer:happy*4`.
    Steer {
        /// The direction.
        direction: Direction,
        /// How much of it; 1 when the text names none.
        factor: f32,
    },
    /// The part along a saved direction taken out, `x - r r.x` with `r` of length 1: `=ablate:dir:refusal`.
    Ablate(String),
    /// The part along a saved direction held between bounds, in lengths of that direction made 1 long: `=cap:dir:happy[-1..2]`.
    Cap {
        /// The direction's name.
        name: String,
        /// The least of `r.x`, if it is bounded below.
        min: Option<f32>,
        /// The most, if it is bounded above.
        max: Option<f32>,
    },
}

/// A vector to steer along.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Direction {
    /// A saved direction, by name or file: `steer:happy`.
    File(String),
    /// The difference between two prompts at the same unit: `diff:"I love"-"I hate"`.
    Difference {
        /// The prompt steered towards.
        plus: String,
        /// The prompt steered away from.
        minus: String,
    },
}

impl Address {
    /// The part `part` of layer `layer`, at every position.
    pub fn unit(layer: usize, part: Part) -> Self {
        Address { place: Component::Unit { layer, part }, position: None }
    }

    /// The token embedding, at every position.
    pub fn embed() -> Self {
        Address { place: Component::Embed, position: None }
    }

    /// The logit of `token`, at every position.
    pub fn logit(token: TokenName) -> Self {
        Address { place: Component::Logit(token), position: None }
    }

    /// The same unit at one position; negative counts from the end.
    pub fn at(self, position: i64) -> Self {
        Address { position: Some(position), ..self }
    }

    /// The layer, if the unit is in one.
    pub fn layer(&self) -> Option<usize> {
        match self.place {
            Component::Unit { layer, .. } => Some(layer),
            Component::Embed | Component::Logit(_) => None,
        }
    }
}

impl Op {
    /// Why the operation changes nothing whatever it is applied to, if that is so.
    pub fn idle(&self) -> Option<&'static str> {
        match self {
            Op::Scale(1.0) => Some("a factor of 1 leaves all as it is"),
            Op::Add(0.0) => Some("0 is added"),
            Op::Steer { factor: 0.0, .. } => Some("the direction is taken 0 times"),
            Op::Steer { direction: Direction::Difference { plus, minus }, .. } if plus == minus => {
                Some("both prompts of the difference are the same")
            }
            _ => None,
        }
    }
}
