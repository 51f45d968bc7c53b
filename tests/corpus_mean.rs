//! Means over a corpus as values of edits: those that the same positions have when they are run one by one.

mod program;

use mechscope::corpus::merge;
use mechscope::corpus::plan::{INDEX, Plan};
use mechscope::corpus::spec::{Documents, Spec};
use mechscope::corpus::worker::Worker;
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::{BlockSite, Site, Sites};
use program::{arg, mechscope};

#[test]
fn an_edit_takes_the_mean_over_the_corpus() {
    let folder = tempfile::tempdir().unwrap();
    let texts = ["The train from Houston is late.", "The city of Omaha is in the state of Nebraska."];
    let corpus = folder.path().join("corpus.txt");
    std::fs::write(&corpus, texts.join("\n")).unwrap();
    let spec = Spec { corpus: vec![corpus], documents: Documents::Line, ..Spec::default() };
    let plan = Plan::new(spec, Some(1)).unwrap().keep(folder.path()).unwrap();
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    Worker::new(&plan, &model).unwrap().run(folder.path(), 0, &mut |_, _| Ok(())).unwrap();
    let state = merge::merge(&[plan.part(folder.path(), 0)], &mut |_, _| Ok(())).unwrap();
    merge::write(&state, &folder.path().join(INDEX)).unwrap();

    let (site, neuron, d_mlp) = (Site::Block(1, BlockSite::MlpPost), 33, model.decoder.arch.d_mlp);
    let (mut sum, mut n) = (0.0, 0.0);
    for ids in state.contexts.values() {
        let run = model.run(ids, &Sites::only([site]), Logits::None).unwrap();
        for row in run.numbers(site).unwrap().chunks(d_mlp).skip(1) {
            (sum, n) = (sum + f64::from(row[neuron]), n + 1.0);
        }
    }
    let mean = (sum / n) as f32;
    let prompt = "The city of Dallas is in the state of";
    let logits = |edit: &str| {
        let ran = mechscope(&["predict", "-p", prompt, "--edit", edit, "--format", "json"]);
        assert_eq!(ran.code, Some(0), "{}", ran.err);
        ran.json()["top"].as_array().unwrap().iter().filter_map(|row| row["logit"].as_f64()).collect::<Vec<_>>()
    };
    let (of_index, of_number) =
        (logits(&format!("L1.N33=mean:@{}", arg(folder.path()))), logits(&format!("L1.N33={mean}")));
    assert!(!of_index.is_empty() && of_index.len() == of_number.len());
    assert!(of_index.iter().zip(&of_number).all(|(a, b)| (a - b).abs() < 1e-4), "{of_index:?} {of_number:?}");
    let stream = mechscope(&["predict", "-p", prompt, "--edit", &format!("L1.H0=mean:@{}", arg(folder.path()))]);
    assert_eq!(stream.code, Some(0), "{}", stream.err);
    let refused = mechscope(&["predict", "-p", prompt, "--edit", &format!("L1.N33=mean:@{}:pos", arg(folder.path()))]);
    assert!(
        refused.code == Some(1) && refused.err.contains("a corpus has no means position by position"),
        "{}",
        refused.err
    );
}
