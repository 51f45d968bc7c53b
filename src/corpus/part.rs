//! Parts: files that each hold what was kept of some shards. An index is a part that covers the whole corpus, or as much as there was.

pub mod header;
pub mod layout;
mod read;
mod write;

pub use header::{CorpusFile, PartHeader, Segment};
pub use read::{UnitRows, absorb, open, read};
pub use write::write;
