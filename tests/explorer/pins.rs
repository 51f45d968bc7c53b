//! Pinned nodes stay on the screen, whatever the thresholds.

use crate::harness::Harness;
use mechscope::app::graph::Shown;
use mechscope::app::session::Session;

fn shown(h: &Harness) -> &Shown {
    h.app.graph.shown().expect("a graph")
}

#[test]
fn pinned_nodes_stay_when_fewer_are_kept_and_when_a_session_goes_on() {
    let mut h = Harness::of(crate::harness::session("hello"), 100, 30);
    h.press("5 J J J J");
    let other = h.app.graph_node().unwrap();
    h.press("J");
    let pinned = h.app.graph_node().unwrap();
    assert!(shown(&h).graph.nodes[pinned as usize].is_unit() && pinned != other);
    h.press("!");
    h.press(&["<"; 30].join(" "));
    let kept = |h: &Harness, node: u32| shown(h).pruned.nodes()[node as usize];
    let threshold = shown(&h).pruned.thresholds().node();
    assert!(kept(&h, pinned) && !kept(&h, other), "at {threshold}");
    // What is pinned is kept in the session; there the threshold is the usual one, so it takes a weak node to show.
    let ids = shown(&h).graph.by_id();
    let weakest = shown(&h).influence.ranked().iter().rev().find(|n| shown(&h).graph.nodes[**n as usize].is_unit());
    let id = shown(&h).graph.nodes[*weakest.unwrap() as usize].id.to_string();
    assert!(!kept(&h, ids[id.as_str()] as u32));
    let text = h.app.session().write().unwrap();
    let pin = &shown(&h).graph.view.pinned[0];
    assert!(text.contains(pin), "{text}");
    let session = Session::read(&text.replace(pin, &id)).unwrap();
    let mut h = Harness::of(session, 100, 30);
    h.press("5");
    assert_eq!(shown(&h).graph.view.pinned, [id.as_str()]);
    let at = shown(&h).graph.by_id()[id.as_str()] as u32;
    assert!(kept(&h, at) && shown(&h).influence.cumulative()[at as usize] > shown(&h).pruned.thresholds().node());
}
