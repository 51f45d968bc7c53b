//! The tour's box between the header and the tab: what is to be seen, and what to press next.

use super::{Canvas, text};
use crate::action::Action;
use crate::app::tour::TourText;
use ratatui::layout::Rect;
use ratatui::style::{Modifier, Style};

impl Canvas<'_> {
    /// ```text
    /// Tour 2/7: What the layers think ─────────── ; next  g ; skip  g q leave
    /// Every layer writes into one stream of numbers per token. …
    /// 5  the circuit
    /// ```
    pub(super) fn tour(&mut self, area: Rect) {
        let Some(said) = self.app.tour_says().filter(|_| area.height > 0) else { return };
        let theme = self.theme;
        let TourText { stop: (at, of), title, text, next: (keys, aim) } = said;
        self.heading(area, area.y, &format!("Tour {at}/{of}: {title}"), theme.title());
        let offered = [(Action::TourStep, "next"), (Action::TourSkip, "skip"), (Action::TourLeave, "leave")];
        let offered: Vec<String> = offered.iter().map(|(a, word)| format!("{} {word}", self.app.key_of(*a))).collect();
        let offered = format!(" {}", offered.join("  "));
        let x = area.right().saturating_sub(crate::cast::on_screen(text::width(&offered)));
        self.put(area, x, area.y, &offered, theme.dim());
        let body = Rect { y: area.y + 1, height: area.height.saturating_sub(2), ..area };
        self.facts(body, &text);
        if area.height < 2 {
            return;
        }
        let y = area.bottom() - 1;
        if self.app.busy() {
            self.put(area, area.x, y, "it runs", theme.dim());
            return;
        }
        let mut x = area.x;
        for key in keys {
            x = self.put(area, x, y, &key, theme.key());
            x = self.put(area, x, y, " ", Style::new());
        }
        self.put(area, x, y, &format!(" {aim}"), Style::new().add_modifier(Modifier::BOLD));
    }

    /// A text broken at the width of its area; what stands between backquotes is to be seen on the screen, and stands out.
    fn facts(&mut self, area: Rect, text: &str) {
        let (mut x, mut y, mut fact) = (area.x, area.y, false);
        for word in text.split_whitespace() {
            let parts: Vec<&str> = word.split('`').collect();
            let width = crate::cast::on_screen(parts.iter().map(|part| text::width(part)).sum());
            if x > area.x && x.saturating_add(width) > area.right() {
                (x, y) = (area.x, y + 1);
            }
            if y >= area.bottom() {
                return;
            }
            for (at, part) in parts.iter().enumerate() {
                fact ^= at > 0;
                let style = if fact { self.theme.key() } else { Style::new() };
                x = self.put(area, x, y, part, style);
            }
            if x < area.right() {
                // Between the words of one fact as well.
                x = self.put(area, x, y, " ", Style::new());
            }
        }
    }
}
