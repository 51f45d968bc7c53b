//! Examples for the help of every command: one list, so that one test can say that each command has some and that all of them are understood.

use super::Cli;
use clap::{Command, CommandFactory, FromArgMatches};

/// A command by its words, and examples of it. Those of the program itself stand under no word.
const EXAMPLES: &[(&str, &[&str])] = &[
    (
        "",
        &[
            "mechscope",
            "mechscope tour",
            "mechscope -m HuggingFaceTB/SmolLM2-135M-Instruct -p 'The Eiffel Tower is in the city of'",
            "mechscope -m model.gguf --graph graph.json",
            "mechscope --resume",
        ],
    ),
    (
        "predict",
        &[
            "mechscope predict -p 'The capital of the state containing Dallas is' --top 5",
            "mechscope predict -m model.gguf -p 'Hello' --format json",
            "printf 'a prompt from a file' | mechscope predict -p -",
        ],
    ),
    (
        "lens",
        &[
            "mechscope lens -p 'The capital of the state containing Dallas is'",
            "mechscope lens -p 'The keys to the cabinet' --position 3 --format tsv",
        ],
    ),
    (
        "attribute",
        &[
            "mechscope attribute -p 'The keys to the cabinet' --target ' are' --contrast ' is'",
            "mechscope attribute -p 'The keys to the cabinet' --total --why",
        ],
    ),
    (
        "heads",
        &[
            "mechscope heads -m induction -p qwertyqwe --probe --sort induction",
            "mechscope heads -m induction -p qwertyqwe --head L1.H2",
        ],
    ),
    (
        "neurons",
        &[
            "mechscope neurons -p 'The city of Dallas is in' --position 4 --layer 1",
            "mechscope neurons -p 'The city of Dallas is in' --position 4 --neuron L1.N33",
        ],
    ),
    (
        "features",
        &[
            "mechscope features -p 'The city of Dallas is in' --position 4",
            "mechscope features -p 'The city of Dallas is in' --position 4 --feature L1.F877",
        ],
    ),
    ("qk", &["mechscope qk -m induction -p qwertyqwer --head L1.H2"]),
    (
        "intervene",
        &[
            "mechscope intervene -m induction -p qwertyqwe --edit L1.H2=0",
            "mechscope intervene -p 'The capital of the state containing Dallas is' -e L1.N33=0 -e L1.N37@7=3",
        ],
    ),
    (
        "generate",
        &[
            "mechscope generate -p 'The capital of the state containing' --tokens 8",
            "mechscope generate -m model.gguf -p 'Tell me a story.' --chat --temperature 0.8 --seed 7",
        ],
    ),
    (
        "trace",
        &[
            "mechscope trace -p 'The keys to the cabinet' -o run.safetensors",
            "mechscope trace -p 'The keys' --sites 'blocks.*.attn.hook_pattern' -o patterns.safetensors",
        ],
    ),
    (
        "graph",
        &[
            "mechscope graph -p 'The capital of the state containing Dallas is'",
            "mechscope graph -p 'The keys to the cabinet' --target ' are' --contrast ' is' -o graph.json",
            "mechscope graph -p 'The capital of the state containing Dallas is' --nodes features -o graph.svg",
        ],
    ),
    (
        "view",
        &[
            "mechscope view graph.json",
            "mechscope view graph.json --format text --depth 2",
            "mechscope view graph.json --check",
        ],
    ),
    (
        "verify",
        &["mechscope verify graph.json --top 20 --heads", "mechscope verify graph.json --with mean -o tested.json"],
    ),
    (
        "patch",
        &[
            "mechscope patch -p 'The keys to the cabinet' --corrupt 'The key to the cabinet'",
            "mechscope patch --set builtin:ioi --site z",
        ],
    ),
    (
        "path",
        &[
            "mechscope path -p 'The keys to the cabinet' --corrupt 'The key to the cabinet'",
            "mechscope path --set builtin:two-hop --receivers L2.H1.v,L2.H2.v",
        ],
    ),
    (
        "circuit",
        &[
            "mechscope circuit -p 'The keys to the cabinet' --corrupt 'The key to the cabinet'",
            "mechscope circuit --set builtin:two-hop --method eap --edges 50 --save scores.json",
        ],
    ),
    ("weights", &["mechscope weights L1.H2 -m induction", "mechscope weights L1.N33"]),
    (
        "trust",
        &[
            "mechscope trust -p 'The capital of the state containing Dallas is' --units heads",
            "mechscope trust --set builtin:opposites --against mean",
        ],
    ),
    (
        "loadings",
        &[
            "mechscope loadings graph.json --head L1.H2",
            "mechscope loadings graph.json --from embed@5 --to logit:20@10",
        ],
    ),
    ("sweep", &["mechscope sweep local corpus.txt -o evidence"]),
    ("sweep plan", &["mechscope sweep plan -m hello corpus/ -o planned --shards 16"]),
    ("sweep run", &["mechscope sweep run planned --shards 3/16"]),
    ("sweep status", &["mechscope sweep status planned"]),
    ("sweep merge", &["mechscope sweep merge planned"]),
    ("sweep export", &["mechscope sweep export evidence --format circuit-tracer --layer 1 -o features"]),
    ("sweep local", &["mechscope sweep local -m hello corpus.txt --documents line -o evidence"]),
    ("unit", &["mechscope unit L1.N33 --index evidence"]),
    ("search", &["mechscope search Texas --index evidence"]),
    (
        "label",
        &[
            "mechscope label L1.N33 --index evidence --endpoint http://localhost:8080/v1",
            "mechscope label --index evidence --import batch-0.jsonl",
        ],
    ),
    ("tour", &["mechscope tour", "mechscope tour 3"]),
    ("methods", &["mechscope methods"]),
    ("models", &["mechscope models", "mechscope models --model HuggingFaceTB/SmolLM2-135M-Instruct"]),
    ("doctor", &["mechscope doctor"]),
    ("keys", &["mechscope keys", "mechscope keys --keymap vim"]),
    ("config", &["mechscope config", "mechscope config --theme mono"]),
    ("completions", &["mechscope completions bash > mechscope.bash"]),
    ("man", &["mechscope man | man -l -", "mechscope man graph | man -l -"]),
    ("session", &["mechscope session list"]),
    ("session log", &["mechscope session log", "mechscope session log 2"]),
    ("session list", &["mechscope session list"]),
    ("session export", &["mechscope session export -o notes.md", "mechscope session export 2 --run"]),
];

/// The command line's own definition, with examples in the help of every command.
pub fn program() -> Command {
    with_examples(Cli::command(), "")
}

/// Reads the arguments of the process; help, version and mistakes end it.
pub fn parse() -> Cli {
    Cli::from_arg_matches(&program().get_matches()).unwrap_or_else(|e| e.exit())
}

fn with_examples(command: Command, name: &str) -> Command {
    let names: Vec<String> = command.get_subcommands().map(|sub| sub.get_name().to_owned()).collect();
    let command = names.iter().fold(command, |command, sub| {
        let path = format!("{name} {sub}");
        command.mut_subcommand(sub, |sub| with_examples(sub, path.trim_start()))
    });
    let Some((_, examples)) = EXAMPLES.iter().find(|(known, _)| *known == name) else { return command };
    let examples = format!("Examples:\n  {}", examples.join("\n  "));
    let before = |text: Option<String>| text.map_or(examples.clone(), |text| format!("{examples}\n\n{text}"));
    let short = command.get_after_help().map(ToString::to_string);
    let long = command.get_after_long_help().map(ToString::to_string);
    let command = match long {
        Some(long) => command.after_long_help(before(Some(long))),
        None => command,
    };
    command.after_help(before(short))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn commands(command: &Command, name: &str, found: &mut Vec<(String, Command)>) {
        found.push((name.to_owned(), command.clone()));
        for sub in command.get_subcommands() {
            commands(sub, format!("{name} {}", sub.get_name()).trim_start(), found);
        }
    }

    /// The words of a line as a shell parts them, up to a pipe or a redirection; those before a pipe into the program are left out.
    fn words(line: &str) -> Vec<String> {
        let line = line.find("mechscope").map_or(line, |at| &line[at..]);
        let (mut words, mut word, mut quoted) = (Vec::new(), None::<String>, false);
        for c in line.chars() {
            match c {
                '\'' => {
                    quoted = !quoted;
                    word.get_or_insert_default();
                }
                ' ' if !quoted => words.extend(word.take()),
                '|' | '>' if !quoted => return words,
                c => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_command_has_examples_that_are_understood_and_are_of_it() {
        let mut all = Vec::new();
        commands(&program(), "", &mut all);
        assert!(all.len() > 30);
        for (name, mut command) in all {
            let (_, examples) =
                EXAMPLES.iter().find(|(known, _)| *known == name).unwrap_or_else(|| panic!("{name:?} has no examples"));
            let short = command.render_help().to_string();
            let long = command.render_long_help().to_string();
            for example in *examples {
                assert!(example.len() <= 98, "{example} is broken in two on a terminal of 100 columns");
                let words = words(example);
                assert!(
                    words.join(" ").starts_with(format!("mechscope {name}").trim_end()),
                    "{example} is not of {name}"
                );
                program().try_get_matches_from(&words).unwrap_or_else(|e| panic!("{example}: {e}"));
            }
            assert!(short.contains("Examples:") && long.contains("Examples:"), "{name}");
        }
        for (name, _) in EXAMPLES {
            let known =
                name.split(' ').filter(|w| !w.is_empty()).try_fold(program(), |c, w| c.find_subcommand(w).cloned());
            assert!(known.is_some(), "no command is called {name}");
        }
    }
}
