//! The `mechscope` program.

fn main() {}
