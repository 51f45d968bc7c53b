//! How soon the engine answers while a graph grows in the background, and how soon the processors are free when nobody wants it any more, at
//! GPT-2 small's shape with random weights, asked as the explorer asks.
//!
//! Others' work on the same processors is in every time; the bounds are for a machine that does nothing else. Processor time, on Linux, is the
//! program's own: on two free processors the time is between half of it and all of it.
//!
//! `cargo bench --bench answers`

// A bench tells what it measured.
#![allow(clippy::print_stdout)]

mod common;

use candle_core::Device;
use mechscope::analysis::attribution::{Attribution, GraphRequest};
use mechscope::analysis::verify_request::{Subjects, TestRequest};
use mechscope::engine::{Answer, Ask, Engine, JobId, PromptQuestion, Reply, Request, Said, Setup};
use mechscope::graph::NodeKind;
use mechscope::graph::verification::Intervention;
use mechscope::model::Model;
use mechscope::model::device::DTypeChoice;
use mechscope::model::hub::Policy;
use mechscope::model::open::Options;
use mechscope::model::source::Source;
use mechscope::model::text::Bos;
use std::cmp::Reverse;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// How long anything may take before the bench gives up.
const PATIENCE: Duration = Duration::from_secs(600);

/// Tokens of the prompts that are answered, and of the one whose graph is ended.
const TOKENS: usize = 143;
const LONG: usize = 990;

/// Units of the graphs that grow: enough that none ends meanwhile.
const UNITS: usize = 4096;
/// Units of the graph that is tested.
const TESTED_UNITS: usize = 64;

/// Questions of one kind.
const ASKED: usize = 5;

/// When, after it was asked for, a graph is ended: in its forward pass, in the choice of its units, in its rows.
const ENDED_AFTER: [Duration; 5] = [
    Duration::from_millis(500),
    Duration::from_millis(2000),
    Duration::from_millis(4000),
    Duration::from_millis(8000),
    Duration::from_millis(16000),
];

/// How long a graph's steps are listened to.
const LISTENED: Duration = Duration::from_secs(20);

/// Steps that are shown.
const SHOWN: usize = 5;

/// Between two looks at the processor time.
const SAMPLE: Duration = Duration::from_millis(10);
/// So long without any more of it is the end: longer than others keep a thread from running.
const QUIET: Duration = Duration::from_millis(400);
/// Less processor time than this in a sample is the bench's own.
const OWN: Duration = Duration::from_micros(500);

/// When something was said, and the processor time until then.
#[derive(Clone, Copy)]
struct Moment {
    at: Instant,
    used: Duration,
}

impl Moment {
    fn now() -> Self {
        Moment { at: Instant::now(), used: processor_time() }
    }

    fn since(self, before: Moment) -> Cost {
        Cost { time: self.at.saturating_duration_since(before.at), used: self.used.saturating_sub(before.used) }
    }
}

/// What something took.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cost {
    time: Duration,
    used: Duration,
}

struct Asker {
    engine: Engine,
    replies: Receiver<(Moment, Reply)>,
    last: u64,
}

impl Asker {
    fn new(folder: &Path) -> Self {
        let (sender, replies) = channel();
        let setup = Setup {
            options: Options::default(),
            bos: Bos::Auto,
            directions: Vec::new(),
            hub: Policy::new(true, false),
            index: Default::default(),
        };
        let engine = Engine::start(setup, move |reply| sender.send((Moment::now(), reply)).is_ok()).unwrap();
        let mut asker = Asker { engine, replies, last: 0 };
        asker.timed(Ask::Open(folder.display().to_string())).1.unwrap();
        asker
    }

    fn ask(&mut self, ask: Ask) -> JobId {
        self.last += 1;
        let job = JobId(self.last);
        self.engine.ask(Request { job, ask });
        job
    }

    fn reply(&self) -> (Moment, Reply) {
        self.replies.recv_timeout(PATIENCE).expect("a reply")
    }

    /// What the answer takes; the answer and its forward passes, or why there is none.
    fn timed(&mut self, ask: Ask) -> (Cost, Result<(Answer, u64), String>) {
        let begun = Moment::now();
        let job = self.ask(ask);
        loop {
            let (at, reply) = self.reply();
            match reply.said {
                Said::Done(answer, passes) if reply.job == job => return (at.since(begun), Ok((answer, passes))),
                Said::Failed(error) if reply.job == job => return (at.since(begun), Err(error)),
                Said::Done(..) | Said::Failed(_) => println!("  job {} ended meanwhile", reply.job.0),
                Said::Progress(_) | Said::Partial(_) => {}
            }
        }
    }

    /// Times of the next-token tables of prompts that were not asked about before, with `pause` between them.
    fn answers(&mut self, prompts: &[String], pause: Duration) -> Vec<Cost> {
        let mut times = Vec::new();
        for prompt in prompts {
            std::thread::sleep(pause);
            let (time, answer) = self.timed(Ask::Next(question(prompt)));
            assert!(matches!(answer, Ok((Answer::Next(_), 1))), "a prompt that has not run before runs once");
            times.push(time);
        }
        times
    }

    /// Listens to a new job for a while, then ends it: what it takes between two signs, and which ones; the longest first.
    fn silences(&mut self, ask: Ask, listened: Duration) -> Vec<(Cost, String)> {
        let job = self.ask(ask);
        let end = Instant::now() + listened;
        let (mut last, mut far) = (Moment::now(), "its begin".to_owned());
        let (mut silences, mut signs) = (Vec::new(), 0);
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            let Ok((at, reply)) = self.replies.recv_timeout(left) else { break };
            if reply.job != job {
                continue;
            }
            signs += 1;
            let now = format!("{} (sign {signs})", progress(&reply.said));
            silences.push((at.since(last), format!("{far} to {now}")));
            (last, far) = (at, now);
        }
        self.engine.cancel(job);
        silences.sort_by_key(|(cost, _)| Reverse(*cost));
        silences
    }
}

/// How far a job is.
fn progress(said: &Said) -> String {
    match said {
        Said::Progress(p) => format!("{:?} {} of {}", p.what, p.done, p.of),
        Said::Partial(_) => "a preview".into(),
        Said::Done(..) => "its end".into(),
        Said::Failed(error) => error.clone(),
    }
}

fn question(prompt: &str) -> PromptQuestion {
    PromptQuestion {
        prompt: prompt.into(),
        ids: None,
        edits: Vec::new(),
        position: -1,
        target: None,
        contrast: None,
        dictionary: None,
    }
}

fn graph(prompt: &str, units: usize) -> Ask {
    Ask::Graph(GraphRequest { prompt: prompt.into(), max_nodes: Some(units), ..GraphRequest::default() })
}

/// A model of GPT-2 small's shape with a tokenizer of bytes and short words.
fn save_model(folder: &Path) {
    std::fs::write(folder.join("config.json"), common::CONFIG).unwrap();
    candle_core::safetensors::save(&common::weights(), folder.join("model.safetensors")).unwrap();
    let tokenizer = Path::new(env!("CARGO_MANIFEST_DIR")).join("test_data/models/tiny-gpt2/tokenizer.json");
    std::fs::copy(tokenizer, folder.join("tokenizer.json")).unwrap();
}

/// A text of `n` tokens, another one for every `seed`.
fn text(model: &Model, n: usize, seed: usize) -> String {
    let all: String = (0..4 * n).map(|i| char::from(b'!' + ((i + seed) * 37 % 90) as u8)).collect();
    let tokens = |len: &usize| model.encode(&all[..*len], Bos::Auto).unwrap().tokens.len();
    let len = (n / 2..=all.len()).find(|len| tokens(len) == n).expect("as many tokens");
    all[..len].to_owned()
}

fn milliseconds(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}

/// The median.
fn median(of: impl Iterator<Item = Duration>) -> Duration {
    let mut sorted: Vec<Duration> = of.collect();
    sorted.sort();
    sorted[sorted.len() / 2]
}

fn show(what: &str, costs: &[Cost], bound: Option<f64>) {
    let times = || costs.iter().map(|cost| cost.time);
    let bound = bound.map_or(String::new(), |b| format!(", bound {b:.0} ms"));
    let (half, worst) = (milliseconds(median(times())), milliseconds(times().max().unwrap_or_default()));
    let used = milliseconds(median(costs.iter().map(|cost| cost.used)));
    println!("{what}: median {half:.1} ms, worst {worst:.1} ms of {}{bound}; processor time {used:.0} ms", costs.len());
}

fn answers_beside_a_graph(asker: &mut Asker, prompts: &[String], of: &str) {
    let (before, meanwhile) = prompts.split_at(ASKED);
    let idle = asker.answers(before, Duration::from_millis(300));
    show(&format!("a new prompt of {TOKENS} tokens, nothing else running"), &idle, None);
    let bound = 1.5 * milliseconds(median(idle.iter().map(|cost| cost.time))) + 100.0;
    let job = asker.ask(graph(of, UNITS));
    // From its first layer on.
    while asker.reply().1.job != job {}
    let beside = asker.answers(meanwhile, Duration::from_millis(730));
    show(&format!("a new prompt while a graph of {TOKENS} tokens grows"), &beside, Some(bound));
    asker.engine.cancel(job);
}

fn steps_of_graphs(asker: &mut Asker, prompts: [(usize, &str); 2]) {
    for (tokens, of) in prompts {
        println!("the longest steps of a graph of {tokens} tokens");
        for (cost, signs) in asker.silences(graph(of, UNITS), LISTENED).into_iter().take(SHOWN) {
            let (time, used) = (milliseconds(cost.time), milliseconds(cost.used));
            println!("  {time:.1} ms, processor time {used:.0} ms, from {signs}");
        }
    }
}

/// Processor time of this process so far, but for the thread that asks; none where the system does not tell.
fn processor_time() -> Duration {
    let own = std::process::id().to_string();
    let tasks = std::fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let others = tasks.filter(|task| task.file_name() != *own);
    let time = |stat: String| stat.split_whitespace().next().and_then(|ns| ns.parse().ok()).unwrap_or(0);
    let stats = others.filter_map(|task| std::fs::read_to_string(task.path().join("schedstat")).ok());
    Duration::from_nanos(stats.map(time).sum())
}

/// How long from now on the process computes.
fn until_idle() -> Cost {
    let begun = Moment::now();
    let (mut last, mut busy) = (begun, begun);
    loop {
        std::thread::sleep(SAMPLE);
        let now = Moment::now();
        if now.since(last).used > OWN {
            busy = now;
        }
        last = now;
        if now.since(busy).time > QUIET {
            return busy.since(begun);
        }
    }
}

fn ended_graphs(asker: &mut Asker, of: &str) {
    if processor_time().is_zero() {
        println!("how long an ended graph computes: this system does not tell");
        return;
    }
    let mut costs = Vec::new();
    for after in ENDED_AFTER {
        let job = asker.ask(graph(of, UNITS));
        std::thread::sleep(after);
        let signs: Vec<_> = asker.replies.try_iter().filter(|(_, reply)| reply.job == job).collect();
        let far = signs.last().map_or("its begin".to_owned(), |(_, reply)| progress(&reply.said));
        asker.engine.cancel(job);
        let cost = until_idle();
        let (time, used) = (milliseconds(cost.time), milliseconds(cost.used));
        let (after, n) = (after.as_secs_f64(), signs.len());
        println!("  ended after {after:.1} s ({far}, {n} signs): idle {time:.0} ms later, processor time {used:.0} ms");
        costs.push(cost);
    }
    show(&format!("from the end of a graph of {LONG} tokens until the processors are idle"), &costs, Some(150.0));
}

fn tests_of_a_graph(asker: &mut Asker, of: &str) {
    let Ok((Answer::Graph(graph), _)) = asker.timed(graph(of, TESTED_UNITS)).1 else { panic!("no graph") };
    let test = |graph: &Arc<Attribution>, node: usize| {
        let target = graph.graph.targets().next().unwrap() as u32;
        let what = Subjects::Nodes(vec![node as u32]);
        Ask::Test(TestRequest { graph: graph.id, dictionary: None, target, what, with: Intervention::Zero })
    };
    let neurons = graph.graph.nodes.iter().enumerate().filter(|(_, n)| n.kind == NodeKind::Neuron).map(|(at, _)| at);
    for (which, node) in ["first", "second", "third"].into_iter().zip(neurons) {
        let (cost, answer) = asker.timed(test(&graph, node));
        let (_, passes) = answer.unwrap();
        let (time, used) = (milliseconds(cost.time), milliseconds(cost.used));
        println!(
            "the {which} test of a graph: {passes} forward passes, bound 0; {time:.1} ms, processor time {used:.0} ms"
        );
    }
    let result = graph.graph.targets().next().unwrap();
    let refused = (0..ASKED).map(|_| {
        let (time, answer) = asker.timed(test(&graph, result));
        assert!(answer.is_err(), "a target is no unit");
        time
    });
    show("a test that is refused", &refused.collect::<Vec<_>>(), Some(5.0));
}

fn main() {
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!("load average before: {}", load.trim());
    }
    let folder = tempfile::tempdir().unwrap();
    save_model(folder.path());
    let source = Source::Folder { name: "bench".into(), path: folder.path().into() };
    let open = Model::open_source(source, &Device::Cpu, DTypeChoice::F32, Box::new(|_, _| {})).unwrap();
    let prompts: Vec<String> = (0..2 * ASKED + 2).map(|seed| text(&open, TOKENS, seed)).collect();
    let (long, other) = (text(&open, LONG, 0), text(&open, LONG, 1));
    drop(open);
    let mut asker = Asker::new(folder.path());
    let (asked, of) = prompts.split_at(2 * ASKED);
    answers_beside_a_graph(&mut asker, asked, &of[0]);
    tests_of_a_graph(&mut asker, &of[0]);
    ended_graphs(&mut asker, &long);
    steps_of_graphs(&mut asker, [(TOKENS, &of[1]), (LONG, &other)]);
    if let Ok(load) = std::fs::read_to_string("/proc/loadavg") {
        println!("load average after: {}", load.trim());
    }
}
