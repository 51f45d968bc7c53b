//! Evidence from a corpus: what units fire on, over millions of tokens, computed on one machine or on many.
//!
//! A sweep is planned ([`plan`]): the corpus is cut into blocks, and these are dealt to shards. A worker ([`worker`]) runs the model over the blocks of a
//! shard and keeps, of every neuron, sums, a histogram and examples ([`mod@unit`], [`case`]); that is a part ([`part`]), a file written once. Merging
//! parts ([`merge`]) gives an index, which is a part that covers more. All that is kept is the same to the bit for any order in which positions come
//! and for any grouping of them, and a block is computed by itself: so the bytes of an index do not depend on shards, workers, or who merged what first.

pub mod blocks;
pub mod case;
pub mod context;
pub mod detect;
pub mod drivers;
pub mod exact;
pub mod example;
pub mod export;
pub mod histogram;
pub mod identity;
pub mod index;
pub mod labels;
pub mod layer;
pub mod merge;
pub mod part;
pub mod plan;
pub mod search;
pub mod spec;
pub mod state;
pub mod status;
pub mod tensors;
pub mod tile;
pub mod unit;
pub mod worker;
