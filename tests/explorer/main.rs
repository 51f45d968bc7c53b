//! The explorer without a terminal: events in, state, effects and screens out.

mod behaviour;
mod graph;
mod harness;
mod hostile;
mod marks;
mod random;
mod screens;
mod shell;
mod twins;
