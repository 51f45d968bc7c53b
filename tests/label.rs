//! Names by a language model: a server that stands for one, and an index of the built-in model.

mod program;

use mechscope::corpus::merge;
use mechscope::corpus::plan::{INDEX, Plan};
use mechscope::corpus::spec::{Documents, Spec};
use mechscope::corpus::worker::Worker;
use mechscope::model::Model;
use mechscope::model::open::Options;
use program::{arg, mechscope};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};

/// What a server was asked.
type Heard = Arc<Mutex<Vec<String>>>;

/// Answers to every chat by `answer`, and lists one model.
fn server(answer: fn(&str) -> String) -> (String, Heard) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let (url, heard) = (format!("http://{}/v1", listener.local_addr().unwrap()), Heard::default());
    let hears = heard.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let _ = serve(stream, answer, &hears);
        }
    });
    (url, heard)
}

fn serve(stream: TcpStream, answer: fn(&str) -> String, heard: &Heard) -> std::io::Result<()> {
    let mut reader = BufReader::new(stream.try_clone()?);
    let (mut first, mut length) = (String::new(), 0);
    reader.read_line(&mut first)?;
    loop {
        let mut line = String::new();
        reader.read_line(&mut line)?;
        if line.trim().is_empty() {
            break;
        }
        if let Some(n) = line.to_lowercase().strip_prefix("content-length:") {
            length = n.trim().parse().unwrap_or(0);
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    let body = if first.starts_with("GET /v1/models ") {
        "{\"data\":[{\"id\":\"stub\"}]}".to_owned()
    } else {
        let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
        let question = asked["messages"][0]["content"].as_str().unwrap().to_owned();
        let said = answer(&question);
        heard.lock().unwrap().push(question);
        serde_json::json!({ "choices": [{ "message": { "content": said } }] }).to_string()
    };
    let mut stream = stream;
    write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
}

/// Names it after Texas, and tells contexts with a Texan city from others by looking.
fn texan(question: &str) -> String {
    if question.starts_with("Below are excerpts") {
        return "Cities of Texas.".to_owned();
    }
    let fires = |line: &&str| line.contains("Houston") || line.contains("Dallas");
    let numbers = question.lines().filter(fires).filter_map(|line| line.split_once('.').map(|(n, _)| n.to_owned()));
    let numbers: Vec<String> = numbers.collect();
    if numbers.is_empty() { "0".to_owned() } else { numbers.join(", ") }
}

/// Lines about cities; a neuron of the built-in model fires on those of Texas.
fn index(folder: &Path) {
    let cities = ["Houston", "Dallas", "Omaha", "Reno", "Boise", "Fargo", "Tulsa", "Mobile"];
    let line = |n: usize| format!("The train from {} to the sea is late, number {n}.\n", cities[n % 8]);
    let text = folder.join("corpus.txt");
    std::fs::write(&text, (0..400).map(line).collect::<String>()).unwrap();
    let spec = Spec { corpus: vec![text], documents: Documents::Line, ..Spec::default() };
    let plan = Plan::new(spec, Some(1)).unwrap().keep(folder).unwrap();
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    Worker::new(&plan, &model).unwrap().run(folder, 0, &mut |_, _| Ok(())).unwrap();
    let state = merge::merge(&[plan.part(folder, 0)], &mut |_, _| Ok(())).unwrap();
    merge::write(&state, &folder.join(INDEX)).unwrap();
}

#[test]
fn a_name_is_asked_for_tested_and_kept_with_its_score() {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path());
    let (url, heard) = server(texan);
    let unit = "L1.N33".to_owned();
    let ran = mechscope(&["label", &unit, "--index", arg(folder.path()), "--endpoint", &url, "--format", "json"]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    assert!(ran.err.contains(&format!("contexts of 1 neurons are sent to {url} (stub)")), "{}", ran.err);
    assert_eq!(heard.lock().unwrap().len(), 2);
    let kept = std::fs::read_to_string(folder.path().join("labels.tsv")).unwrap();
    let line = kept.lines().nth(1).unwrap();
    let fields: Vec<&str> = line.split('\t').collect();
    assert_eq!((fields[0], fields[2], fields[3]), (&*unit, "Cities of Texas", "auto stub"));
    assert!(fields[4].parse::<f32>().unwrap() >= 0.5, "{line}");
    let page = mechscope(&["unit", &unit, "--index", arg(folder.path()), "--format", "json"]).json();
    assert_eq!(page["label"], "Cities of Texas");
}

#[test]
fn what_answers_nothing_leaves_no_name() {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path());
    let place = arg(folder.path());
    let nobody = mechscope(&["label", "L1.N33", "--index", place, "--endpoint", "http://127.0.0.1:9/v1"]);
    assert!(nobody.code == Some(1) && nobody.err.contains("cannot reach"), "{}", nobody.err);
    let no_address = mechscope(&["label", "L1.N2", "--index", place, "--endpoint", "localhost"]);
    assert!(no_address.code == Some(1), "{}", no_address.err);
    let nothing = mechscope(&["label", "L1.N2", "--index", place]);
    assert_eq!(nothing.code, Some(2), "without --endpoint nothing is asked");
    assert!(!folder.path().join("labels.tsv").exists());
}

#[test]
fn names_of_others_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path());
    let file = folder.path().join("batch-0.jsonl");
    std::fs::write(&file, "{\"layer\":\"1-mlp\",\"index\":\"7\",\"description\":\"places in Delaware\"}\n").unwrap();
    let ran = mechscope(&["label", "--index", arg(folder.path()), "--import", arg(&file)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    let found = mechscope(&["search", "places in", "--index", arg(folder.path()), "--format", "tsv"]);
    assert!(found.output().contains("L1.N7\t+\tlabel\tplaces in Delaware\t"), "{}", found.out);
}

#[test]
fn what_is_exported_is_read_back() {
    let folder = tempfile::tempdir().unwrap();
    index(folder.path());
    let (place, out) = (arg(folder.path()).to_owned(), folder.path().join("features"));
    let export = |format| {
        let ran = mechscope(&["sweep", "export", &place, "--format", format, "--layer", "1", "-o", arg(&out)]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
    };
    export("circuit-tracer");
    let file = out.join(format!("{}.json", mechscope::corpus::labels::import::cantor(1, 2)));
    let feature: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let page = mechscope(&["unit", "L1.N2", "--index", &place, "--format", "json"]).json();
    let first = &feature["examples_quantiles"][0]["examples"][0];
    assert_eq!((&first["tokens"], &feature["index"]), (&page["contexts"][0]["tokens"], &2.into()));
    let ran = mechscope(&["label", "--index", &place, "--import", arg(&file)]);
    assert_eq!(ran.code, Some(0), "{}", ran.err);
    export("neuronpedia");
    let lines = std::fs::read_to_string(out.join("1.jsonl")).unwrap();
    let line: serde_json::Value = serde_json::from_str(lines.lines().next().unwrap()).unwrap();
    assert_eq!((line["layer"].as_str(), line["index"].as_str()), (Some("1-neurons"), Some("0")));
    assert_eq!(line["tokens"].as_array().unwrap().len(), line["values"].as_array().unwrap().len());
}
