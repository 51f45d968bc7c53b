//! `mechscope config`: the settings that hold, and where each comes from.

// Config directories elsewhere are not where XDG_CONFIG_HOME says.
#![cfg(target_os = "linux")]

mod program;

use program::{Ran, program, run};
use std::path::Path;

/// Runs `mechscope config` on a config directory of its own.
fn config(folder: &Path, environment: &[(&str, &str)], args: &[&str]) -> Ran {
    let mut command = program(&[&["config"], args].concat());
    command
        .env("HOME", folder)
        .env("XDG_CONFIG_HOME", folder.join("config"))
        .env("TERM", "xterm")
        .env_remove("NO_COLOR");
    command.env_remove("COLORTERM").envs(environment.iter().copied());
    run(command, b"")
}

fn write(folder: &Path, text: &str) {
    let folder = folder.join("config/mechscope");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("config.toml"), text).unwrap();
}

/// The lines, with one space where there are several.
fn lines(ran: &Ran) -> Vec<String> {
    let words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    ran.output().lines().map(words).collect()
}

#[test]
fn the_effective_settings_name_their_source() {
    let home = tempfile::tempdir().unwrap();
    let file = home.path().join("config/mechscope/config.toml").display().to_string();
    let defaults = ["theme = \"auto\"", "ascii = false", "mouse = false", "model = \"hello\"", "keymap = []"];
    let defaults = defaults.map(|d| format!("{d} # default"));
    let nothing = config(home.path(), &[], &[]);
    assert_eq!(lines(&nothing), [&[format!("# {file}")], &defaults[..]].concat());

    write(home.path(), "mouse = true\nkeymap = [\"vim\", \"arrows\"]\nmodel = \"induction\"\n");
    let ran = config(home.path(), &[("NO_COLOR", "1")], &["--ascii", "--keymap", "emacs"]);
    let want = [
        format!("# {file}"),
        "theme = \"mono\" # NO_COLOR".into(),
        "ascii = true # --ascii".into(),
        format!("mouse = true # {file}:1"),
        format!("model = \"induction\" # {file}:3"),
        "keymap = [\"emacs\"] # --keymap".into(),
    ];
    assert_eq!(lines(&ran), want);
    // What is named comes before NO_COLOR, on the command line and in the file.
    let theme = |environment: &[(&str, &str)], args: &[&str]| lines(&config(home.path(), environment, args))[1].clone();
    assert_eq!(theme(&[("NO_COLOR", "1")], &["--theme", "terminal"]), "theme = \"terminal\" # --theme");
    assert_eq!(theme(&[("TERM", "dumb")], &[]), "theme = \"mono\" # TERM=dumb");
    assert_eq!(theme(&[("NO_COLOR", "")], &[]), "theme = \"auto\" # default");
    write(home.path(), "theme = \"terminal\"\n");
    assert_eq!(theme(&[("NO_COLOR", "1")], &[]), format!("theme = \"terminal\" # {file}:1"));
}

#[test]
fn what_is_printed_is_a_file_of_settings() {
    let home = tempfile::tempdir().unwrap();
    let args = ["--theme", "mono", "--ascii", "--mouse", "--keymap", "vim", "--keymap", "arrows"];
    let first = config(home.path(), &[], &args);
    write(home.path(), first.output());
    let again = config(home.path(), &[], &[]);
    let values = |ran: &Ran| -> Vec<String> {
        lines(ran).iter().skip(1).map(|l| l.split(" #").next().unwrap().to_owned()).collect()
    };
    assert_eq!(values(&again), values(&first));
    assert!(values(&again).contains(&"keymap = [\"vim\", \"arrows\"]".to_owned()), "{}", again.out);
}

#[test]
fn mistakes_say_what_is_accepted() {
    let home = tempfile::tempdir().unwrap();
    for (args, says) in
        [(&["--theme", "pink"][..], "accepted: auto, mono, terminal"), (&["--keymap", "vi"], "vim, emacs")]
    {
        let ran = config(home.path(), &[], args);
        assert!(ran.code != Some(0) && ran.out.is_empty() && ran.err.contains(says), "{args:?}: {}", ran.err);
    }
    write(home.path(), "thme = \"mono\"\n");
    let ran = config(home.path(), &[], &[]);
    assert!(ran.code == Some(1) && ran.err.contains("config.toml:1: thme"), "{}", ran.err);
}
