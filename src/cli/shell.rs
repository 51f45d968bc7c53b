//! What a shell and `man` are told of the command line: completions and manual pages, made from its definition.

use super::examples::program;
use anyhow::{Context, Result};
use clap::Args;
use std::io::Write;

/// Options of `mechscope completions`.
#[derive(Args, Debug)]
pub struct Completions {
    /// The shell
    shell: clap_complete::Shell,
}

/// Options of `mechscope man`.
#[derive(Args, Debug)]
pub struct Man {
    /// The page of this command; without it, the page of the program
    command: Option<String>,
}

impl Completions {
    /// Prints the script.
    pub fn run(self) -> Result<()> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut program(), "mechscope", &mut script);
        Ok(std::io::stdout().lock().write_all(&script)?)
    }
}

impl Man {
    /// Prints the page, in the format of man.
    pub fn run(self) -> Result<()> {
        let mut program = program();
        program.build();
        let page = match &self.command {
            None => program,
            Some(name) => {
                let names: Vec<&str> = program.get_subcommands().map(clap::Command::get_name).collect();
                let found = program.find_subcommand(name).cloned();
                found.with_context(|| format!("no command is called {name:?}; accepted: {}", names.join(", ")))?
            }
        };
        let mut text = Vec::new();
        clap_mangen::Man::new(page).render(&mut text)?;
        Ok(std::io::stdout().lock().write_all(&text)?)
    }
}
