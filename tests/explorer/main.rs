//! The explorer without a terminal: events in, state, effects and screens out.

mod behaviour;
mod graph;
mod graph_circuit;
mod graph_columns;
mod graph_enter;
mod graph_heads;
mod graph_units;
mod graph_ways;
mod harness;
mod hostile;
mod log;
mod marks;
mod opens;
mod patch;
mod pictures;
mod pins;
mod prompts;
mod random;
mod remapped;
mod screens;
mod shell;
mod state;
mod tour;
mod twins;
mod walk;
