//! A GPT-2 that can be trained on the CPU without a framework; the programs that make the built-in model share it.

pub mod adamw;
pub mod attention;
pub mod corpus;
pub mod folder;
pub mod gpt2;
pub mod kernels;
pub mod layout;
pub mod score;
pub mod text;
pub mod transcoder;
