//! Dictionaries in every layout they are published in, from files made here: the same transcoder gives the same graph,
//! and a file that is wrong one clear error.

#[path = "../common/mod.rs"]
mod common;
mod fuzz;
mod layouts;
mod write;
mod wrong;
