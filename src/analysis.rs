//! Methods: what can be asked of a model.

pub mod next_token;
