//! Attribution graphs as readers see them: made of a prompt or read from a file, with the tokens that their units promote and are driven by.

mod answer;
mod dictionaries;
mod labelled;
mod request;
mod tokens;

pub use answer::{Stage, of_file, of_prompt};
pub use dictionaries::Dictionaries;
pub use labelled::{Attribution, GraphId};
pub use request::{Basis, GraphRequest};
