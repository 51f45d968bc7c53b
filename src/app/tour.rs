//! The guided tour: stops in the explorer itself, told by a script. The script names actions and no keys, so that the tour is told in the keys that
//! hold. What is done at a stop may be done by its keys, or left to the tour; whoever wanders off is brought back.

mod script;

pub use script::{Stop, StopStep, stops};

use super::session::Session;
use super::{App, Effect};
use crate::action::{Action, Argument};
use script::Deed;
use std::collections::VecDeque;

/// How the explorer begins with the tour.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct TourStart {
    /// The stop at which it was left.
    pub stop: usize,
    /// Whether it begins at once.
    pub at_once: bool,
    /// Whether it is offered: the explorer was never started before.
    pub offered: bool,
    /// A real model for the last stop, as `--model` names it.
    pub real: Option<String>,
}

/// The tour while it runs.
#[derive(Debug)]
struct Running {
    stop: usize,
    /// How many steps of the stop are done, and how many actions of the next.
    steps: usize,
    deeds: usize,
    /// Something else was done: what the script says need not be on the screen any more.
    wandered: bool,
    /// What is to be done as soon as nothing runs.
    waiting: VecDeque<Deed>,
    /// The work that was on the screen before, if there was any.
    before: Option<Box<Session>>,
}

/// What the explorer keeps of the tour.
#[derive(Debug, Default)]
pub struct Tour {
    start: TourStart,
    running: Option<Running>,
}

/// What the tour says now.
#[derive(Clone, Debug, PartialEq)]
pub struct TourText {
    /// Which stop this is, counted from 1, and of how many.
    pub stop: (usize, usize),
    /// What the stop is about.
    pub title: &'static str,
    /// What is to be seen.
    pub text: String,
    /// Keys to press and what for; without keys nothing is left to do.
    pub next: (Vec<String>, String),
}

/// The least that the explorer keeps for itself under the tour's box.
const LEAST: u16 = 8;

impl App {
    /// The explorer with what is known of the tour; where it is to begin at once, it begins.
    pub fn with_tour(mut self, start: TourStart) -> Self {
        let at_once = start.at_once;
        self.tour = Tour { start, running: None };
        if at_once {
            self.tour_step();
        }
        self
    }

    /// Whether the hints offer the tour: at the first start, until a key is pressed.
    pub fn tour_is_offered(&self) -> bool {
        self.tour.start.offered
    }

    /// Somebody pressed a key: the tour was offered, taken or not.
    pub(super) fn offer_no_tour(&mut self) {
        self.tour.start.offered = false;
    }

    /// The lines that the tour takes from the tab.
    pub fn tour_lines(&self) -> u16 {
        let wanted = if self.size.0 < super::WIDE { 7 } else { 6 };
        if self.tour.running.is_some() { wanted.min(self.size.1.saturating_sub(LEAST)) } else { 0 }
    }

    /// Lines of the terminal that are left beside the tour.
    pub(super) fn lines(&self) -> u16 {
        self.size.1 - self.tour_lines()
    }

    /// Begins the tour where it was left; later does its next step.
    pub(super) fn tour_step(&mut self) {
        let Some(running) = &self.tour.running else {
            let worked = self.has_work().then(|| Box::new(self.session()));
            return self.go_to_stop(self.tour.start.stop, worked);
        };
        if self.busy() {
            return;
        }
        if self.model.is_none() {
            // It did not open: what its pane says stays, and the tour goes on without it.
            return self.tour_skip();
        }
        if !running.waiting.is_empty() {
            return;
        }
        let (stop, steps) = (running.stop, running.steps);
        if running.wandered {
            // The stop again, up to where it was.
            self.set_scene(stop);
            let again: VecDeque<Deed> = stops()[stop].steps[..steps].iter().flat_map(StopStep::deeds).collect();
            if let Some(running) = &mut self.tour.running {
                (running.steps, running.deeds, running.wandered, running.waiting) = (0, 0, false, again);
            }
        } else if let Some(step) = self.tour_step_ahead() {
            let rest: VecDeque<Deed> = step.deeds().into_iter().skip(running.deeds).collect();
            if let Some(running) = &mut self.tour.running {
                running.waiting = rest;
            }
        } else {
            self.tour_skip();
        }
        self.tour_goes_on();
    }

    /// The step that comes next at this stop.
    fn tour_step_ahead(&self) -> Option<&'static StopStep> {
        let running = self.tour.running.as_ref()?;
        let stop = stops().get(running.stop)?;
        // Without a real model the last stop is only a text.
        self.model_of(stop)?;
        stop.steps.get(running.steps)
    }

    /// On to the next stop; after the last one the tour ends.
    pub(super) fn tour_skip(&mut self) {
        let Some(running) = &mut self.tour.running else {
            return self.warn(format!("there is no tour; {} begins it", self.key_of(Action::TourStep)));
        };
        let (next, before) = (running.stop + 1, running.before.take());
        if next < stops().len() {
            self.go_to_stop(next, before);
        } else {
            self.end_tour(0, before);
            if self.message.is_none() {
                let key = self.key_of(Action::TourStep);
                self.say(format!("that was the tour; everything you saw is yours to use, and {key} begins it again"));
            }
        }
    }

    /// Leaves the tour; what was on the screen before it comes back.
    pub(super) fn tour_leave(&mut self) {
        let Some(running) = &mut self.tour.running else {
            return self.warn(format!("there is no tour; {} begins it", self.key_of(Action::TourStep)));
        };
        let (stop, before) = (running.stop, running.before.take());
        self.end_tour(stop, before);
        let key = self.key_of(Action::TourStep);
        self.say(format!("the tour is left; {key} goes on with it"));
    }

    fn end_tour(&mut self, stop: usize, before: Option<Box<Session>>) {
        self.tour.running = None;
        self.tour.start.stop = stop;
        self.effects.push(Effect::KeepTour(stop));
        match before {
            Some(session) => self.restart(*session),
            // What the tour shows is nobody's work: it is kept when more is done with it.
            None => self.begun = self.session(),
        }
    }

    fn go_to_stop(&mut self, stop: usize, before: Option<Box<Session>>) {
        let stop = if stop < stops().len() { stop } else { 0 };
        if stops().is_empty() {
            return;
        }
        self.tour.running =
            Some(Running { stop, steps: 0, deeds: 0, wandered: false, waiting: VecDeque::new(), before });
        self.effects.push(Effect::KeepTour(stop));
        self.set_scene(stop);
    }

    /// The model of a stop: its own, or the real one that is there.
    fn model_of<'a>(&'a self, stop: &'a Stop) -> Option<&'a str> {
        stop.model.as_deref().or(self.tour.start.real.as_deref())
    }

    /// Puts the explorer where a stop begins.
    fn set_scene(&mut self, stop: usize) {
        let stop = &stops()[stop];
        let Some(model) = self.model_of(stop) else { return };
        let mut scene = Session::new(model);
        (scene.prompt, scene.tab, scene.options) = (Some(stop.prompt.clone()), stop.tab, self.options.clone());
        (scene.target, scene.contrast) = (stop.target.clone(), stop.contrast.clone());
        self.restart(scene);
    }

    /// Does what waits, as soon as nothing runs.
    pub(super) fn tour_goes_on(&mut self) {
        while !self.busy() && self.model.is_some() {
            let Some(running) = &mut self.tour.running else { return };
            let Some((action, argument)) = running.waiting.pop_front() else { return };
            match argument {
                Some(text) => self.submit(action, &text),
                None => self.perform(action, 1),
            }
            // Its questions are asked before the next thing is done.
            self.ask_what_is_missing();
        }
    }

    /// The tour hears of everything that is done: it is the next thing of its script, or something else. Whether it is to be done now: what comes
    /// before its time is done when nothing runs any more.
    pub(super) fn tour_lets(&mut self, action: Action, argument: Option<&str>) -> bool {
        let busy = self.busy();
        let Some(step) = self.tour_step_ahead() else { return true };
        let Some(running) = &mut self.tour.running else { return true };
        let deeds = step.deeds();
        match deeds.get(running.deeds) {
            _ if is_harmless(action) => {}
            // The line that asks for an argument was only opened.
            Some((next, Some(_))) if *next == action && argument.is_none() => {}
            Some((next, text)) if *next == action && text.as_deref() == argument && !running.wandered => {
                if busy {
                    running.waiting.push_back((action, argument.map(str::to_owned)));
                    return false;
                }
                running.deeds += 1;
                if running.deeds == deeds.len() {
                    (running.steps, running.deeds) = (running.steps + 1, 0);
                }
            }
            _ => running.wandered = true,
        }
        true
    }

    /// The tour hears that something was done by other ways than an action: by the mouse, or in a text.
    pub(super) fn tour_wanders(&mut self) {
        self.tour.running.iter_mut().for_each(|running| running.wandered = true);
    }

    /// What the tour says now.
    pub fn tour_says(&self) -> Option<TourText> {
        let running = self.tour.running.as_ref()?;
        let stop = stops().get(running.stop)?;
        let go_on = self.key_of(Action::TourStep);
        let text = match running.steps.checked_sub(1).and_then(|done| stop.steps.get(done)) {
            Some(step) => &step.says,
            None if self.model_of(stop).is_none() => stop.without.as_ref().unwrap_or(&stop.says),
            None => &stop.says,
        };
        let next = match (self.tour_step_ahead(), stops().get(running.stop + 1)) {
            _ if running.wandered => (vec![go_on], "comes back to the tour; until then look where you like".to_owned()),
            (Some(step), _) => (self.keys_of(&step.deeds()[running.deeds..]), step.aim.clone()),
            (None, Some(next)) => (vec![go_on], format!("goes on to: {}", next.title)),
            (None, None) => (vec![go_on], "ends the tour".to_owned()),
        };
        let model = self.model_of(stop).unwrap_or_default();
        let text = text.replace("{model}", model.rsplit('/').next().unwrap_or(model));
        Some(TourText { stop: (running.stop + 1, stops().len()), title: &stop.title, text, next })
    }

    /// The keys of actions, and what is typed into the lines that they open.
    fn keys_of(&self, deeds: &[Deed]) -> Vec<String> {
        let context = |action: &Action| action.context().unwrap_or_else(|| self.context());
        let mut keys = Vec::new();
        for (action, argument) in deeds {
            let of_it = self.keymap.keys(context(action), *action).into_iter().next();
            keys.push(of_it.unwrap_or_else(|| format!(":{action}")));
            if let (Some(text), Argument::Asked(_)) = (argument, action.argument()) {
                keys.extend([text.clone(), "Enter".to_owned()]);
            }
        }
        keys
    }

    /// Whether the tour runs.
    pub fn on_tour(&self) -> bool {
        self.tour.running.is_some()
    }

    /// The session that the tour interrupted: what is to be kept meanwhile.
    pub(super) fn before_the_tour(&self) -> Option<Session> {
        self.tour.running.as_ref()?.before.as_deref().cloned()
    }
}

/// What may be done at any time: it changes nothing that the script tells of.
fn is_harmless(action: Action) -> bool {
    use Action::{
        Cancel, Help, Interrupt, Methods, Palette, Quit, Repaint, Screenshot, Suspend, TourLeave, TourSkip, TourStep,
    };
    let harmless =
        [Cancel, Help, Interrupt, Methods, Palette, Quit, Repaint, Screenshot, Suspend, TourLeave, TourSkip, TourStep];
    harmless.contains(&action)
}
