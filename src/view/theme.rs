//! Styles by what they mean. The default uses the terminal's own 16 colours and background.

use crate::cast::whole;
use crate::report::text::{LEVELS, SPARK, spark};
use anyhow::{Result, bail};
use ratatui::style::{Color, Modifier, Style};
use std::str::FromStr;

/// Below this share of the strongest value a cell has no colour.
const FAINT: f32 = 0.05;

/// Black and white of the cube: what terminals make of the names is their own.
const BLACK: u8 = 16;
const WHITE: u8 = 231;

/// How many colours may be used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Colors {
    /// None: bold, dim and reverse video only.
    Mono,
    /// The 16 names.
    #[default]
    Sixteen,
    /// The 256 of the cube.
    Many,
    /// Any: 24 bits.
    True,
}

/// What `--theme` accepts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ThemeName {
    /// As many colours as the terminal shows.
    #[default]
    Auto,
    /// No colours.
    Mono,
    /// The terminal's 16 colours.
    Terminal,
}

impl ThemeName {
    /// What `--theme` calls it.
    pub fn name(self) -> &'static str {
        match self {
            ThemeName::Auto => "auto",
            ThemeName::Mono => "mono",
            ThemeName::Terminal => "terminal",
        }
    }
}

impl FromStr for ThemeName {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        Ok(match text {
            "auto" => ThemeName::Auto,
            "mono" => ThemeName::Mono,
            "terminal" => ThemeName::Terminal,
            _ => bail!("theme {text:?} is not known; accepted: auto, mono, terminal"),
        })
    }
}

/// Colours and glyphs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Theme {
    /// How many colours may be used.
    pub colors: Colors,
    /// Whether only ASCII is drawn, but for the text of tokens.
    pub ascii: bool,
}

impl Theme {
    fn color(self, color: Color) -> Style {
        if self.colors == Colors::Mono { Style::new() } else { Style::new().fg(color) }
    }

    /// Headings.
    pub fn title(self) -> Style {
        self.color(Color::Cyan).add_modifier(Modifier::BOLD)
    }

    /// What is secondary.
    pub fn dim(self) -> Style {
        Style::new().add_modifier(Modifier::DIM)
    }

    /// Keys in hints and help.
    pub fn key(self) -> Style {
        self.color(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// The selected row or cell.
    pub fn selected(self) -> Style {
        Style::new().add_modifier(Modifier::REVERSED)
    }

    /// What is selected in a pane that keys do not move in.
    pub fn selected_beside(self) -> Style {
        Style::new().add_modifier(Modifier::UNDERLINED)
    }

    /// Addresses.
    pub fn address(self) -> Style {
        self.color(Color::Blue)
    }

    /// The target token.
    pub fn target(self) -> Style {
        self.color(Color::Green).add_modifier(Modifier::BOLD)
    }

    /// Failures.
    pub fn error(self) -> Style {
        self.color(Color::Red).add_modifier(Modifier::BOLD)
    }

    /// What cannot be done here.
    pub fn warning(self) -> Style {
        self.color(Color::Yellow).add_modifier(Modifier::BOLD)
    }

    /// Edits, and what they changed.
    pub fn edited(self) -> Style {
        self.color(Color::Magenta)
    }

    /// Bars.
    pub fn bar(self) -> Style {
        self.color(Color::Blue)
    }

    /// A value from -1 to 1: blue below zero, orange above; the glyph says how far, and a minus sign which way.
    pub fn shade(self, value: f32) -> Style {
        let (value, strength) = (if value.is_finite() { value } else { 0.0 }, value.abs().clamp(0.0, 1.0));
        match self.colors {
            Colors::Mono => Style::new(),
            // What is next to nothing has no colour of its own.
            Colors::Sixteen if strength < FAINT => Style::new(),
            Colors::Sixteen if value < 0.0 => Style::new().fg(Color::Blue),
            Colors::Sixteen => Style::new().fg(Color::Yellow),
            Colors::Many | Colors::True => {
                // The cube's blues and oranges, from pale to full.
                const COLD: [u8; 5] = [252, 153, 111, 69, 33];
                const WARM: [u8; 5] = [252, 223, 216, 209, 202];
                let step = whole(strength * 4.99);
                Style::new().fg(Color::Indexed(if value < 0.0 { COLD[step] } else { WARM[step] }))
            }
        }
    }

    /// The ground of a cell of a heat map for a value from -1 to 1: blue below zero, orange above, the terminal's own around zero. Letters on it
    /// are black or white, whichever is read better. Colours go from grey to full at about one lightness, so that they say the same on dark
    /// terminals and on light ones. Without colours there is none: glyphs and numbers say it.
    pub fn heat(self, value: f32) -> Style {
        let value = if value.is_finite() { value } else { 0.0 };
        let strength = value.abs().min(1.0);
        if self.colors == Colors::Mono || strength < FAINT {
            return Style::new();
        }
        match self.colors {
            Colors::Mono => Style::new(),
            Colors::Sixteen if strength < 0.5 => self.shade(value),
            Colors::Sixteen if value < 0.0 => Style::new().fg(Color::White).bg(Color::Blue),
            Colors::Sixteen => Style::new().fg(Color::Black).bg(Color::Yellow),
            Colors::Many => {
                const COLD: [u8; 4] = [103, 68, 33, 27];
                const WARM: [u8; 4] = [138, 173, 208, 202];
                let step = whole(strength * 3.99);
                let ground = if value < 0.0 { COLD[step] } else { WARM[step] };
                let ink = if value < 0.0 && step == 3 { WHITE } else { BLACK };
                Style::new().fg(Color::Indexed(ink)).bg(Color::Indexed(ground))
            }
            Colors::True => {
                const GREY: [u8; 3] = [134, 130, 126];
                const COLD: [u8; 3] = [24, 104, 232];
                const WARM: [u8; 3] = [247, 108, 0];
                let full = if value < 0.0 { COLD } else { WARM };
                // In sixteenths: a cell that hardly changes is not written again.
                let part = (strength * 16.0).round() / 16.0;
                let mixed = |of: usize| {
                    let (from, to) = (f32::from(GREY[of]), f32::from(full[of]));
                    u8::try_from(whole((from + (to - from) * part).round())).unwrap_or(u8::MAX)
                };
                let ink = if value < 0.0 && strength > 0.6 { WHITE } else { BLACK };
                Style::new().fg(Color::Indexed(ink)).bg(Color::Rgb(mixed(0), mixed(1), mixed(2)))
            }
        }
    }

    /// Whether heat maps have grounds that tell steps apart, so that glyphs need not.
    pub fn has_grounds(self) -> bool {
        self.colors >= Colors::Many
    }

    /// A value from -1 to 1 in a cell of two columns on its ground: sign and tenths (9 is the strongest too), so that it is read
    /// without its colour as well.
    pub fn tenths(self, value: f32) -> String {
        let tenths = whole((if value.is_finite() { value.abs().clamp(0.0, 1.0) } else { 0.0 } * 10.0).round());
        match tenths {
            0 => "  ".to_owned(),
            _ => format!("{}{}", if value < 0.0 { '-' } else { ' ' }, tenths.min(9)),
        }
    }

    /// The glyph of a value from -1 to 1, two columns wide.
    pub fn glyph(self, value: f32) -> &'static str {
        const BLOCKS: [[&str; 5]; 2] = [["  ", "░░", "▒▒", "▓▓", "██"], ["  ", "-░", "-▒", "-▓", "-█"]];
        const ASCII: [[&str; 5]; 2] = [["  ", "..", "::", "++", "##"], ["  ", "-.", "-:", "-+", "-#"]];
        let glyphs = if self.ascii { ASCII } else { BLOCKS };
        let strength = if value.is_nan() { 0.0 } else { value.abs().clamp(0.0, 1.0) };
        // Half a step is the least that shows.
        glyphs[usize::from(value < 0.0)][whole((strength * 4.0).round())]
    }

    /// A bar of at most `width` columns for a value from 0 to 1.
    pub fn bar_text(self, value: f32, width: usize) -> String {
        let eighths = whole((value.clamp(0.0, 1.0) * (width * 8) as f32).round());
        if self.ascii {
            return "#".repeat((eighths + 4) / 8);
        }
        const PARTS: [&str; 8] = ["", "▏", "▎", "▍", "▌", "▋", "▊", "▉"];
        "█".repeat(eighths / 8) + PARTS[eighths % 8]
    }

    /// Values over positions, small.
    pub fn spark(self, values: &[f32]) -> String {
        const ASCII: [&str; 6] = ["_", ".", "-", "=", "+", "#"];
        spark(values, SPARK, if self.ascii { &ASCII } else { &LEVELS })
    }

    /// What stands beside what is marked.
    pub fn mark(self) -> &'static str {
        if self.ascii { "*" } else { "•" }
    }

    /// Says that there is more to the right, or to the left.
    pub fn more(self, right: bool) -> &'static str {
        match (self.ascii, right) {
            (true, true) => ">",
            (true, false) => "<",
            (false, true) => "›",
            (false, false) => "‹",
        }
    }

    /// A horizontal rule's character.
    pub fn rule(self) -> &'static str {
        if self.ascii { "-" } else { "─" }
    }

    /// What stands where text was cut.
    pub fn ellipsis(self) -> &'static str {
        if self.ascii { "~" } else { "…" }
    }

    /// Between before and after.
    pub fn arrow(self) -> &'static str {
        if self.ascii { "->" } else { "→" }
    }

    /// Before a bar that separates things side by side.
    pub fn divider(self) -> &'static str {
        if self.ascii { "|" } else { "│" }
    }
}
