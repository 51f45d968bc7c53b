//! mechscope: a terminal explorer for mechanistic interpretability of language models.

pub mod address;
<<<<<<< HEAD
pub mod builtin;
=======
>>>>>>> words
pub mod model;
