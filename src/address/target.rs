//! What an edit changes: a unit, or every unit of a range.

use super::{Address, Component, Part, TokenName};

/// Whole numbers from `first` to `last`, both included; an end that is missing is open. `3`, `3..5`, `3..`, `..5`, `*`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Span<N> {
    /// The first; `None`: from the beginning.
    pub first: Option<N>,
    /// The last; `None`: to the end.
    pub last: Option<N>,
}

/// Some of the positions of a prompt.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Positions {
    /// One, or those from a first to a last; negative ones count from the end: `@5`, `@2..5`, `@-3..`.
    Span(Span<i64>),
    /// Every position of the token with this text: `@" Dallas"`.
    Token(String),
    /// The last of the prompt and, as text is written on, every one after it: `@prompt-end..`.
    FromPromptEnd,
}

/// What an edit changes: units at positions or, with `keys`, what positions read of others through attention heads.
///
/// A head with keys is an *edge*, `L5.H1@7<-3`: taken out, the rest of the row is renormalised. A pattern with keys is an entry of the pattern,
/// `L5.H1.pattern@7<-3`: changed, it is what the head mixes values with, and nothing is renormalised.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EditTarget {
    /// Where in the model.
    pub places: Places,
    /// At which positions; those that read, where there are keys.
    pub positions: Positions,
    /// The positions that are read; only of heads and patterns.
    pub keys: Option<Positions>,
}

/// One place of the model, or several of a kind.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Places {
    /// The token embedding.
    Embed,
    /// The logit of one token.
    Logit(TokenName),
    /// Parts of layers.
    Layers(Span<usize>, Parts),
}

/// Parts of a layer that are of one kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Parts {
    /// A part that a layer has one of: [`Part::Attn`], [`Part::ResidPost`].
    Only(Part),
    /// Parts that go by numbers.
    Numbered(Numbered, Span<usize>),
}

/// The kinds of parts that go by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Numbered {
    /// [`Part::Head`]
    Head,
    /// [`Part::Query`]
    Query,
    /// [`Part::Key`]
    Key,
    /// [`Part::Value`]
    Value,
    /// [`Part::SharedKey`]
    SharedKey,
    /// [`Part::SharedValue`]
    SharedValue,
    /// [`Part::Pattern`]
    Pattern,
    /// [`Part::Neuron`]
    Neuron,
    /// [`Part::Feature`]
    Feature,
}

impl<N: Copy + PartialEq> Span<N> {
    /// All there are: `*`.
    pub const ALL: Self = Span { first: None, last: None };

    /// One number alone.
    pub fn one(n: N) -> Self {
        Span { first: Some(n), last: Some(n) }
    }

    /// The number, when it is one alone.
    pub fn single(self) -> Option<N> {
        self.first.filter(|first| self.last == Some(*first))
    }
}

impl Positions {
    /// Every position.
    pub const ALL: Self = Positions::Span(Span::ALL);

    /// One position; negative counts from the end.
    pub fn one(position: i64) -> Self {
        Positions::Span(Span::one(position))
    }

    /// The position, when it is one alone.
    pub fn single(&self) -> Option<i64> {
        if let Positions::Span(span) = self { span.single() } else { None }
    }
}

impl Numbered {
    /// Every kind.
    pub const ALL: [Self; 9] = [
        Self::Head,
        Self::Query,
        Self::Key,
        Self::Value,
        Self::SharedKey,
        Self::SharedValue,
        Self::Pattern,
        Self::Neuron,
        Self::Feature,
    ];

    /// The part of this kind and number.
    pub fn part(self, number: usize) -> Part {
        match self {
            Numbered::Head => Part::Head(number),
            Numbered::Query => Part::Query(number),
            Numbered::Key => Part::Key(number),
            Numbered::Value => Part::Value(number),
            Numbered::SharedKey => Part::SharedKey(number),
            Numbered::SharedValue => Part::SharedValue(number),
            Numbered::Pattern => Part::Pattern(number),
            Numbered::Neuron => Part::Neuron(number),
            Numbered::Feature => Part::Feature(number),
        }
    }
}

impl From<Part> for Parts {
    fn from(part: Part) -> Self {
        let (kind, number) = match part {
            Part::Head(n) => (Numbered::Head, n),
            Part::Query(n) => (Numbered::Query, n),
            Part::Key(n) => (Numbered::Key, n),
            Part::Value(n) => (Numbered::Value, n),
            Part::SharedKey(n) => (Numbered::SharedKey, n),
            Part::SharedValue(n) => (Numbered::SharedValue, n),
            Part::Pattern(n) => (Numbered::Pattern, n),
            Part::Neuron(n) => (Numbered::Neuron, n),
            Part::Feature(n) => (Numbered::Feature, n),
            Part::Attn | Part::Mlp | Part::ResidPre | Part::ResidMid | Part::ResidPost | Part::Error => {
                return Parts::Only(part);
            }
        };
        Parts::Numbered(kind, Span::one(number))
    }
}

impl From<Component> for Places {
    fn from(place: Component) -> Self {
        match place {
            Component::Embed => Places::Embed,
            Component::Logit(token) => Places::Logit(token),
            Component::Unit { layer, part } => Places::Layers(Span::one(layer), part.into()),
        }
    }
}

impl From<Address> for EditTarget {
    fn from(address: Address) -> Self {
        let positions = address.position.map_or(Positions::ALL, Positions::one);
        EditTarget { places: address.place.into(), positions, keys: None }
    }
}

impl EditTarget {
    /// An edge of attention: what `query` reads of `key` through a head.
    pub fn edge(layer: usize, head: usize, query: i64, key: i64) -> Self {
        let target = EditTarget::from(Address::unit(layer, Part::Head(head)).at(query));
        EditTarget { keys: Some(Positions::one(key)), ..target }
    }

    /// Whether a position counts from the end, and so is another one where the prompt grows.
    pub fn counts_from_end(&self) -> bool {
        let negative = |end: Option<i64>| end.is_some_and(|p| p < 0);
        let moves = |positions: &Positions| match positions {
            Positions::Span(span) => negative(span.first) || negative(span.last),
            Positions::Token(_) => false,
            Positions::FromPromptEnd => true,
        };
        moves(&self.positions) || self.keys.as_ref().is_some_and(moves)
    }

    /// The unit, when it is one alone, at one position or at every one.
    pub fn unit(&self) -> Option<Address> {
        let place = match &self.places {
            Places::Embed => Component::Embed,
            Places::Logit(token) => Component::Logit(token.clone()),
            Places::Layers(layers, Parts::Only(part)) => Component::Unit { layer: layers.single()?, part: *part },
            Places::Layers(layers, Parts::Numbered(kind, numbers)) => {
                Component::Unit { layer: layers.single()?, part: kind.part(numbers.single()?) }
            }
        };
        let position = match (&self.positions, &self.keys) {
            (_, Some(_)) => return None,
            (positions, None) if *positions == Positions::ALL => None,
            (positions, None) => Some(positions.single()?),
        };
        Some(Address { place, position })
    }
}
