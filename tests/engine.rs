//! The engine as whoever asks it meets it: what goes first, what ends, what is kept.

use mechscope::analysis::attribution::{Attribution, Basis, GraphRequest};
use mechscope::analysis::verify_request::{Subjects, TestRequest};
use mechscope::engine::{Answer, Ask, Engine, JobId, PromptQuestion, Reply, Request, Said, Setup};
use mechscope::graph::NodeKind;
use mechscope::graph::verification::Intervention;
use mechscope::model::hub::Policy;
use mechscope::model::open::Options;
use mechscope::model::text::Bos;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const PROMPT: &str = "qwertyqwer";

struct Asker {
    engine: Engine,
    replies: Receiver<Reply>,
    last: u64,
}

impl Asker {
    fn new() -> Self {
        let (sender, replies) = channel();
        let setup = Setup {
            options: Options::default(),
            bos: Bos::Auto,
            directions: Vec::new(),
            hub: Policy::new(true, false),
            index: Default::default(),
        };
        let engine = Engine::start(setup, move |reply| sender.send(reply).is_ok()).unwrap();
        let mut asker = Asker { engine, replies, last: 0 };
        let (opened, _) = asker.get(Ask::Open("induction".into()));
        assert!(matches!(opened, Answer::Opened(_)));
        asker
    }

    fn ask(&mut self, ask: Ask) -> JobId {
        self.last += 1;
        let job = JobId(self.last);
        // What is asked can be written down and read back.
        let request = Request { job, ask };
        let text = serde_json::to_string(&request).unwrap();
        let read: Request = serde_json::from_str(&text).unwrap();
        assert_eq!(read, request);
        self.engine.ask(read);
        job
    }

    fn reply(&self) -> Reply {
        let reply = self.replies.recv_timeout(Duration::from_secs(120)).expect("a reply");
        let text = serde_json::to_string(&reply).unwrap();
        assert_eq!(serde_json::from_str::<Reply>(&text).unwrap(), reply, "{text}");
        reply
    }

    /// The answer and the forward passes it took, or why there is none.
    fn end(&self, job: JobId) -> Result<(Answer, u64), String> {
        loop {
            let reply = self.reply();
            match reply.said {
                Said::Done(answer, passes) if reply.job == job => return Ok((answer, passes)),
                Said::Failed(error) if reply.job == job => return Err(error),
                _ => {}
            }
        }
    }

    fn get(&mut self, ask: Ask) -> (Answer, u64) {
        let job = self.ask(ask);
        self.end(job).unwrap()
    }

    fn graph(&mut self) -> Arc<Attribution> {
        match self.get(graph()).0 {
            Answer::Graph(graph) => graph,
            other => panic!("{other:?}"),
        }
    }
}

fn graph() -> Ask {
    Ask::Graph(GraphRequest {
        basis: Basis::Neurons,
        prompt: PROMPT.into(),
        max_nodes: Some(120),
        ..GraphRequest::default()
    })
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

fn tests(graph: &Attribution, what: Subjects) -> Ask {
    let target = graph.graph.targets().next().unwrap() as u32;
    Ask::Test(TestRequest { graph: graph.id, dictionary: None, target, what, with: Intervention::Zero })
}

fn node(graph: &Attribution, is: impl Fn(&NodeKind) -> bool) -> u32 {
    graph.graph.nodes.iter().position(|n| is(&n.kind)).unwrap() as u32
}

#[test]
fn what_somebody_waits_for_is_answered_while_a_graph_grows() {
    let mut asker = Asker::new();
    let background = asker.ask(graph());
    // It has begun.
    while asker.reply().job != background {}
    let next = asker.ask(Ask::Next(question("another prompt")));
    let (mut order, mut after) = (Vec::new(), 0);
    while order.len() < 2 {
        let reply = asker.reply();
        match reply.said {
            Said::Done(..) => order.push(reply.job),
            Said::Failed(error) => panic!("{error}"),
            Said::Progress(_) if reply.job == background && !order.is_empty() => after += 1,
            _ => {}
        }
    }
    assert_eq!(order, [next, background], "the graph steps back");
    assert!(after > 0, "and goes on where it was");
}

// Checks I9 of ARCHITECTURE.md.
#[test]
fn a_job_that_is_ended_says_nothing_more_and_leaves_the_thread_to_the_next() {
    let mut asker = Asker::new();
    let ended = asker.ask(graph());
    while asker.reply().job != ended {}
    asker.engine.cancel(ended);
    let next = asker.ask(Ask::Next(question(PROMPT)));
    let mut steps = 0;
    loop {
        let reply = asker.reply();
        match reply.said {
            Said::Done(..) if reply.job == next => break,
            Said::Done(..) | Said::Failed(_) => panic!("job {:?} ended", reply.job),
            _ if reply.job == ended => steps += 1,
            _ => {}
        }
    }
    // What it had said already may be on its way; it does not go on to its end.
    assert!(steps < 120, "{steps} steps of a job that nobody wants");
    let rest = asker.replies.try_iter().filter(|reply| reply.job == ended).count();
    assert_eq!(rest, 0, "nothing comes after the next answer");
}

#[test]
fn another_model_ends_what_was_asked_of_the_one_before() {
    let mut asker = Asker::new();
    let old = asker.ask(graph());
    while asker.reply().job != old {}
    let open = asker.ask(Ask::Open("hello".into()));
    asker.end(open).unwrap();
    let next = asker.ask(Ask::Next(question("hello")));
    loop {
        let reply = asker.reply();
        assert_ne!(reply.job, old, "{reply:?}");
        if reply.job == next && matches!(reply.said, Said::Done(..)) {
            break;
        }
    }
}

#[test]
fn runs_are_kept_from_one_question_to_the_next() {
    let mut asker = Asker::new();
    let (_, passes) = asker.get(Ask::Next(question(PROMPT)));
    assert_eq!(passes, 1);
    let (_, passes) = asker.get(Ask::Next(PromptQuestion { position: 3, ..question(PROMPT) }));
    assert_eq!(passes, 0, "the same prompt elsewhere");
    let graph = asker.graph();
    let (_, passes) = asker.get(self::graph());
    assert_eq!(passes, 0, "the same graph again");
    let unit = node(&graph, |kind| *kind == NodeKind::Neuron);
    for _ in 0..2 {
        let (answer, passes) = asker.get(tests(&graph, Subjects::Nodes(vec![unit])));
        assert!(matches!(&answer, Answer::Tested(found) if found.len() == 1));
        assert_eq!(passes, 0, "a test begins at the layer it changes, on the graph's own run");
    }
    let edited = PromptQuestion { edits: vec!["L0.H0=0".parse().unwrap()], ..question(PROMPT) };
    asker.get(Ask::Next(edited.clone()));
    let (_, passes) = asker.get(Ask::Next(edited));
    assert_eq!(passes, 0, "the edited run is kept too");
}

#[test]
fn a_test_that_cannot_be_made_is_refused_before_anything_runs() {
    let mut asker = Asker::new();
    let graph = asker.graph();
    let target = node(&graph, NodeKind::is_logit);
    let remainder = node(&graph, |kind| *kind == NodeKind::Error);
    for (what, says) in [
        (Subjects::Nodes(vec![target]), "the target is the answer itself"),
        (Subjects::Nodes(vec![remainder]), "no unit that could be changed"),
        (Subjects::Nodes(vec![u32::MAX]), "the graph has no node"),
        (Subjects::Group("none".into(), Vec::new()), "has no members"),
    ] {
        let job = asker.ask(tests(&graph, what));
        let error = asker.end(job).unwrap_err();
        assert!(error.contains(says), "{error}");
    }
}

#[test]
fn a_group_that_is_kept_alone_is_answered_with_numbers() {
    let mut asker = Asker::new();
    let graph = asker.graph();
    let unit = node(&graph, |kind| *kind == NodeKind::Neuron);
    let (answer, _) = asker.get(tests(&graph, Subjects::KeepOnly("one".into(), vec![unit])));
    let Answer::Kept(kept) = answer else { panic!("{answer:?}") };
    assert_eq!((kept.label.as_str(), kept.found.kept), ("one", 1));
    assert_eq!(kept.members, [graph.graph.nodes[unit as usize].id.to_string()]);
    // It is in the file, and comes back out of it.
    let mut with = graph.graph.clone();
    with.record_kept(kept.clone());
    let mut bytes = Vec::new();
    mechscope::graph::format::json::write(&with, &mut bytes).unwrap();
    let read = mechscope::graph::format::json::read(&bytes[..], 1 << 30).unwrap().graph;
    assert_eq!(read.kept, [kept]);
}

#[test]
fn a_graph_that_is_gone_is_said_to_be() {
    let mut asker = Asker::new();
    let job = {
        let graph = asker.graph();
        let mut gone = (*graph).clone();
        gone.id.0 += 1000;
        let what = Subjects::Heads;
        asker.ask(tests(&gone, what))
    };
    assert!(asker.end(job).unwrap_err().contains("is gone"));
}
