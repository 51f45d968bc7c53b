//! The house rules that no compiler checks: imports go down, files are named and sized as agreed.

use std::fs;
use std::path::{Path, PathBuf};

/// The modules, bottom floor first. A module may import from its own floor and from those below it.
const FLOORS: [&[&str]; 14] = [
    &["address", "builtin", "cast", "files", "prompt_set"],
    &["model"],
    &["replacement"],
    &["report"],
    &["graph"],
    &["corpus"],
    &["analysis"],
    &["engine", "experiment"],
    &["terminal"],
    &["action", "keymap"],
    &["app"],
    &["view"],
    &["run"],
    &["cli", "config", "paths", "log"],
];

/// Modules below that are out of bounds all the same: what is drawn and what is decided stays free of devices and weights.
const NEVER: [(&str, &[&str]); 2] =
    [("view", &["engine", "terminal", "model", "replacement"]), ("app", &["terminal", "model", "replacement"])];

/// Files that may be longer than [`MAX_LINES`], each with its reason.
const LONG_FILES: [(&str, &str); 0] = [];

const MAX_LINES: usize = 500;

fn floor(module: &str) -> Option<usize> {
    FLOORS.iter().position(|modules| modules.contains(&module))
}

/// What is wrong with one file; `path` is relative to `src` and written with slashes.
fn violations(path: &str, source: &str) -> Vec<String> {
    let mut found = Vec::new();
    let stem = path.split('/').next_back().unwrap_or(path);
    if stem == "mod.rs" {
        found.push(format!("{path}: a module is name.rs beside name/, not mod.rs"));
    }
    let lines = source.lines().count();
    if lines > MAX_LINES && !LONG_FILES.iter().any(|(long, _)| *long == path) {
        found.push(format!("{path}: {lines} lines, at most {MAX_LINES} without a reason in LONG_FILES"));
    }
    let owner = path.split('/').next().unwrap_or(path).trim_end_matches(".rs");
    if ["main", "lib"].contains(&owner) {
        return found;
    }
    let Some(own_floor) = floor(owner) else {
        found.push(format!("{path}: module {owner} has no floor in FLOORS"));
        return found;
    };
    for module in imports(path, source) {
        let never = NEVER.iter().any(|(from, to)| *from == owner && to.contains(&module.as_str()));
        if never || floor(&module).is_some_and(|floor| floor > own_floor) {
            found.push(format!("{path}: {owner} must not import {module}"));
        }
    }
    found
}

/// The top-level modules that a file names, by `crate::` or by as many `super::` as lead to the root.
fn imports(path: &str, source: &str) -> Vec<String> {
    let code = code_of(source);
    let mut modules: Vec<String> =
        code.match_indices("crate::").flat_map(|(at, word)| heads(&code[at + word.len()..])).collect();
    // Inside an inline module `super` leads less far; those are test modules, at the end of a file.
    let outer = code.find("mod tests").map_or(&code[..], |end| &code[..end]);
    let to_root = "super::".repeat(path.split('/').count());
    modules.extend(outer.match_indices(&to_root).flat_map(|(at, word)| heads(&outer[at + word.len()..])));
    modules.retain(|module| floor(module).is_some());
    modules.sort();
    modules.dedup();
    modules
}

/// The first names of a path or of a `{group}` of paths.
fn heads(rest: &str) -> Vec<String> {
    let name =
        |text: &str| text.trim_start().chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let Some(group) = rest.strip_prefix('{') else {
        return vec![name(rest)];
    };
    let mut depth = 0;
    let mut starts = vec![0];
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => starts.push(at + 1),
            _ => {}
        }
    }
    starts.into_iter().map(|start| name(&group[start..])).collect()
}

/// A source file without comments and without what is in quotes.
fn code_of(source: &str) -> String {
    let mut code = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(c) = rest.chars().next() {
        let skipped = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            block_comment(rest)
        } else if c == '"' {
            quoted(rest)
        } else if rest.starts_with("r\"") || rest.starts_with("r#") {
            raw_string(rest)
        } else if c == '\'' {
            character(rest)
        } else {
            0
        };
        if skipped == 0 {
            code.push(c);
            rest = &rest[c.len_utf8()..];
        } else {
            code.push(' ');
            rest = &rest[skipped..];
        }
    }
    code
}

fn block_comment(text: &str) -> usize {
    let mut depth = 0;
    for (at, _) in text.char_indices() {
        if text[at..].starts_with("/*") {
            depth += 1;
        } else if text[at..].starts_with("*/") {
            depth -= 1;
            if depth == 0 {
                return at + 2;
            }
        }
    }
    text.len()
}

fn quoted(text: &str) -> usize {
    let mut escaped = false;
    for (at, c) in text.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => return at + 1,
            _ => {}
        }
    }
    text.len()
}

fn raw_string(text: &str) -> usize {
    let hashes = text[1..].chars().take_while(|c| *c == '#').count();
    let open = 1 + hashes;
    if !text[open..].starts_with('"') {
        return 0; // A raw identifier.
    }
    let close = format!("\"{}", "#".repeat(hashes));
    text[open + 1..].find(&close).map_or(text.len(), |at| open + 1 + at + close.len())
}

/// The length of a character literal; 0 for a lifetime.
fn character(text: &str) -> usize {
    let inside = &text[1..];
    if let Some(escape) = inside.strip_prefix('\\') {
        return escape.char_indices().skip(1).find(|(_, c)| *c == '\'').map_or(0, |(at, _)| at + 3);
    }
    let mut chars = inside.chars();
    match (chars.next(), chars.next()) {
        (Some(c), Some('\'')) => 2 + c.len_utf8(),
        _ => 0,
    }
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn the_house_is_in_order() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    assert!(files.len() > 10, "{} files under {}", files.len(), src.display());
    let mut found = Vec::new();
    for file in files {
        let parts: Vec<_> = file.strip_prefix(&src).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        found.extend(violations(&parts.join("/"), &fs::read_to_string(&file).unwrap()));
    }
    found.sort();
    assert!(found.is_empty(), "\n{}", found.join("\n"));
}

#[test]
fn planted_arrows_are_found() {
    for (path, source, expected) in [
        ("model/text.rs", "use crate::report::Table;", "model/text.rs: model must not import report"),
        ("address.rs", "fn f() -> crate::model::Model {}", "address.rs: address must not import model"),
        ("report.rs", "use crate::{address::Address, graph};", "report.rs: report must not import graph"),
        (
            "graph/tree.rs",
            "use crate::{\n    report::{Table, Grid},\n    engine,\n};",
            "graph/tree.rs: graph must not import engine",
        ),
        ("report/text.rs", "use super::super::graph::Node;", "report/text.rs: report must not import graph"),
        ("engine.rs", "use super::view;", "engine.rs: engine must not import view"),
        (
            "model.rs",
            "const A: char = '\"'; use crate::cli; const B: &str = \"\";",
            "model.rs: model must not import cli",
        ),
        ("model.rs", "fn f<'a>(x: &'a str) { crate::run::go(x) }", "model.rs: model must not import run"),
        ("view/table.rs", "use crate::model::Model;", "view/table.rs: view must not import model"),
        ("app.rs", "use crate::terminal;", "app.rs: app must not import terminal"),
        ("extras.rs", "", "extras.rs: module extras has no floor in FLOORS"),
        ("model/mod.rs", "", "model/mod.rs: a module is name.rs beside name/, not mod.rs"),
    ] {
        assert_eq!(violations(path, source), [expected], "{source}");
    }
    let long = "\n".repeat(501);
    assert_eq!(violations("model.rs", &long), ["model.rs: 501 lines, at most 500 without a reason in LONG_FILES"]);
}

#[test]
fn what_is_allowed_is_not_reported() {
    for (path, source) in [
        ("report.rs", "use crate::address::Address; use crate::model::text; use crate::report::text;"),
        ("model.rs", "use crate::builtin;"),
        ("keymap.rs", "use crate::action::Action;"),
        ("app.rs", "use crate::engine; use crate::analysis;"),
        ("main.rs", "use mechscope::cli; fn f() { crate::cli::run() }"),
        ("lib.rs", "pub mod anything;"),
        ("model.rs", "//! See [`crate::view`].\n/* crate::view /* nested */ crate::view */ pub(crate) fn f() {}"),
        ("model.rs", "const A: &str = \"crate::view \\\" crate::view\"; const B: &str = r#\"\" crate::view\"#;"),
        ("report.rs", "#[cfg(test)]\nmod tests { use super::graph; }"),
        ("model/text.rs", "use super::graph;"),
        ("model.rs", &"\n".repeat(500)),
    ] {
        assert_eq!(violations(path, source), [""; 0], "{source}");
    }
}

/// The paths from the root that a file names by `crate::` or `super::`; `module` is the file's own path.
fn named_paths(module: &[String], source: &str) -> Vec<Vec<String>> {
    let code = code_of(source);
    // Inside an inline module `super` leads less far; those are test modules, at the end of a file.
    let code = code.find("mod tests").map_or(&code[..], |end| &code[..end]);
    let mut found = Vec::new();
    for (at, _) in code.match_indices("crate::") {
        tree(&code[at + "crate::".len()..], &mut Vec::new(), &mut found);
    }
    for (at, word) in code.match_indices("super::") {
        if code[..at].ends_with("super::") {
            continue;
        }
        let (mut rest, mut base) = (&code[at + word.len()..], module.to_vec());
        base.pop();
        while let Some(further) = rest.strip_prefix(word) {
            rest = further;
            base.pop();
        }
        tree(rest, &mut base, &mut found);
    }
    found
}

/// Adds the paths of one import tree: `a::b`, `a::{b, c::d}`.
fn tree<'a>(mut rest: &'a str, path: &mut Vec<String>, found: &mut Vec<Vec<String>>) -> &'a str {
    let depth = path.len();
    loop {
        rest = rest.trim_start();
        if let Some(group) = rest.strip_prefix('{') {
            rest = group;
            loop {
                rest = tree(rest, path, found).trim_start();
                match rest.strip_prefix(',') {
                    Some(more) if !more.trim_start().starts_with('}') => rest = more,
                    more => {
                        rest = more.unwrap_or(rest).trim_start();
                        path.truncate(depth);
                        return rest.strip_prefix('}').unwrap_or(rest);
                    }
                }
            }
        }
        let name: String = rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        rest = &rest[name.len()..];
        path.push(name);
        match rest.strip_prefix("::") {
            Some(further) => rest = further,
            None => break,
        }
    }
    found.push(path.clone());
    path.truncate(depth);
    rest.trim_start().strip_prefix("as ").map_or(rest, |name| name.trim_start_matches(|c: char| c.is_alphanumeric()))
}

/// Groups of files that import each other in a circle. A module and what lies inside it count as one another's own.
fn circles(files: &[(String, String)]) -> Vec<Vec<String>> {
    let module = |path: &str| -> Vec<String> { path.trim_end_matches(".rs").split('/').map(str::to_owned).collect() };
    let modules: Vec<Vec<String>> = files.iter().map(|(path, _)| module(path)).collect();
    let arrows: Vec<Vec<usize>> = (0..files.len())
        .map(|from| {
            let paths = named_paths(&modules[from], &files[from].1);
            // The file that a path leads to is the deepest one that exists on it.
            let file = |path: &Vec<String>| {
                (1..=path.len()).rev().find_map(|n| modules.iter().position(|m| m[..] == path[..n]))
            };
            let apart =
                |to: &usize| !modules[from].starts_with(&modules[*to]) && !modules[*to].starts_with(&modules[from]);
            paths.iter().filter_map(file).filter(apart).collect()
        })
        .collect();
    let reaches = |from: usize| {
        let (mut seen, mut open) = (vec![false; files.len()], vec![from]);
        while let Some(at) = open.pop() {
            for &to in &arrows[at] {
                if !std::mem::replace(&mut seen[to], true) {
                    open.push(to);
                }
            }
        }
        seen
    };
    let reach: Vec<Vec<bool>> = (0..files.len()).map(reaches).collect();
    let mut found = Vec::new();
    let mut told = vec![false; files.len()];
    for a in 0..files.len() {
        if told[a] || !reach[a][a] {
            continue;
        }
        let circle: Vec<usize> = (0..files.len()).filter(|&b| reach[a][b] && reach[b][a]).collect();
        circle.iter().for_each(|&b| told[b] = true);
        found.push(circle.into_iter().map(|b| files[b].0.clone()).collect());
    }
    found
}

#[test]
fn no_files_import_each_other_in_a_circle() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let named = |file: &PathBuf| {
        let parts: Vec<_> = file.strip_prefix(&src).unwrap().iter().map(|part| part.to_str().unwrap()).collect();
        (parts.join("/"), fs::read_to_string(file).unwrap())
    };
    let found = circles(&files.iter().map(named).collect::<Vec<_>>());
    let text: Vec<String> = found.iter().map(|circle| circle.join(" - ")).collect();
    assert!(found.is_empty(), "files that import each other:\n{}", text.join("\n"));
}

#[test]
fn planted_circles_are_found() {
    let files = |all: &[(&str, &str)]| all.iter().map(|(p, s)| ((*p).to_owned(), (*s).to_owned())).collect::<Vec<_>>();
    let circle = files(&[
        ("graph/a.rs", "use super::b::B;"),
        ("graph/b.rs", "use crate::graph::{c::{self, D}, e};"),
        ("graph/c.rs", "fn f() -> super::a::A {}"),
        ("graph/e.rs", "// super::a::A"),
    ]);
    assert_eq!(circles(&circle), [["graph/a.rs", "graph/b.rs", "graph/c.rs"]]);
    // Inside a room, however deep, by any way of naming a file.
    let deep = files(&[
        ("graph/format/json/a.rs", "use super::b::B;"),
        ("graph/format/json/b.rs", "use crate::graph::format::svg::c;"),
        ("graph/format/svg/c.rs", "use super::super::json::a::A;"),
    ]);
    assert_eq!(circles(&deep), [["graph/format/json/a.rs", "graph/format/json/b.rs", "graph/format/svg/c.rs"]]);
    let none = files(&[
        ("graph.rs", "use crate::graph::a::A;"),
        ("graph/a.rs", "use super::Graph; use super::b as x; mod tests { use super::super::a; }"),
        ("graph/b.rs", "use crate::graph::Graph;"),
    ]);
    assert!(circles(&none).is_empty());
}

/// The longest a function may be, its signature and last brace included.
const LONGEST_FUNCTION: usize = 80;

/// Functions of a source that rustfmt laid out: name and length, for those that are too long.
fn long_functions(source: &str) -> Vec<(String, usize)> {
    let lines: Vec<&str> = source.lines().collect();
    let mut found = Vec::new();
    for (start, line) in lines.iter().enumerate() {
        let code = line.trim_start();
        let indent = &line[..line.len() - code.len()];
        let Some((before, name)) = code.split_once("fn ") else { continue };
        let modifier = |word: &str| ["pub", "const", "unsafe"].contains(&word.split('(').next().unwrap_or(word));
        if !before.split_whitespace().all(modifier) {
            continue;
        }
        let name: String = name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
        let end = format!("{indent}}}");
        let length = lines[start..].iter().position(|line| *line == end).map_or(0, |last| last + 1);
        // A function without a body, or with one on its own line, ends there.
        if !code.ends_with(';') && !code.ends_with('}') && length > LONGEST_FUNCTION {
            found.push((name, length));
        }
    }
    found
}

#[test]
fn functions_can_be_read_in_one_go() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let mut found = Vec::new();
    for file in files {
        for (name, length) in long_functions(&fs::read_to_string(&file).unwrap()) {
            found.push(format!("{}: fn {name} has {length} lines, at most {LONGEST_FUNCTION}", file.display()));
        }
    }
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let planted = format!("impl A {{\n    pub(super) fn long(&self) {{\n{}    }}\n}}\n", "        x();\n".repeat(79));
    assert_eq!(long_functions(&planted), [("long".to_owned(), 81)]);
}

/// Type names that tell nothing where they are used.
const VAGUE: [&str; 10] = ["With", "Ways", "What", "Acts", "How", "Entry", "Row", "Layer", "Settings", "Place"];

/// The types that a source laid out by rustfmt defines outside functions and inner modules: name, and whether it is public.
fn types(source: &str) -> Vec<(String, bool)> {
    let keywords = ["struct ", "enum ", "trait ", "type ", "union "];
    let named = |line: &str| {
        let public = line.starts_with("pub ");
        let rest = line.strip_prefix("pub").map_or(line, |rest| rest.trim_start_matches(|c| c != ' ').trim_start());
        let name = keywords.iter().find_map(|word| rest.strip_prefix(word))?;
        Some((name.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect(), public))
    };
    source.lines().filter_map(named).collect()
}

/// Type names that say nothing, and public ones that are used more than once.
fn poor_names(files: &[(String, String)]) -> Vec<String> {
    let mut found = Vec::new();
    let mut public: Vec<(String, &str)> = Vec::new();
    for (path, source) in files {
        for (name, is_public) in types(source) {
            if VAGUE.contains(&name.as_str()) {
                found.push(format!("{path}: {name} says too little for the name of a type"));
            } else if is_public {
                if let Some((_, other)) = public.iter().find(|(seen, _)| *seen == name) {
                    found.push(format!("{path}: {name} is public in {other} already"));
                }
                public.push((name, path));
            }
        }
    }
    found
}

#[test]
fn a_public_name_is_used_once() {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    let read =
        |file: &PathBuf| (file.strip_prefix(&src).unwrap().display().to_string(), fs::read_to_string(file).unwrap());
    let found = poor_names(&files.iter().map(read).collect::<Vec<_>>());
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let planted =
        [("a.rs", "pub struct Plan {\n}\nenum How {}"), ("b.rs", "pub enum Plan {}\npub(super) struct Plan;")];
    let planted = planted.map(|(path, source)| (path.to_owned(), source.to_owned()));
    let expected = ["a.rs: How says too little for the name of a type", "b.rs: Plan is public in a.rs already"];
    assert_eq!(poor_names(&planted), expected);
}

/// The numbers of invariants and traps in ARCHITECTURE.md that no test says it checks, and those that a test names and the file does not have.
fn unchecked(architecture: &str, tests: &[String]) -> Vec<String> {
    let numbers = |text: &str| -> Vec<String> {
        let words = text.split(|c: char| !c.is_alphanumeric());
        let number = |word: &&str| {
            let mut chars = word.chars();
            matches!(chars.next(), Some('I' | 'T')) && word.len() > 1 && chars.all(|c| c.is_ascii_digit())
        };
        words.filter(number).map(str::to_owned).collect()
    };
    let listed: Vec<String> = architecture
        .lines()
        .filter_map(|line| line.split_once(". **").filter(|(n, _)| n.parse::<usize>().is_ok()))
        .filter_map(|(_, rest)| numbers(rest.split("**").next()?).into_iter().next())
        .collect();
    let cited: Vec<String> = tests
        .iter()
        .flat_map(|test| test.lines().filter_map(|line| line.trim_start().strip_prefix("// Checks ")).flat_map(numbers))
        .collect();
    let missing = listed.iter().filter(|n| !cited.contains(n)).map(|n| format!("no test says that it checks {n}"));
    let unknown = cited.iter().filter(|n| !listed.contains(n)).map(|n| format!("{n} is not in ARCHITECTURE.md"));
    missing.chain(unknown).collect()
}

#[test]
fn every_invariant_and_trap_is_checked_by_a_test() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let architecture = fs::read_to_string(root.join("ARCHITECTURE.md")).unwrap();
    let mut files = Vec::new();
    sources(&root.join("tests"), &mut files);
    let tests: Vec<String> = files.iter().map(|file| fs::read_to_string(file).unwrap()).collect();
    let found = unchecked(&architecture, &tests);
    assert!(found.is_empty(), "\n{}", found.join("\n"));
    let planted =
        unchecked("1. **I1, a.** b\n2. **T2.** c", &["    // Checks I1 and I3 of ARCHITECTURE.md.".to_owned()]);
    assert_eq!(planted, ["no test says that it checks T2", "I3 is not in ARCHITECTURE.md"]);
    assert_eq!(unchecked("1. **I1, a.**", &["// Checks I1".to_owned()]), [""; 0]);
}
