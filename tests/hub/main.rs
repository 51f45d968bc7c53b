//! Fetching from a hub: a server of the tests' own on this machine, and the real program.

#[path = "../program/mod.rs"]
mod program;
#[path = "../explorer_terminal/program.rs"]
#[allow(dead_code, reason = "of the explorer's tests, of which these need a part")]
mod pseudo_terminal;
mod server;
mod terminal;

use program::{Ran, arg, program, run};
use server::{COMMIT, Manner, Server, git, sha256};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const TOKEN: &str = "hf_TheSecretThatNobodySees";

fn model(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/models").join(name)
}

/// `predict` with a model of the server's.
fn predict(server: &Server, cache: &Path, name: &str) -> Command {
    let mut command = program(&["predict", "-m", name, "--ids", "1,2,3", "--format", "json"]);
    command.env("HF_ENDPOINT", &server.url).env("HF_HUB_CACHE", cache).env_remove("HF_HUB_OFFLINE");
    command.env("HF_TOKEN", TOKEN);
    command
}

fn ask(server: &Server, cache: &Path, name: &str) -> Ran {
    run(predict(server, cache, name), b"")
}

/// Asserts a failure of one line, without the secret, after which nothing looks whole.
#[track_caller]
fn fails(ran: &Ran, cache: &Path, says: &[&str]) {
    let last = ran.err.lines().last().unwrap_or_default();
    assert_eq!((ran.code, ran.out.as_str()), (Some(1), ""), "{}", ran.err);
    assert!(
        ran.err.lines().filter(|l| l.starts_with("error:")).count() == 1 && last.starts_with("error:"),
        "{}",
        ran.err
    );
    assert!(says.iter().all(|s| last.contains(s)), "{last}\nshould say {says:?}");
    assert!(!ran.err.contains(TOKEN), "{}", ran.err);
    let repository = cache.join("models--org--tiny");
    assert!(!repository.join("refs/main").exists(), "a reference to what is not whole");
    for file in files(&repository.join("snapshots")) {
        assert!(file.is_file(), "{} leads nowhere", file.display());
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() { found.extend(files(&entry.path())) } else { found.push(entry.path()) }
    }
    found
}

fn top(folder: &Path) -> serde_json::Value {
    run(program(&["predict", "-m", arg(folder), "--ids", "1,2,3", "--format", "json"]), b"").json()["top"].clone()
}

fn served(name: &str) -> (Server, tempfile::TempDir) {
    let server = Server::start();
    server.add("org/tiny", &model(name));
    (server, tempfile::tempdir().unwrap())
}

// Checks T9 of ARCHITECTURE.md.
#[test]
fn a_model_is_fetched_once_and_lies_as_huggingface_hub_lays_it() {
    for name in ["tiny-qwen2-sharded", "tiny-llama3"] {
        for bare in [false, true] {
            let (server, cache) = served(name);
            server.put("org/tiny", "README.md", b"not needed".to_vec()).behave(Manner { bare, ..Manner::default() });
            let ran = ask(&server, cache.path(), "org/tiny");
            assert_eq!(ran.code, Some(0), "{}", ran.err);
            assert!(ran.err.starts_with(&format!("fetching org/tiny from {}: 1 MB, ", server.url)), "{}", ran.err);
            let found: serde_json::Value = serde_json::from_str(&ran.out).unwrap();
            assert_eq!(found["top"], top(&model(name)));
            let repository = cache.path().join("models--org--tiny");
            assert_eq!(fs::read_to_string(repository.join("refs/main")).unwrap(), COMMIT);
            let snapshot = repository.join("snapshots").join(COMMIT);
            assert!(!snapshot.join("README.md").exists());
            for file in files(&snapshot) {
                let bytes = fs::read(&file).unwrap();
                let large = file.extension().unwrap() == "safetensors";
                let sum = if large { sha256(&bytes) } else { git(&bytes) };
                assert_eq!(fs::read_link(&file).unwrap(), Path::new("../../blobs").join(sum));
                assert_eq!(bytes, fs::read(model(name).join(file.file_name().unwrap())).unwrap());
            }
            // Whole now: not one request more.
            server.requests();
            assert_eq!(ask(&server, cache.path(), "org/tiny").json()["top"], found["top"]);
            assert_eq!(server.requests(), [""; 0]);
        }
    }
}

#[test]
fn nothing_is_sent_but_requests_and_the_token_goes_to_the_hub_alone() {
    let (server, cache) = served("tiny-llama3");
    let hidden = tempfile::tempdir().unwrap();
    let file = hidden.path().join("token");
    fs::write(&file, format!("{TOKEN}\n")).unwrap();
    let mut command = predict(&server, cache.path(), "org/tiny");
    command.env_remove("HF_TOKEN").env("HF_TOKEN_PATH", &file).env("RUST_LOG", "trace");
    let ran = run(command, b"");
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(!ran.err.contains(TOKEN) && !ran.out.contains(TOKEN));
    let requests = server.requests();
    assert!(requests.len() > 3, "{requests:?}");
    for request in requests {
        let stored = request.starts_with("GET /stored/");
        assert_eq!(request.contains(TOKEN), !stored, "{request}");
        let names = request.lines().skip(1).filter(|l| !l.is_empty()).map(|l| l.split(':').next().unwrap());
        let names: Vec<String> = names.map(str::to_ascii_lowercase).collect();
        for name in names {
            let known = ["host", "user-agent", "accept", "accept-encoding", "authorization", "range"];
            assert!(known.contains(&name.as_str()), "{name} in {request}");
        }
    }
    for file in files(cache.path()) {
        assert!(!fs::read(&file).unwrap_or_default().windows(TOKEN.len()).any(|w| w == TOKEN.as_bytes()), "{file:?}");
    }
}

#[test]
fn cut_connections_are_resumed_where_they_ended() {
    for whole in [false, true] {
        let (server, cache) = served("tiny-llama3");
        server.behave(Manner { cut: Some((200_000, 2)), whole, ..Manner::default() });
        let ran = ask(&server, cache.path(), "org/tiny");
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        let ranges = server.requests().iter().filter(|r| r.contains("bytes=")).count();
        assert!(ranges >= 2, "{ranges} ranges");
    }
}

#[test]
fn what_was_given_up_goes_on_with_the_next_command() {
    let (server, cache) = served("tiny-llama3");
    let size = fs::metadata(model("tiny-llama3").join("model.safetensors")).unwrap().len() as usize;
    server.behave(Manner { cut: Some((0, 100)), ..Manner::default() });
    let partial = cache.path().join("models--org--tiny/blobs");
    fs::create_dir_all(&partial).unwrap();
    let bytes = fs::read(model("tiny-llama3").join("model.safetensors")).unwrap();
    let partial = partial.join(format!("{}.incomplete", sha256(&bytes)));
    fs::write(&partial, &bytes[..100_000]).unwrap();
    fails(
        &ask(&server, cache.path(), "org/tiny"),
        cache.path(),
        &["org/tiny/model.safetensors could not be fetched", &format!("100000 of {size} bytes are kept")],
    );
    server.behave(Manner::default());
    server.requests();
    assert_eq!(ask(&server, cache.path(), "org/tiny").code, Some(0));
    assert!(server.requests().iter().any(|r| r.to_ascii_lowercase().contains("range: bytes=100000-")));
    assert!(!partial.exists());
}

#[test]
fn a_beginning_that_is_another_files_is_fetched_anew() {
    let (server, cache) = served("tiny-llama3");
    let bytes = fs::read(model("tiny-llama3").join("model.safetensors")).unwrap();
    let blobs = cache.path().join("models--org--tiny/blobs");
    fs::create_dir_all(&blobs).unwrap();
    fs::write(blobs.join(format!("{}.incomplete", sha256(&bytes))), vec![7; 1000]).unwrap();
    assert_eq!(ask(&server, cache.path(), "org/tiny").code, Some(0));
    assert_eq!(fs::read(blobs.join(sha256(&bytes))).unwrap(), bytes);
}

// Checks I6 of ARCHITECTURE.md.
#[test]
fn wrong_sums_leave_nothing_behind() {
    for file in ["model.safetensors", "config.json"] {
        let (server, cache) = served("tiny-llama3");
        server.behave(Manner { spoil: Some(file), ..Manner::default() });
        let ran = ask(&server, cache.path(), "org/tiny");
        fails(
            &ran,
            cache.path(),
            &[&format!("org/tiny/{file}: wrong checksum: found"), "expected", "nothing of it was kept"],
        );
        let sum = sha256(&fs::read(model("tiny-llama3").join("model.safetensors")).unwrap());
        assert!(!cache.path().join("models--org--tiny/blobs").join(sum).exists());
    }
}

#[test]
fn refusals_say_what_to_do() {
    let (server, cache) = served("tiny-llama3");
    for (refuse, says) in [
        (
            (403, "GatedRepo"),
            &["org/tiny is gated: its terms must be accepted at http://127.0.0.1", "the token of HF_TOKEN was sent"][..],
        ),
        ((401, ""), &["asks who you are"]),
        ((404, "RevisionNotFound"), &["no such revision"]),
        ((429, ""), &["takes no more requests for now"]),
        ((503, ""), &["answers 503"]),
    ] {
        server.behave(Manner { refuse: Some(refuse), ..Manner::default() });
        fails(&ask(&server, cache.path(), "org/tiny"), cache.path(), says);
    }
    server.behave(Manner::default());
    fails(
        &ask(&server, cache.path(), "org/none"),
        cache.path(),
        &["no repository is called org/none at", "or it is private"],
    );
    let mut command = predict(&server, cache.path(), "org/none");
    command.env_remove("HF_TOKEN");
    fails(&run(command, b""), cache.path(), &["no token was sent: set HF_TOKEN"]);
    server.remove("org/tiny", "model.safetensors").put("org/tiny", "pytorch_model.bin", vec![1]);
    fails(
        &ask(&server, cache.path(), "org/tiny"),
        cache.path(),
        &["pytorch_model.bin alone, a pickle", "org/tiny@refs/pr/N"],
    );
}

#[test]
fn without_a_network_one_line_says_so() {
    let (server, cache) = served("tiny-llama3");
    let mut command = predict(&server, cache.path(), "org/tiny");
    // Nobody listens there.
    command.env("HF_ENDPOINT", "http://127.0.0.1:1");
    fails(&run(command, b""), cache.path(), &["cannot reach http://127.0.0.1:1", "HF_HUB_OFFLINE=1"]);
    let mut command = predict(&server, cache.path(), "org/tiny");
    command.env("HF_ENDPOINT", "ftp://example");
    fails(&run(command, b""), cache.path(), &["HF_ENDPOINT", "accepted: https://"]);
}

/// By a server that would see a connection, and where strace is there by the system calls too.
// Checks I8 of ARCHITECTURE.md.
#[test]
fn offline_not_one_socket_is_opened() {
    for (variable, flag) in [("HF_HUB_OFFLINE", None), ("TRANSFORMERS_OFFLINE", None), ("NOTHING", Some("--offline"))] {
        let (server, cache) = served("tiny-llama3");
        let mut command = predict(&server, cache.path(), "org/tiny");
        command.env(variable, "1").args(flag);
        fails(&run(command, b""), cache.path(), &["org/tiny is not in the Hugging Face cache", "hf download org/tiny"]);
        assert_eq!(server.requests(), [""; 0]);
        let trace = cache.path().join("calls");
        let mut command = Command::new("strace");
        command.args(["-f", "-e", "trace=network", "-o", arg(&trace), env!("CARGO_BIN_EXE_mechscope")]);
        command.args(["predict", "-m", "org/tiny", "--ids", "1"]).args(flag);
        command.env("HF_ENDPOINT", &server.url).env("HF_HUB_CACHE", cache.path()).env(variable, "1");
        match command.output() {
            Ok(output) if output.status.code() == Some(1) && trace.exists() => {
                let calls = fs::read_to_string(&trace).unwrap();
                assert!(!calls.contains("AF_INET") && !calls.contains("connect("), "{calls}");
            }
            other => eprintln!("NOT CHECKED by strace, only by the server: {other:?}"),
        }
    }
}

/// On a small disk of its own; only root can make one.
#[test]
fn a_full_disk_is_said_before_and_meanwhile() {
    for (size, fill, says) in [
        ("500k", None, &["org/tiny: 1 MB are to be fetched, but the disk of", "0 MB left"][..]),
        ("1m", Some(600_000), &["the disk is full", "bytes are kept, the same command goes on"]),
    ] {
        let (server, cache) = served("tiny-llama3");
        let disk = cache.path().join("disk");
        fs::create_dir(&disk).unwrap();
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &format!("size={size}"), "small", arg(&disk)]).output();
        if !mounted.as_ref().is_ok_and(|m| m.status.success()) {
            eprintln!("NOT CHECKED: no small disk can be mounted here: {mounted:?}");
            return;
        }
        let fill = fill.map(|bytes| (disk.join("other"), bytes));
        server.behave(Manner { fill, ..Manner::default() });
        let ran = ask(&server, &disk, "org/tiny");
        let looks = std::panic::catch_unwind(|| fails(&ran, &disk, says));
        assert!(Command::new("umount").arg(&disk).status().unwrap().success());
        looks.unwrap();
    }
}

#[test]
fn dictionaries_come_by_the_same_door_also_by_folder_and_by_list() {
    let server = Server::start();
    let data = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/transcoders/tiny-gpt2");
    server.add("org/sae", &data);
    let mut list = String::from(
        "model_name: tiny\nfeature_input_hook: ln2.hook_normalized\nfeature_output_hook: hook_mlp_out\ntranscoders:\n",
    );
    let mut layers = 0;
    for entry in fs::read_dir(&data).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        server.put("org/sae", &format!("sub/{name}"), fs::read(data.join(&name)).unwrap());
        layers += usize::from(name.ends_with(".safetensors"));
    }
    for layer in 0..layers {
        list += &format!("  - \"hf://org/sae/layer_{layer}.safetensors\"\n");
    }
    server.put("org/list", "config.yaml", list.into_bytes());
    let model = model("tiny-gpt2-f16");
    let graph = |dictionary: &str, cache: &Path| {
        let args = ["graph", "-m", arg(&model), "--ids", "1,2,3", "--dictionary", dictionary, "--format", "tsv"];
        let mut command = program(&args);
        command.env("HF_ENDPOINT", &server.url).env("HF_HUB_CACHE", cache).env_remove("HF_HUB_OFFLINE");
        run(command, b"")
    };
    let nowhere = tempfile::tempdir().unwrap();
    let here = graph(arg(&data), nowhere.path());
    assert_eq!(here.code, Some(0), "{}", here.err);
    for name in ["org/sae", "org/sae/sub", "org/list"] {
        let cache = tempfile::tempdir().unwrap();
        let ran = graph(name, cache.path());
        assert_eq!((ran.code, &ran.out), (Some(0), &here.out), "{name}: {}", ran.err);
        server.requests();
        assert_eq!(graph(name, cache.path()).code, Some(0));
        assert_eq!(server.requests(), [""; 0], "{name}");
    }
    let ran = graph("org/sae/none", nowhere.path());
    assert!(ran.code == Some(1) && ran.err.contains("org/sae/none holds no transcoders"), "{}", ran.err);
}
