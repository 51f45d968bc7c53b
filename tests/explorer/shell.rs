//! What lies around the tabs: overlays and the wheel, methods in the palette, shell commands, what is kept.

use crate::harness::Harness;
use mechscope::action::{Action, Argument};
use mechscope::app::overlay::{Overlay, PickerKind};
use mechscope::app::session::Session;
use mechscope::app::{Effect, Event, Slot, Tab};
use mechscope::engine::Ask;
use mechscope::keymap::{Context, Keymap};
use mechscope::{analysis, report::Cell};

fn line(h: &Harness) -> usize {
    h.app.pane(h.app.focus()).cursor
}

#[test]
fn the_wheel_turns_what_lies_on_top() {
    let mut h = Harness::new(80, 24);
    h.event(Event::Wheel(3));
    let below = line(&h);
    let Some(Cell::Integer(3)) = h.app.pane(Slot::Next).cell("rank") else { panic!("three rows down") };
    h.press("?");
    h.event(Event::Wheel(5));
    h.event(Event::Wheel(-2));
    let Some(Overlay::Picker(help)) = &h.app.overlay else { panic!("the help stays") };
    assert_eq!((help.cursor, line(&h)), (3, below));
    h.press("Esc");
    let text = (0..40).map(|n| format!("line {n}\n")).collect();
    h.app.overlay = Some(Overlay::text("Output", text));
    for (turns, want) in [(7, 7), (-3, 4), (1000, 39), (-1000, 0)] {
        h.event(Event::Wheel(turns));
        let Some(Overlay::Text { scroll, .. }) = &h.app.overlay else { panic!("the text stays") };
        assert_eq!((*scroll, line(&h)), (want, below));
    }
    assert!(h.screen().contains("line 0"));
    // Lines of entry and the question at the end hold what is behind them too.
    for keys in ["Esc i", "Esc /"] {
        h.press(keys);
        h.event(Event::Wheel(3));
        assert_eq!(line(&h), below, "{keys}");
    }
    h.press("Esc 3 0 l 0 E");
    let below = line(&h);
    h.event(Event::Wheel(1));
    let Some(Overlay::Edits { cursor: 1 }) = &h.app.overlay else { panic!("the second edit") };
    assert_eq!(line(&h), below);
}

fn palette(h: &mut Harness, text: &str) {
    h.press(":");
    h.type_text(text);
}

fn found(h: &Harness) -> Vec<&str> {
    let Some(Overlay::Picker(picker)) = &h.app.overlay else { panic!("no list is open") };
    picker.items.iter().map(|i| i.name.as_str()).collect()
}

#[test]
fn the_palette_offers_every_method_with_every_parameter() {
    for entry in analysis::catalogue() {
        let about = entry.about;
        // Only this one has transcoders of its own.
        let model = if about.name == "features" { "hello" } else { "induction" };
        let mut h = Harness::of(crate::harness::session(model), 120, 40);
        // By its name, by its title, roughly.
        palette(&mut h, about.name);
        assert!(found(&h).contains(&about.name), "{}", about.name);
        h.press("Esc");
        palette(&mut h, about.title);
        assert!(found(&h).contains(&about.name), "{}", about.title);
        h.press("Esc");
        let Ok(method) = analysis::named(about.name) else { continue };
        // Behind the name its parameters are listed; all of them can be given.
        palette(&mut h, &format!("{} ", about.name));
        let params = method.about().params;
        let all: Vec<String> = params.iter().map(|p| format!("{}={}", p.name, p.default)).collect();
        assert_eq!(found(&h), all);
        h.type_text(&all.join(" "));
        h.press("Enter");
        assert_eq!((h.app.tab, h.app.method.name), (Tab::Method, Some(about.name)));
        let pane = h.app.pane(Slot::Method);
        assert!(pane.fresh && pane.report.is_some(), "{}: {:?}", about.name, pane.state);
        let Some(Ask::Method { params: asked, .. }) = &pane.asked else { panic!("{:?}", pane.asked) };
        assert_eq!(asked.len(), params.len());
    }
}

#[test]
fn parameters_are_checked_before_anything_runs() {
    let mut h = Harness::new(100, 30);
    for (typed, says) in [
        ("heads prob=true", "heads: no parameter is called \"prob\"; accepted: head, probe, "),
        ("heads probe=maybe", "heads: probe: found \"maybe\", expected true, false"),
        ("neurons top", "neurons: found \"top\"; accepted: "),
        ("graph depth=3", "graph takes no parameters here"),
    ] {
        palette(&mut h, typed);
        h.press("Enter");
        let said = h.app.message.clone().unwrap_or_default();
        assert!(said.contains(says), "{typed}: {said}");
        let Some(Overlay::Picker(picker)) = &h.app.overlay else { panic!("what was typed is lost") };
        assert_eq!((picker.entry.text(), picker.kind, h.app.method.name), (typed, PickerKind::Palette, None));
        h.press("Esc");
    }
    palette(&mut h, "neurons layer=1 top=3 activations");
    h.press("Enter");
    let screen = h.screen();
    assert!(screen.contains("neurons layer=1 top=3 activations=true  at 16"), "{screen}");
    let rows =
        h.app.pane(Slot::Method).lines.iter().filter(|l| matches!(l, mechscope::app::pane::PaneLine::Row(..))).count();
    assert!(rows >= 3 && screen.contains("L1.N"), "{screen}");
    // The command that prints the same is one that the command line takes.
    h.press("c c");
    assert_eq!(
        h.copied(),
        "mechscope neurons --layer 1 --top 3 --activations --model induction --prompt qwertyuiopqwerty"
    );
    // From the list of methods as well; what stands for a command is begun.
    h.press("M");
    h.type_text("lens layer=1");
    h.press("Enter");
    assert_eq!((h.app.method.name, h.app.method.params.len()), (Some("lens"), 1));
    palette(&mut h, "graph");
    h.press("Enter");
    assert_eq!(h.app.tab, Tab::Graph);
}

#[test]
fn switched_off_edits_are_kept() {
    let mut h = Harness::new(80, 24);
    h.go_to("L0.H0");
    h.press("0 l 0 E Space Esc");
    assert_eq!((h.app.edits.items().len(), h.app.edits.on().len()), (2, 1));
    let session = h.app.session();
    let read = Session::read(&session.write().unwrap()).unwrap();
    assert_eq!(read, session);
    let mut again = Harness::of(read, 80, 24);
    assert_eq!(again.app.edits.items(), h.app.edits.items());
    again.press("E");
    assert!(again.screen().contains("[ ] L0.H0=0") && again.screen().contains("[x] L0.H1=0"), "{}", again.screen());
    again.press("Space");
    assert_eq!(again.app.edits.on().len(), 2);
}

fn pipe(h: &mut Harness, keys: &str, command: &str) -> Option<(u64, String)> {
    let before = h.effects.len();
    h.press(keys);
    h.type_text(command);
    h.event(Event::Key("Enter".parse().unwrap()));
    h.effects[before..].iter().find_map(|e| match e {
        Effect::Pipe { ticket, command: given, input } => {
            assert_eq!(given, command);
            Some((*ticket, input.clone()))
        }
        _ => None,
    })
}

#[test]
fn pipes_take_what_is_marked_or_selected() {
    let mut h = Harness::new(100, 30);
    let (ticket, input) = pipe(&mut h, "j |", "wc").unwrap();
    assert_eq!(input.lines().count(), 1);
    assert!(input.starts_with("1\t") && input.ends_with('\n'), "{input:?}");
    assert!(h.app.busy());
    h.event(Event::Piped { ticket: ticket + 1, output: Ok("another's".into()) });
    assert!(h.app.overlay.is_none(), "an answer to what nobody waits for");
    // What is being typed is not replaced by what comes back.
    h.event(Event::Key("i".parse().unwrap()));
    h.event(Event::Piped { ticket, output: Ok("counted".into()) });
    assert!(matches!(h.app.overlay, Some(Overlay::Prompt(..))) && !h.app.busy());
    h.press("Esc");
    assert!(h.screen().contains("counted"));
    let (ticket, input) = pipe(&mut h, "Esc g |", "wc").unwrap();
    assert!(input.starts_with("rank\tid\ttext") && input.lines().count() > 20, "{input:?}");
    h.event(Event::Piped { ticket, output: Err("no such thing".into()) });
    assert!(h.app.message.as_deref().is_some_and(|m| m == "wc: no such thing"), "{:?}", h.app.message);
    let (ticket, input) = pipe(&mut h, "4 Space j Space j j |", "wc").unwrap();
    assert_eq!(input.lines().count(), 2);
    h.event(Event::Key("Esc".parse().unwrap()));
    assert_eq!(h.effects.last(), Some(&Effect::StopPipe));
    h.event(Event::Piped { ticket, output: Err("stopped".into()) });
    assert_eq!((h.app.busy(), h.app.message.as_deref()), (false, Some("stopped")));
    // A grid gives its cell.
    h.press("g c");
    h.go_to("L0.H0");
    let (_, input) = pipe(&mut h, "l |", "wc").unwrap();
    assert!(input.starts_with("L0.H1") && input.lines().count() == 1, "{input:?}");
    h.event(Event::Key("q".parse().unwrap()));
    assert!(matches!(h.app.overlay, Some(Overlay::Quit)), "work is running");
}

#[test]
fn what_is_a_tabs_own_is_done_on_it() {
    let keymap = Keymap::load(&[], &[]).unwrap();
    for action in Action::ALL {
        if let Some(context) = action.context() {
            // Every action of a context can be reached by a key there, or else takes an argument in the palette.
            let keys = keymap.keys(context, *action);
            assert!(
                !keys.is_empty() || action.argument() != Argument::No,
                "{action} has no key in [{}]",
                context.name()
            );
            let elsewhere = keymap.iter().find(|(c, _, a)| a == action && *c != context && *c != Context::Normal);
            assert!(elsewhere.is_none(), "{action} is bound in another context: {elsewhere:?}");
        }
    }
    let mut h = Harness::new(80, 24);
    h.press(":");
    h.type_text("graph_list");
    h.press("Enter");
    assert_eq!(h.app.tab, Tab::Graph, "the palette leads to where it is done");
    h.press("1 :");
    h.type_text("unfold_to 3");
    h.press("Enter");
    assert_eq!((h.app.tab, h.app.graph.shown().unwrap().limits.depth), (Tab::Graph, 3));
    // Its key is named wherever the help is opened.
    h.press("1 ?");
    h.type_text("test_top");
    let screen = h.screen();
    assert!(screen.lines().any(|line| line.starts_with("test_top") && line.contains('V')), "{screen}");
}
