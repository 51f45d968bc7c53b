//! mechscope: a terminal explorer for mechanistic interpretability of language models.

pub mod action;
pub mod address;
pub mod analysis;
pub mod app;
pub mod builtin;
pub mod cli;
pub mod config;
pub mod engine;
pub mod files;
pub mod graph;
pub mod keymap;
pub mod log;
pub mod model;
pub mod paths;
pub mod replacement;
pub mod report;
pub mod run;
pub mod terminal;
pub mod view;
