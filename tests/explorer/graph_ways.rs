//! Every way in which a test changes units is what an independent run with the edit gives.

use crate::graph::{hello, shown};
use mechscope::address::Edit;
use mechscope::graph::NodeKind;
use mechscope::graph::verification::{Intervention, Subject};
use mechscope::model::Model;
use mechscope::model::forward::Logits;
use mechscope::model::open::Options;
use mechscope::model::site::Sites;
use mechscope::model::text::Bos;

const OTHER: &str = "The capital of the state containing Miami is";

#[test]
fn every_way_is_the_edit_that_it_names() {
    let mut h = hello(160, 50);
    h.press("j");
    let node = h.app.graph_node().unwrap();
    let unit = shown(&h).graph.nodes[node as usize].name();
    let prompt = h.app.prompt.clone().unwrap();
    let NodeKind::Logit { token: Some(token), .. } = shown(&h).graph.nodes[shown(&h).first_target() as usize].kind
    else {
        panic!("the target is one logit");
    };
    let model = Model::open("hello", Options::default(), Box::new(|_, _| {})).unwrap();
    let ids = model.encode(&prompt, Bos::Auto).unwrap().ids();
    let clean = model.run(&ids, &Sites::Standard, Logits::Last).unwrap();
    let value = |logits: Vec<f32>| {
        let mean = logits.iter().map(|x| f64::from(*x)).sum::<f64>() / logits.len() as f64;
        f64::from(logits[token as usize]) - mean
    };
    let before = value(clean.last_logits(0).unwrap());
    let mut ways = Vec::new();
    // The key steps through all of them; the last one asks for a prompt, and the palette takes a factor.
    for (keys, typed, with, edit) in [
        ("v", "", Intervention::Zero, "=0".to_owned()),
        ("m v", "", Intervention::Mean, "=mean".to_owned()),
        ("m v", "", Intervention::Scale(2.0), "*=2".to_owned()),
        ("m", OTHER, Intervention::Resample(OTHER.to_owned()), format!("=from:\"{OTHER}\"")),
        (":", "scale 0.5", Intervention::Scale(0.5), "*=0.5".to_owned()),
        (":", "scale -1", Intervention::Scale(-1.0), "*=-1".to_owned()),
        (
            ":",
            "resample The capital of Texas is Austin and it",
            Intervention::Resample("The capital of Texas is Austin and it".into()),
            "=from:\"The capital of Texas is Austin and it\"".to_owned(),
        ),
    ] {
        h.press(keys);
        if !typed.is_empty() {
            h.type_text(typed);
            h.press("Enter");
        }
        let test = shown(&h).graph.verified.last().unwrap_or_else(|| panic!("{with}: {:?}", h.app.message)).clone();
        assert_eq!(test.with, with, "{:?}", h.app.message);
        let Subject::Node(id) = &test.subject else { panic!("{:?}", test.subject) };
        assert_eq!(**id, *shown(&h).graph.nodes[node as usize].id);
        let edit: Edit = format!("{unit}{edit}").parse().unwrap();
        let run = model.run_edited(&clean, &[edit], Bos::Auto, &Sites::None, Logits::Last, &mut |_, _| Ok(())).unwrap();
        let change = value(run.last_logits(0).unwrap()) - before;
        let measured = f64::from(test.target().unwrap().measured);
        assert!((measured - change).abs() < 1e-5 * before.abs().max(1.0), "{with}: {measured} and {change}");
        ways.push(measured);
    }
    for (a, b) in ways.iter().zip(&ways[1..]) {
        assert!((a - b).abs() > 1e-3, "every way gives another number: {ways:?}");
    }
    // Once a prompt is known the key goes past it to zero again, and comes back to factor and prompt.
    h.press("m");
    assert_eq!(h.app.message.as_deref(), Some("tests change units by: zero"));
    h.press("m m");
    assert_eq!(h.app.message.as_deref(), Some("tests change units by: scale -1"));
    h.press("m");
    assert!(h.app.message.as_ref().unwrap().contains("resample"), "{:?}", h.app.message);
}

#[test]
fn what_is_no_factor_is_asked_for_again() {
    let mut h = hello(80, 24);
    h.press("j :");
    h.type_text("scale twice");
    h.press("Enter");
    assert!(h.app.message.as_ref().unwrap().contains("\"twice\", expected a factor"), "{:?}", h.app.message);
    assert!(shown(&h).graph.verified.is_empty());
    h.press("Esc :");
    h.type_text("scale inf");
    h.press("Enter");
    assert!(h.app.message.as_ref().unwrap().contains("expected a factor"), "{:?}", h.app.message);
    // Another prompt that is too short says so, and nothing is recorded.
    h.press("Esc :");
    h.type_text("resample Hi");
    h.press("Enter");
    assert!(h.app.message.as_ref().unwrap().contains("has "), "{:?}", h.app.message);
    assert!(shown(&h).graph.verified.is_empty());
}
