//! Pictures of the screen: SVG, plain text, or text with colours.

use crate::cast::on_screen;
use crate::report::text::escape;
use anyhow::{Result, bail};
use ratatui::buffer::{Buffer, Cell};
use ratatui::style::{Color, Modifier};
use std::fmt::Write;
use std::path::Path;
use unicode_width::UnicodeWidthStr;

/// Writes a picture; the file's ending says which kind. Returns its bytes.
///
/// # Errors
/// An ending that is not `.svg`, `.txt` or `.ans`, or a file that cannot be written.
pub fn save(buffer: &Buffer, file: &Path) -> Result<usize> {
    let text = match file.extension().and_then(|e| e.to_str()) {
        Some("svg") => svg(buffer),
        Some("txt") => plain(buffer),
        Some("ans") => ansi(buffer),
        _ => bail!("{}: accepted: a name that ends in .svg, .txt or .ans", file.display()),
    };
    crate::files::replace(file, |to| Ok(to.write_all(text.as_bytes())?))?;
    Ok(text.len())
}

/// The cells of a line; the second half of a wide character is left out.
fn line(buffer: &Buffer, y: u16) -> impl Iterator<Item = (u16, &Cell)> {
    let mut next = buffer.area.left();
    (buffer.area.left()..buffer.area.right()).filter_map(move |x| {
        if x < next {
            return None;
        }
        let cell = &buffer[(x, y)];
        next = x + on_screen(cell.symbol().width().max(1));
        Some((x, cell))
    })
}

/// The characters alone.
pub fn plain(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let line: String = line(buffer, y).map(|(_, cell)| cell.symbol()).collect();
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}

/// The characters with the escape sequences of their styles.
pub fn ansi(buffer: &Buffer) -> String {
    let mut text = String::new();
    for y in buffer.area.top()..buffer.area.bottom() {
        let mut style = String::new();
        for (_, cell) in line(buffer, y) {
            let codes = sgr(cell);
            if codes != style {
                let _ = write!(text, "\x1b[0{codes}m");
                style = codes;
            }
            text.push_str(cell.symbol());
        }
        text.push_str("\x1b[0m\n");
    }
    text
}

const MODIFIERS: [(Modifier, u8); 4] =
    [(Modifier::BOLD, 1), (Modifier::DIM, 2), (Modifier::UNDERLINED, 4), (Modifier::REVERSED, 7)];

fn sgr(cell: &Cell) -> String {
    let mut codes = String::new();
    for (_, code) in MODIFIERS.iter().filter(|(m, _)| cell.modifier.contains(*m)) {
        let _ = write!(codes, ";{code}");
    }
    codes += &color(cell.fg, 30);
    codes += &color(cell.bg, 40);
    codes
}

/// The codes of a colour: of letters from `first` 30, of grounds from 40.
fn color(color: Color, first: usize) -> String {
    match color {
        Color::Indexed(n) => format!(";{};5;{n}", first + 8),
        Color::Rgb(r, g, b) => format!(";{};2;{r};{g};{b}", first + 8),
        color => match NAMED.iter().position(|(c, _)| *c == color) {
            Some(n) if n < 8 => format!(";{}", first + n),
            Some(n) => format!(";{}", first + 52 + n),
            None => String::new(),
        },
    }
}

/// The 16 names in the order of their numbers, with the colours that pictures show for them on a light ground.
const NAMED: [(Color, &str); 16] = [
    (Color::Black, "#1f2328"),
    (Color::Red, "#b3261e"),
    (Color::Green, "#1a7f37"),
    (Color::Yellow, "#b35900"),
    (Color::Blue, "#0b5cad"),
    (Color::Magenta, "#8250df"),
    (Color::Cyan, "#0e7490"),
    (Color::Gray, "#6e7781"),
    (Color::DarkGray, "#57606a"),
    (Color::LightRed, "#cf222e"),
    (Color::LightGreen, "#2da44e"),
    (Color::LightYellow, "#d4a72c"),
    (Color::LightBlue, "#218bff"),
    (Color::LightMagenta, "#a475f9"),
    (Color::LightCyan, "#3192aa"),
    (Color::White, "#8c959f"),
];

/// Paper and ink.
const GROUND: (&str, &str) = ("#ffffff", "#1f2328");

fn css(color: Color) -> Option<String> {
    match color {
        Color::Indexed(n @ 16..=231) => {
            let part = |n: u8| if n == 0 { 0 } else { 55 + 40 * u32::from(n) };
            let n = n - 16;
            // On paper the pale end of a scale has to stay readable.
            let dark = |v: u32| v * 7 / 10;
            Some(format!("#{:02x}{:02x}{:02x}", dark(part(n / 36)), dark(part(n / 6 % 6)), dark(part(n % 6))))
        }
        Color::Indexed(n @ 232..) => {
            let v = (8 + 10 * u32::from(n - 232)) * 7 / 10;
            Some(format!("#{v:02x}{v:02x}{v:02x}"))
        }
        Color::Rgb(r, g, b) => Some(format!("#{r:02x}{g:02x}{b:02x}")),
        color => NAMED.iter().find(|(c, _)| *c == color).map(|(_, css)| (*css).to_owned()),
    }
}

/// A picture that stays sharp: runs of equal style as text of fixed width.
pub fn svg(buffer: &Buffer) -> String {
    const CELL: (f32, f32) = (8.4, 18.0);
    let area = buffer.area;
    let (width, height) = (f32::from(area.width) * CELL.0 + 16.0, f32::from(area.height) * CELL.1 + 16.0);
    let mut text = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
         viewBox=\"0 0 {width:.1} {height:.1}\" font-family=\"DejaVu Sans Mono, Menlo, Consolas, monospace\" \
         font-size=\"14\" xml:space=\"preserve\">\n<rect width=\"100%\" height=\"100%\" fill=\"{}\"/>\n",
        GROUND.0
    );
    for y in area.top()..area.bottom() {
        let mut runs: Vec<(u16, u16, String, &Cell)> = Vec::new();
        for (x, cell) in line(buffer, y) {
            let wide = on_screen(cell.symbol().width().max(1));
            match runs.last_mut() {
                Some((start, end, symbols, style))
                    if *end == x && (style.fg, style.bg) == (cell.fg, cell.bg) && style.modifier == cell.modifier =>
                {
                    symbols.push_str(cell.symbol());
                    *end = x + wide;
                    debug_assert!(*start < *end);
                }
                _ => runs.push((x, x + wide, cell.symbol().to_owned(), cell)),
            }
        }
        let top = f32::from(y) * CELL.1 + 8.0;
        for (start, end, symbols, cell) in runs {
            let (left, wide) = (f32::from(start) * CELL.0 + 8.0, f32::from(end - start) * CELL.0);
            let (ink, ground) = inks(cell);
            if let Some(ground) = &ground {
                let _ = writeln!(
                    text,
                    "<rect x=\"{left:.1}\" y=\"{top:.1}\" width=\"{wide:.1}\" height=\"{}\" fill=\"{ground}\"/>",
                    CELL.1
                );
            }
            if symbols.trim().is_empty() {
                continue;
            }
            let fill = &ink;
            let weight = if cell.modifier.contains(Modifier::BOLD) { " font-weight=\"bold\"" } else { "" };
            let dim = if cell.modifier.contains(Modifier::DIM) { " opacity=\"0.65\"" } else { "" };
            let line = if cell.modifier.contains(Modifier::UNDERLINED) { " text-decoration=\"underline\"" } else { "" };
            let _ = writeln!(
                text,
                "<text x=\"{left:.1}\" y=\"{:.1}\" textLength=\"{wide:.1}\" fill=\"{fill}\"{weight}{dim}{line}>{}</text>",
                top + 13.5,
                xml(&symbols)
            );
        }
    }
    text + "</svg>\n"
}

/// The colours of a cell's letters and of its ground, where that is not the paper.
fn inks(cell: &Cell) -> (String, Option<String>) {
    // On a ground of their own letters keep their colour: it was chosen for that ground.
    let ink = match cell.fg {
        Color::Indexed(16) => Some("#000000".to_owned()),
        Color::Indexed(231) if cell.bg != Color::Reset => Some(GROUND.0.to_owned()),
        color => css(color),
    };
    let ink = ink.unwrap_or_else(|| GROUND.1.to_owned());
    match (cell.modifier.contains(Modifier::REVERSED), ground(cell.bg)) {
        (true, paper) => (paper.unwrap_or_else(|| GROUND.0.to_owned()), Some(ink)),
        (false, ground) => (ink, ground),
    }
}

/// The colour of a ground as terminals show it: nothing has to be read of it, so nothing is darkened.
fn ground(color: Color) -> Option<String> {
    match color {
        Color::Indexed(n @ 16..=231) => {
            let part = |n: u8| if n == 0 { 0 } else { 55 + 40 * n };
            let n = n - 16;
            Some(format!("#{:02x}{:02x}{:02x}", part(n / 36), part(n / 6 % 6), part(n % 6)))
        }
        color => css(color),
    }
}

fn xml(text: &str) -> String {
    escape(text).replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
