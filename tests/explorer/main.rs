//! The explorer without a terminal: events in, state, effects and screens out.

mod behaviour;
mod harness;
mod hostile;
mod random;
mod screens;
