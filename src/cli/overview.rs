//! `mechscope` without a command: what it is and where to begin.

use crate::builtin;
use anyhow::Result;
use std::io::Write;

/// Prints what the program is, commands to try, and the models at hand.
pub fn print() -> Result<()> {
    let models: Vec<&str> = builtin::all().iter().map(|b| b.name).collect();
    let text = format!(
        "\
mechscope {version}: opens a language model and shows how its answer was computed

Try:
  mechscope predict -m induction -p 'qwertyqwe'                     the most probable next tokens
  mechscope intervene -m induction -p 'qwertyqwe' --edit L1.H2=0    the same without one head
  mechscope trace -m induction -p 'qwertyqwe' -o run.safetensors    every number of the forward pass
  mechscope models                                                 what can be opened
  mechscope doctor                                                 is everything as it should be?

Models: built in are {models}; -m also takes a folder in Hugging Face layout (config.json,
model.safetensors, tokenizer.json), a GGUF file, or org/name from the Hugging Face cache.
All options: mechscope --help, mechscope COMMAND --help
",
        version = env!("CARGO_PKG_VERSION"),
        models = models.join(", "),
    );
    Ok(std::io::stdout().lock().write_all(text.as_bytes())?)
}
