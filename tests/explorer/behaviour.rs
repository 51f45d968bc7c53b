//! What keys do.

use crate::harness::Harness;
use mechscope::address::{Address, Part};
use mechscope::app::overlay::Overlay;
use mechscope::app::pane::RequestState;
use mechscope::app::session::Session;
use mechscope::app::{Effect, Event, Slot, Tab};
use mechscope::engine::{Reply, Said};
use mechscope::report::{Body, Cell};

fn number(harness: &Harness, slot: Slot, part: &str, row: usize, column: &str) -> f32 {
    let report = harness.app.pane(slot).report.clone().unwrap();
    let part = report.parts.iter().find(|p| p.name == part).unwrap();
    let Body::Table(table) = &part.body else { panic!("{} is no table", part.name) };
    let at = table.columns.iter().position(|c| c.name == column).unwrap();
    match table.rows[row][at] {
        Cell::Number(value) => value,
        ref other => panic!("{other:?}"),
    }
}

#[test]
fn it_starts_on_an_example_that_has_run() {
    let mut h = Harness::new(80, 24);
    assert!(h.app.overlay.is_none(), "outside text entry");
    assert_eq!(h.app.prompt.as_deref(), Some("qwertyuiopqwerty"));
    assert!(h.app.pane(Slot::Next).fresh);
    let screen = h.screen();
    assert!(screen.contains("0 21 \"u\""), "{screen}");
    assert!(screen.lines().last().unwrap().contains("? help"), "{screen}");
}

/// The task a newcomer would set: find the strongest induction head, copy its address, silence it, see the answer fall.
#[test]
fn the_induction_head_is_found_copied_and_silenced() {
    let mut h = Harness::new(80, 24);
    let before = number(&h, Slot::Next, "top", 0, "prob");
    // To the heads; sort by "induction"; copy the address; zero it; back to the prompt.
    h.press("3 s");
    h.type_text("induction");
    h.press("Enter c a 0");
    let address: Address = h.copied().parse().unwrap();
    assert_eq!(address.layer(), Some(1), "induction heads read what an earlier layer wrote");
    let said = h.app.message.clone().unwrap();
    assert!(
        said.starts_with("answer at 16: still \"u\" (\"u\" from 0.9") && said.contains(": L1.H"),
        "what it did is said: {said}"
    );
    h.press("1");
    assert_eq!(h.app.edits.on().len(), 1);
    let target = h.app.next.as_ref().unwrap().target.text.clone();
    assert_eq!(target, "u", "the clean run's answer stays the target");
    let after = number(&h, Slot::Next, "top", 0, "prob_after");
    assert!(after < before, "{after} is not below {before}");
    let screen = h.screen();
    assert!(screen.contains("prob_after") && screen.contains("1 edit"), "{screen}");
    h.press("u");
    assert!(h.app.edits.on().is_empty());
    assert_eq!(number(&h, Slot::Next, "top", 0, "prob"), before);
    h.press("3 j");
    assert_eq!(h.app.address().layer(), Some(1), "back in the sorted table, on the next of its rows");
    h.press("1 Ctrl-r");
    assert_eq!(h.app.edits.on().len(), 1);
}

/// On the model that everybody starts with one induction head does not carry the answer alone: its three neighbours do the same, and
/// without all four the answer is gone. Twenty keys and the prompt.
#[test]
fn the_induction_answer_falls_without_the_induction_heads() {
    let mut h = Harness::of(crate::harness::session("hello"), 80, 24);
    h.press("i Ctrl-u");
    h.type_text("list: apple key 42 grand Dallas red Anna clock apple key 42 grand Dallas");
    h.press("Enter 3 s i n d u Enter c a");
    let best: Address = h.copied().parse().unwrap();
    assert_eq!(best.layer(), Some(1), "{best}");
    h.press("0");
    let said = |h: &Harness| h.app.message.clone().unwrap();
    let begins = |text: &str, h: &Harness| assert!(said(h).starts_with(text), "{}", said(h));
    begins("answer at 15: still \" red\" (\" red\" from 0.99", &h);
    assert!(said(&h).contains(" to 0.9"), "{}", said(&h));
    h.press("u Space j Space j Space j Space 0");
    begins("answer at 15: \" red\" -> ", &h);
    assert!(said(&h).contains("(\" red\" from 0.99") && said(&h).contains(" to 0.0"), "{}", said(&h));
    h.press("1");
    let first = h.app.pane(Slot::Next).cell("text").cloned().unwrap();
    assert_ne!(first, Cell::token(" red"), "another answer comes first now");
}

#[test]
fn the_selection_is_one_in_every_tab() {
    let mut h = Harness::new(120, 40);
    h.press("[ [ 2");
    assert_eq!(h.app.position(), 14);
    assert_eq!(h.app.pane(Slot::Lens).column, 14);
    h.press("h 3");
    assert_eq!(h.app.position(), 13);
    assert_eq!(h.app.address().position, Some(13));
    h.press("4 1");
    assert_eq!(h.app.position(), 13);
    assert!(h.screen().contains("Next token after 13"));
    h.press("t");
    let target = h.app.selection.target.clone().unwrap();
    h.press("3");
    assert!(h.app.pane(Slot::Heads).asked.as_ref().is_some_and(|a| format!("{a:?}").contains(&target)));
}

#[test]
fn places_are_gone_back_and_forward_to() {
    let mut h = Harness::new(80, 24);
    h.press("2 3");
    h.press("l Enter");
    assert!(h.app.side);
    let head = h.app.selection.head;
    h.press("Ctrl-o");
    assert_eq!((h.app.tab, h.app.side), (Tab::Heads, false));
    h.press("Ctrl-o Ctrl-o");
    assert_eq!(h.app.tab, Tab::Prompt);
    h.press("Alt-o Alt-o Alt-o");
    assert_eq!((h.app.tab, h.app.side, h.app.selection.head), (Tab::Heads, true, head));
    h.press("Ctrl-o Ctrl-o Ctrl-o Ctrl-o");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("began")), "{:?}", h.app.message);
}

#[test]
fn enter_leads_from_a_row_to_its_unit() {
    let mut h = Harness::new(120, 40);
    h.press("3 G");
    h.press("Enter Enter");
    let Some(Cell::Integer(source)) = h.app.pane(Slot::Head).cell("key").cloned() else { panic!("no source") };
    assert!(h.app.position() <= 16 && h.app.side, "the head stays while its position changes: {source}");
    assert_ne!(h.app.position(), 16);
    h.press("Ctrl-o");
    assert_eq!(h.app.position(), 16);
    h.press("M");
    h.type_text("attribute");
    h.press("Enter");
    while h.app.pane(Slot::Method).address().is_none() {
        h.press("j");
    }
    let address = h.app.pane(Slot::Method).address().unwrap();
    h.press("Enter");
    assert_ne!(h.app.tab, Tab::Method, "{address}");
}

#[test]
fn addresses_are_places_to_go_to() {
    let mut h = Harness::new(80, 24);
    h.press(":");
    h.type_text("L1.H3@-2");
    h.press("Enter");
    assert_eq!((h.app.tab, h.app.selection.head, h.app.position()), (Tab::Heads, (1, 3), 15));
    assert_eq!(h.app.address(), Address::unit(1, Part::Head(3)).at(15));
    h.press(":");
    h.type_text("L9.H3");
    h.press("Enter");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("layers 0..=1")), "{:?}", h.app.message);
}

#[test]
fn a_prompt_is_typed_and_only_there_do_keys_type() {
    let mut h = Harness::new(80, 24);
    h.press("i");
    assert!(matches!(h.app.overlay, Some(Overlay::Prompt(..))));
    h.press("Ctrl-u");
    h.type_text("qabcq");
    h.press("Enter");
    assert_eq!(h.app.prompt.as_deref(), Some("qabcq"));
    assert_eq!(h.app.next.as_ref().unwrap().tokens.len(), 6);
    h.press("+");
    assert_eq!(h.app.prompt.as_deref().map(str::len), Some(6), "{:?}", h.app.prompt);
    h.press("i x Esc");
    assert_eq!(h.app.prompt.as_deref().map(str::len), Some(6), "Esc leaves without a change");
    h.press("i Up Up Enter");
    assert_eq!(h.app.prompt.as_deref(), Some("qabcq"), "earlier prompts are a key away");
}

#[test]
fn filters_sorts_and_searches_hold_and_complain() {
    let mut h = Harness::new(120, 40);
    h.press("4 f");
    h.type_text("|act|>0.3 layer=0");
    h.press("Enter");
    let rows = h.app.pane(Slot::Neurons).lines.len();
    h.press("f Ctrl-u Enter");
    assert!(h.app.pane(Slot::Neurons).lines.len() > rows);
    h.press("f");
    h.type_text("nosuch>1");
    h.press("Enter");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("no column \"nosuch\"")), "{:?}", h.app.message);
    assert!(matches!(h.app.overlay, Some(Overlay::Line(..))), "what was typed is not lost");
    h.press("Esc s");
    h.type_text("activation");
    h.press("Enter");
    let cells = |h: &Harness| match h.app.pane(Slot::Neurons).cell("activation") {
        Some(Cell::Number(value)) => *value,
        other => panic!("{other:?}"),
    };
    let first = cells(&h);
    h.press("j");
    assert!(cells(&h) <= first);
    h.press("/");
    h.type_text("N43");
    h.press("Enter");
    assert!(h.app.address().to_string().contains("N43"), "{}", h.app.address());
}

#[test]
fn copies_hold_true_texts_in_every_dialect() {
    let mut h = Harness::new(80, 24);
    h.press("y");
    assert!(h.copied().starts_with("0\t21\tu\t8.88"), "{}", h.copied());
    h.press("Y");
    assert!(h.copied().starts_with("rank\tid\ttext\tlogit\tprob\n0\t21\tu\t"), "{}", h.copied());
    h.press("c j");
    let json: serde_json::Value = serde_json::from_str(h.copied()).unwrap();
    assert_eq!(json["text"], "u");
    h.press("c m");
    assert!(
        h.copied().starts_with(
            "| rank | id | text | logit | prob |\n| ---: | ---: | --- | ---: | ---: |\n| 0 | 21 | `\"u\"` |"
        )
    );
    h.go_to("L0.H0");
    h.press("c p");
    assert_eq!(h.copied(), "cache[\"blocks.0.attn.hook_z\"][0, 16, 0]");
    h.press("Enter c c");
    assert_eq!(h.copied(), "mechscope heads --head L0.H0 --model induction --prompt qwertyuiopqwerty");
}

#[test]
fn the_list_of_edits_switches_and_removes() {
    let mut h = Harness::new(80, 24);
    h.go_to("L0.H0");
    h.press("0 l 0 E");
    assert!(h.screen().contains("[x] L0.H0=0"));
    h.press("Space");
    assert_eq!(h.app.edits.on().len(), 1);
    h.press("j x");
    assert!(h.app.edits.on().is_empty());
    h.press("u u");
    assert_eq!(h.app.edits.on().len(), 2);
    h.press("Esc e");
    h.type_text("mean");
    h.press("Enter");
    assert_eq!(h.app.edits.on()[1].to_string(), "L0.H1=mean");
    h.press("e Ctrl-u");
    h.type_text("L0.H77=0");
    h.press("Enter 1");
    assert!(matches!(&h.app.pane(Slot::Next).state, RequestState::Failed(e) if e.contains("heads 0..=3")));
}

#[test]
fn late_answers_and_cancelled_ones_are_dropped() {
    let mut h = Harness::new(80, 24);
    let pane = h.app.pane(Slot::Next);
    let (report, job) = (pane.report.clone(), pane.job.expect("a job"));
    h.event(Event::Key("[".parse().unwrap()));
    assert!(h.app.busy());
    h.event(Event::Reply(Box::new(Reply { job, said: Said::Failed("late".into()) })));
    assert!(h.app.busy() && h.app.message.is_none());
    h.event(Event::Key("Esc".parse().unwrap()));
    assert_eq!(h.app.pane(Slot::Next).state, RequestState::Cancelled);
    assert_eq!(h.app.pane(Slot::Next).report, report, "the old result stays");
    assert!(h.screen().contains("stopped"));
    h.press("]");
    assert!(h.app.pane(Slot::Next).fresh);
}

#[test]
fn a_model_that_does_not_open_leaves_the_old_one() {
    let mut h = Harness::new(80, 24);
    h.press("o Ctrl-u");
    h.type_text("/no/such/folder");
    h.press("Enter");
    assert!(h.app.message.as_deref().is_some_and(|m| m.contains("/no/such/folder")), "{:?}", h.app.message);
    assert_eq!(h.app.model_name, "induction");
    h.press("[ 2");
    assert!(h.app.pane(Slot::Lens).fresh);
}

#[test]
fn every_method_of_the_catalogue_runs_from_the_list() {
    for analysis in mechscope::analysis::ALL {
        let mut h = Harness::of(crate::harness::session("hello"), 100, 30);
        let name = analysis.about().name;
        h.press("M");
        h.type_text(name);
        h.press("Enter");
        assert_eq!(h.app.method.name, Some(name));
        let pane = h.app.pane(Slot::Method);
        assert!(pane.fresh && pane.state == RequestState::Idle, "{name}: {:?}", pane.state);
        assert!(h.screen().contains(name));
    }
}

#[test]
fn sessions_go_on_where_they_ended() {
    let mut h = Harness::new(80, 24);
    h.press("3 l j 0 [");
    let session = h.app.session();
    let read = Session::read(&session.write().unwrap()).unwrap();
    assert_eq!(read, session);
    let again = Harness::of(read, 80, 24);
    assert_eq!(again.app.tab, Tab::Heads);
    assert_eq!(again.app.selection, h.app.selection);
    assert_eq!(again.app.edits.on(), h.app.edits.on());
    assert!(Session::read("{}").is_err());
    let newer = session.write().unwrap().replace("\"version\": 2", "\"version\": 3");
    assert!(Session::read(&newer).unwrap_err().to_string().contains("version 3"));
}

#[test]
fn counts_repeat_and_quitting_asks_only_while_work_runs() {
    let mut h = Harness::new(80, 24);
    h.press("Alt-5 j");
    let Some(Cell::Integer(5)) = h.app.pane(Slot::Next).cell("rank") else { panic!("five rows down") };
    h.press("Alt-1 2 k");
    let Some(Cell::Integer(0)) = h.app.pane(Slot::Next).cell("rank") else { panic!("twelve rows up, to the first") };
    h.press("Esc Esc");
    assert!(h.effects.is_empty(), "Esc is harmless: {:?}", h.effects);
    h.event(Event::Key("[".parse().unwrap()));
    h.event(Event::Key("q".parse().unwrap()));
    assert!(matches!(h.app.overlay, Some(Overlay::Quit)));
    h.settle();
    h.press("Esc q");
    assert_eq!(h.effects, [Effect::Quit(0)]);
    h.event(Event::End(15));
    assert_eq!(h.effects.last(), Some(&Effect::Quit(143)));
}

#[test]
fn help_finds_actions_by_what_they_do_and_shows_their_keys() {
    let mut h = Harness::new(80, 24);
    h.press("?");
    let screen = h.screen();
    assert!(screen.contains("Move") && screen.contains("One row up"), "{screen}");
    h.type_text("shell");
    let screen = h.screen();
    assert!(screen.contains("pipe") && screen.contains('|'), "{screen}");
    h.press("Esc c");
    let screen = h.screen();
    assert!(screen.contains("Copy the address"), "which-key: {screen}");
    h.press("Esc");
    assert!(h.app.pending.is_empty());
}
