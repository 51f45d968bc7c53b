//! Units of a model and their names: one address is the same thing in a table, in a graph, on the clipboard and on the command line.
//!
//! ```text
//! address   = place [ "@" position ]                  L7.N1042@5      L7.H3       L7.N1042@-1
//! place     = "embed" | "L" layer "." part | "logit:" token
//! part      = "H" head | "N" neuron | "F" feature | "attn" | "mlp"
//!           | "resid_pre" | "resid_mid" | "resid_post" | "error"
//! token     = a JSON string or an id                  logit:" Austin"    logit:1234
//! edit      = target op
//! target    = address | "L" layer ".H" head "@" query "<-" key            L5.H1@7<-3
//! op        = "=" number | "=mean" | "=mean:" prompt | "=from:" prompt
//!           | "*=" number | "+=" number | "+=" direction [ "*" number ]
//! direction = "steer:" ( bare name | JSON string ) | "diff:" prompt "-" prompt
//! prompt    = a JSON string
//! ```
//!
//! ```
//! use mechscope::address::{Address, Edit, Op, Part, Place};
//! let address: Address = "L7.N1042@-1".parse()?;
//! assert_eq!(address, Address::unit(7, Part::Neuron(1042)).at(-1));
//! assert_eq!("L7.H3=mean".parse::<Edit>()?.op, Op::Mean);
//!
//! let error = "L7.Q3".parse::<Address>().unwrap_err().to_string();
//! assert!(error.starts_with("\"L7.Q3\": part: found \"Q3\", expected H<head>, N<neuron>, F<feature>"), "{error}");
//! let error = "L7.H3@x=0".parse::<Edit>().unwrap_err().to_string();
//! assert_eq!(error, "\"L7.H3@x=0\": position: found \"x=0\", expected a whole number, negative to count from the end");
//! let error = "L7.H3=NaN".parse::<Edit>().unwrap_err().to_string();
//! assert_eq!(error, "\"L7.H3=NaN\": value: found \"NaN\", expected a finite number, mean, mean:\"prompt\" or from:\"prompt\"");
//! # anyhow::Ok(())
//! ```

mod extent;
mod syntax;

pub use extent::{Extent, resolve_position};

/// The name of a unit, at one position or (without a position) at every one.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Address {
    /// Where in the model.
    pub place: Place,
    /// Which token of the prompt, counted from 0, or from the end when negative; `None` means every position.
    pub position: Option<i64>,
}

/// Where in the model a unit is. Orders as the model computes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Place {
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
    Logit(Token),
}

/// A part of a layer. Orders as the layer computes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Part {
    /// The residual stream before the layer.
    ResidPre,
    /// An attention head, by number.
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
pub enum Token {
    /// The token's exact text, leading space included.
    Text(String),
    /// The token's id.
    Id(u32),
}

/// An intervention: what to change and how.
#[derive(Clone, Debug, PartialEq)]
pub struct Edit {
    /// What is changed.
    pub target: Target,
    /// How it is changed.
    pub op: Op,
}

/// What an edit changes.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Target {
    /// A unit, at one position or at every one.
    Unit(Address),
    /// What one position reads from another through one head: an entry of the attention pattern.
    AttentionEdge {
        /// The layer, from 0.
        layer: usize,
        /// The head, from 0.
        head: usize,
        /// The position that reads; negative counts from the end.
        query: i64,
        /// The position that is read; negative counts from the end.
        key: i64,
    },
}

/// How an edit changes its target.
#[derive(Clone, Debug, PartialEq)]
pub enum Op {
    /// Every entry becomes this value: `=0`.
    Set(f32),
    /// The mean over the positions of the same run: `=mean`.
    Mean,
    /// The mean over the positions of a run on another prompt: `=mean:"prompt"`.
    MeanOf(String),
    /// The value in a run on another prompt (activation patching): `=from:"prompt"`.
    From(String),
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
        Address { place: Place::Unit { layer, part }, position: None }
    }

    /// The token embedding, at every position.
    pub fn embed() -> Self {
        Address { place: Place::Embed, position: None }
    }

    /// The logit of `token`, at every position.
    pub fn logit(token: Token) -> Self {
        Address { place: Place::Logit(token), position: None }
    }

    /// The same unit at one position; negative counts from the end.
    pub fn at(self, position: i64) -> Self {
        Address { position: Some(position), ..self }
    }

    /// The layer, if the unit is in one.
    pub fn layer(&self) -> Option<usize> {
        match self.place {
            Place::Unit { layer, .. } => Some(layer),
            Place::Embed | Place::Logit(_) => None,
        }
    }
}
