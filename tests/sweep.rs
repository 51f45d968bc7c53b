//! Sweeps over a corpus: the same bytes from any number of shards and workers, numbers that a forward pass has, and nothing that is lost or counted twice.

mod program;

use mechscope::corpus::histogram::{BINS, bin};
use mechscope::corpus::merge::{merge, write};
use mechscope::corpus::part;
use mechscope::corpus::plan::{INDEX, Plan};
use mechscope::corpus::spec::{Documents, Spec};
use mechscope::corpus::worker::Worker;
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::{BlockSite, Site, Sites};
use program::{arg, mechscope, program};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

fn open(name: &str) -> Model {
    Model::open(name, Options::default(), Box::new(|_, _| {})).unwrap()
}

fn model(name: &str) -> String {
    program::model(name).display().to_string()
}

/// A corpus of two files: lines that name a subject now and then, and JSON lines with texts and with token ids.
fn corpus(folder: &Path) -> Vec<PathBuf> {
    let words = ["king", "people", "night", "day", "said to the", "went", "and the", "river", "of", "a small house"];
    let line = |n: usize| {
        (0..3 + n % 7).map(|i| words[(n * 7 + i * i * 3 + n / 5) % words.len()]).collect::<Vec<_>>().join(" ")
    };
    let (text, json) = (folder.join("lines.txt"), folder.join("more.jsonl"));
    std::fs::write(&text, (0..80).map(|n| format!("The {}\n", line(n))).collect::<String>()).unwrap();
    let documents = (0..40).map(|n| match n % 4 {
        0 => format!("{{\"text\": {:?}}}\n", (1..4 + n as u32 % 9).collect::<Vec<_>>()),
        _ => format!("{{\"other\": 1, \"text\": {:?}}}\n", [line(n), line(n + 1), line(n + 2)].join(".\n")),
    });
    std::fs::write(&json, documents.collect::<String>()).unwrap();
    vec![text, json]
}

fn spec(model: String, corpus: Vec<PathBuf>) -> Spec {
    Spec {
        model,
        corpus,
        documents: Documents::Line,
        ctx: 16,
        block: 300,
        batch: 128,
        top: 4,
        window: 6,
        tokens: 5,
        sketch: 8,
        seed: 3,
        ..Spec::default()
    }
}

/// Plans a sweep in a folder and runs all of its shards.
fn swept(spec: &Spec, shards: usize, folder: &Path) -> Plan {
    let plan = Plan::new(spec.clone(), Some(shards)).unwrap().keep(folder).unwrap();
    let model = open(&plan.spec.model);
    let worker = Worker::new(&plan, &model).unwrap();
    for shard in 0..plan.shards.len() {
        worker.run(folder, shard, &mut |_, _| Ok(())).unwrap();
    }
    plan
}

fn merged(parts: &[PathBuf], to: &Path) -> Vec<u8> {
    write(&merge(parts, &mut |_, _| Ok(())).unwrap(), to).unwrap();
    std::fs::read(to).unwrap()
}

#[test]
fn any_number_of_shards_and_any_tree_of_merges_give_the_same_bytes() {
    for (name, packed) in [("tiny-llama", false), ("tiny-gpt2", true)] {
        let folder = tempfile::tempdir().unwrap();
        let spec = Spec { packed, ..spec(model(name), corpus(folder.path())) };
        let at = |name: &str| folder.path().join(name);
        swept(&spec, 1, &at("one"));
        let plan = swept(&spec, 7, &at("seven"));
        assert_eq!(plan.shards.len(), 7);
        let parts: Vec<PathBuf> = (0..7).map(|shard| plan.part(&at("seven"), shard)).collect();

        let one = merged(&[Plan::read(&at("one")).unwrap().part(&at("one"), 0)], &at("a"));
        assert_eq!(merged(&parts, &at("b")), one, "{name}: in order");
        let backwards: Vec<PathBuf> = parts.iter().rev().cloned().collect();
        assert_eq!(merged(&backwards, &at("c")), one, "{name}: backwards");
        merged(&[parts[5].clone(), parts[1].clone()], &at("d"));
        merged(&[at("d"), parts[0].clone(), parts[6].clone()], &at("e"));
        merged(&[parts[4].clone(), parts[2].clone()], &at("f"));
        assert_eq!(merged(&[at("f"), parts[3].clone(), at("e")], &at("g")), one, "{name}: a tree");
    }
}

#[test]
fn nothing_is_counted_twice_and_nothing_strange_is_added() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let spec = spec(model("tiny-gpt2"), corpus(folder.path()));
    let plan = swept(&spec, 3, &at("sweep"));
    let other = swept(&Spec { seed: 4, ..spec.clone() }, 3, &at("other"));
    let part = |shard| plan.part(&at("sweep"), shard);
    let refused = |parts: &[PathBuf]| format!("{:#}", merge(parts, &mut |_, _| Ok(())).unwrap_err());

    assert!(refused(&[part(0), part(0)]).contains("are in two of the parts: nothing is counted twice"));
    merged(&[part(0), part(1)], &at("both"));
    assert!(refused(&[at("both"), part(2), part(1)]).contains("are in two of the parts"));
    assert!(refused(&[part(0), other.part(&at("other"), 1)]).contains("it is of another sweep: its spec has the hash"));

    // A plan of the same sweep is kept, that of another one refused.
    let again = Plan::new(spec.clone(), Some(2)).unwrap().keep(&at("sweep")).unwrap();
    assert_eq!(again.shards.len(), 3);
    let error = Plan::new(Spec { seed: 4, ..spec }, Some(3)).unwrap().keep(&at("sweep")).unwrap_err().to_string();
    assert!(error.contains("holds another sweep"), "{error}");
}

#[test]
fn a_partial_index_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let spec = spec(model("tiny-gpt2"), corpus(folder.path()));
    let plan = swept(&spec, 3, &at("sweep"));
    std::fs::remove_file(plan.part(&at("sweep"), 1)).unwrap();
    let sweep = at("sweep");
    let whole = mechscope(&["sweep", "merge", arg(&sweep), "--whole"]);
    assert!(whole.err.contains("bytes of the corpus are there"), "{}", whole.err);
    let ran = mechscope(&["sweep", "merge", arg(&sweep)]);
    assert!(ran.err.contains("partial: "), "{}", ran.err);
    let page = mechscope(&["unit", "L0.N1", "--index", arg(&sweep), "--format", "json"]).json();
    assert_eq!(page["partial"], true);
    let status = mechscope(&["sweep", "status", arg(&sweep), "--format", "json"]).json();
    assert_eq!((&status["done"], &status["missing"]), (&2.into(), &1.into()));
}

/// Every context of the corpus, run by itself.
fn activations(model: &Model, contexts: &[(u64, u32, Vec<u32>)], layer: usize) -> Vec<Vec<f32>> {
    let site = Site::Block(layer, BlockSite::MlpPost);
    let run = |(_, _, ids): &(u64, u32, Vec<u32>)| {
        model.run(ids, &Sites::only([site]), Logits::None).unwrap().numbers(site).unwrap()
    };
    contexts.iter().map(run).collect()
}

#[test]
fn what_is_kept_is_what_forward_passes_have() {
    for name in ["tiny-llama", "tiny-gpt2"] {
        let folder = tempfile::tempdir().unwrap();
        // All examples are kept: so all contexts are.
        let spec = Spec { top: 200, ..spec(model(name), corpus(folder.path())) };
        let plan = swept(&spec, 2, &folder.path().join("sweep"));
        let parts: Vec<PathBuf> = (0..2).map(|shard| plan.part(&folder.path().join("sweep"), shard)).collect();
        let state = merge(&parts, &mut |_, _| Ok(())).unwrap();
        let model = open(&plan.spec.model);
        let contexts: Vec<_> = state.contexts.iter().map(|((doc, start), ids)| (*doc, *start, ids.clone())).collect();
        assert_eq!(contexts.len() as u64, state.header.n_contexts);
        let layer = 1;
        let runs = activations(&model, &contexts, layer);
        let (width, close) = (state.header.d_mlp, |a: f32, b: f32| (a - b).abs() <= 1e-5 * (1.0 + b.abs()));
        for (u, unit) in state.layers[layer].units.iter().enumerate() {
            let sign = |c: usize| if unit.cases.len() == 4 { [1.0, -1.0, -1.0, 1.0][c] } else { [1.0, -1.0][c] };
            let (mut n, mut sum) = (0, 0.0);
            for (contexts, run) in contexts.iter().zip(&runs) {
                (n, sum) = (1..contexts.2.len())
                    .fold((n, sum), |(n, sum), pos| (n + 1, sum + f64::from(run[pos * width + u])));
            }
            assert_eq!(n, state.header.n_tokens);
            let kept: f64 = unit.cases.iter().map(|case| case.sum.value()).sum();
            assert!((kept - sum).abs() < 1e-4 * (1.0 + sum.abs()), "{name} L{layer}.N{u}: {kept} for {sum}");
            for (c, case) in unit.cases.iter().enumerate() {
                assert!(case.top.windows(2).all(|pair| pair[0].value.abs() >= pair[1].value.abs()));
                for (rank, example) in case.top.iter().enumerate() {
                    let at = contexts.iter().position(|(doc, start, _)| (*doc, *start) == example.context()).unwrap();
                    let column = |pos: usize| runs[at][pos * width + u];
                    let pos = example.pos as usize;
                    assert!(close(example.value, column(pos)) && example.value * sign(c) > 0.0, "{name} L{layer}.N{u}");
                    assert_eq!(example.token, contexts[at].2[pos]);
                    // The window is what stands around it.
                    let window = &case.windows[rank * spec.window..(rank + 1) * spec.window];
                    for (i, kept) in window.iter().enumerate() {
                        match (pos + i).checked_sub(4).filter(|at_pos| *at_pos < contexts[at].2.len()) {
                            Some(there) => {
                                assert!((kept.to_f32() - column(there)).abs() < 2e-3 * (1.0 + column(there).abs()))
                            }
                            None => assert!(kept.is_nan()),
                        }
                    }
                }
            }
            brute_force(&contexts, &runs, u, width, unit);
        }
    }
}

/// The strongest position of every document, and the histogram, by going through all of them.
fn brute_force(
    contexts: &[(u64, u32, Vec<u32>)],
    runs: &[Vec<f32>],
    u: usize,
    width: usize,
    unit: &mechscope::corpus::unit::Unit,
) {
    if unit.cases.len() == 4 {
        return; // The sign does not tell which of two cases it is.
    }
    for (c, case) in unit.cases.iter().enumerate() {
        let (mut best, mut hist) = (HashMap::<u64, f32>::new(), [0u64; BINS]);
        for ((doc, _, ids), run) in contexts.iter().zip(runs) {
            let all = (1..ids.len()).map(|pos| run[pos * width + u]);
            for value in all.filter(|v| if c == 0 { *v > 0.0 } else { *v < 0.0 }) {
                let most = best.entry(*doc).or_default();
                *most = most.max(value.abs());
                if let Some(bin) = bin(value.abs()) {
                    hist[bin] += 1;
                }
            }
        }
        let mut best: Vec<f32> = best.into_values().collect();
        best.sort_by(|a, b| b.total_cmp(a));
        assert_eq!(case.top.len(), best.len(), "one example a document");
        let equal = |(example, most): (&mechscope::corpus::example::Example, &f32)| {
            (example.value.abs() - most).abs() < 1e-5 * (1.0 + most)
        };
        assert!(case.top.iter().zip(&best).all(equal), "N{u}");
        // A value within rounding of a bin's edge may stand on its other side.
        let moved: u64 = hist.iter().zip(&case.hist).map(|(a, b)| a.abs_diff(*b)).sum();
        assert!(moved <= 4, "N{u}: {moved} positions in other bins");
    }
}

#[test]
fn a_worker_killed_at_any_moment_changes_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let at = |name: &str| folder.path().join(name);
    let files = corpus(folder.path());
    let args = |out: &'static str, files: &[PathBuf]| -> Vec<String> {
        let name = model("tiny-gpt2");
        let fixed =
            ["sweep", "local", "-m", &name, "--documents", "line", "--ctx", "16", "--shards", "1", "--top", "4"];
        let places = files.iter().map(|file| file.display().to_string());
        fixed
            .iter()
            .map(ToString::to_string)
            .chain(["-o".to_owned(), at(out).display().to_string()])
            .chain(places)
            .collect()
    };
    let start = |out| {
        let args = args(out, &files);
        program(&args.iter().map(String::as_str).collect::<Vec<_>>())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    };
    assert!(start("whole").wait().unwrap().success());
    let whole = std::fs::read(at("whole").join(INDEX)).unwrap();
    for round in 0..12 {
        let mut child = start("killed");
        std::thread::sleep(Duration::from_millis(3 + 13 * round));
        // SIGKILL.
        let _ = child.kill();
        let _ = child.wait();
    }
    assert!(start("killed").wait().unwrap().success());
    assert!(std::fs::read(at("killed").join(INDEX)).unwrap() == whole);
}

#[cfg(unix)]
#[test]
fn the_local_driver_finishes_what_a_killed_worker_left() {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::tempdir().unwrap();
    let (dir, files) = (folder.path().join("sweep"), corpus(folder.path()));
    let spec = spec(model("tiny-gpt2"), files.clone());
    swept(&Spec { block: 1 << 18, ..spec.clone() }, 1, &folder.path().join("one"));
    let toml = folder.path().join("sweep.toml");
    std::fs::write(&toml, toml::to_string(&spec).unwrap()).unwrap();
    let planned = mechscope(&["sweep", "plan", "--spec", arg(&toml), "-o", arg(&dir), "--shards", "6"]);
    assert_eq!(planned.code, Some(0), "{}", planned.err);
    let plan = Plan::read(&dir).unwrap();
    assert_eq!(plan.shards.len(), 6);

    // The first worker with odd shards does one of them and is then killed by its own shell.
    let (real, trap) = (env!("CARGO_BIN_EXE_mechscope"), folder.path().join("once"));
    let fake = folder.path().join("mechscope");
    let script = format!(
        "#!/bin/sh\nif [ \"$5\" = 1/2 ] && [ ! -e '{0}' ]; then : > '{0}'; '{real}' sweep run \"$3\" --shard 1; kill -9 $$; fi\nexec '{real}' \"$@\"\n",
        trap.display()
    );
    std::fs::write(&fake, script).unwrap();
    std::fs::set_permissions(&fake, std::fs::Permissions::from_mode(0o755)).unwrap();
    let ran =
        std::process::Command::new(dir.join("drivers/local.sh")).arg("2").env("MECHSCOPE", &fake).output().unwrap();
    let said = String::from_utf8_lossy(&ran.stderr).into_owned();
    assert!(ran.status.success() && trap.exists(), "{said}");
    assert!(said.contains("1 of 2 workers ended before their shards were done"), "{said}");

    swept(&spec, 1, &folder.path().join("again"));
    let again = merged(
        &[Plan::read(&folder.path().join("again")).unwrap().part(&folder.path().join("again"), 0)],
        &folder.path().join("index"),
    );
    assert!(std::fs::read(dir.join(INDEX)).unwrap() == again);
}

/// xorshift64.
struct Random(u64);

impl Random {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    /// Some bytes changed, cut out or doubled, among the first `within`.
    fn damage(&mut self, bytes: &mut Vec<u8>, within: usize) {
        for _ in 0..1 + self.below(3) {
            let at = self.below(within.min(bytes.len()));
            match self.below(6) {
                0 => drop(bytes.drain(at..(at + 1 + self.below(40)).min(bytes.len()))),
                1 => bytes.truncate(at),
                2 => bytes.insert(at, b"0123456789{}[],:\"-e"[self.below(19)]),
                3 => {
                    let piece = bytes[at..(at + self.below(30)).min(bytes.len())].to_vec();
                    bytes.splice(at..at, piece);
                }
                4 => bytes[at] = b"0123456789"[self.below(10)],
                _ => bytes[at] ^= 1 << self.below(8),
            }
            if bytes.is_empty() {
                bytes.push(b' ');
            }
        }
    }
}

#[test]
fn damaged_specs_plans_and_parts_are_errors_and_never_panics() {
    let n: usize = std::env::var("MECHSCOPE_FUZZ").ok().and_then(|n| n.parse().ok()).unwrap_or(10_000);
    let folder = tempfile::tempdir().unwrap();
    let spec = Spec { top: 1, window: 1, tokens: 1, sketch: 1, ..spec(model("tiny-gpt2"), corpus(folder.path())) };
    let plan = swept(&spec, 1, &folder.path().join("sweep"));
    let part = std::fs::read(plan.part(&folder.path().join("sweep"), 0)).unwrap();
    let header = 8 + u64::from_le_bytes(part[..8].try_into().unwrap()) as usize;
    let toml = toml::to_string(&spec).unwrap().into_bytes();
    let json = serde_json::to_vec(&plan).unwrap();
    let (mut random, damaged) = (Random(0x9e37_79b9), folder.path().join("damaged.safetensors"));
    let mut read = [0usize; 3];
    for _ in 0..n {
        let mut bytes = toml.clone();
        random.damage(&mut bytes, usize::MAX);
        read[0] += usize::from(std::str::from_utf8(&bytes).is_ok_and(|text| Spec::parse(text).is_ok()));
        let mut bytes = json.clone();
        random.damage(&mut bytes, usize::MAX);
        read[1] += usize::from(Plan::parse(&bytes).is_ok());
        {
            let mut bytes = part.clone();
            let within = if random.below(4) == 0 { usize::MAX } else { header };
            random.damage(&mut bytes, within);
            std::fs::write(&damaged, &bytes).unwrap();
            match part::read(&damaged) {
                // What can be read can be merged and written.
                Ok(mut state) => {
                    read[2] += 1;
                    state.prune();
                    part::write(&state, &mut Vec::new()).unwrap();
                }
                Err(e) => assert!(!format!("{e:#}").is_empty()),
            }
        }
    }
    // The test is worth something only where some are let through and some are not.
    assert!(read.iter().all(|read| *read > 0 && *read < n), "{read:?}");
}
