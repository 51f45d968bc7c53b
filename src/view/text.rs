//! Text on the screen: escaped, cut by grapheme and width, padded. Nothing else writes what came from a model or a file.

use super::theme::Theme;
use crate::report::text::escape;
use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Style;
use unicode_segmentation::UnicodeSegmentation;
use unicode_width::UnicodeWidthStr;

/// Columns that text takes when it is drawn.
pub fn width(text: &str) -> usize {
    escape(text).width()
}

/// Text in at most `columns` columns, escaped; where something is cut off it ends in an ellipsis.
pub fn cut(text: &str, columns: usize, theme: Theme) -> String {
    let text = escape(text);
    if text.width() <= columns {
        return text.into_owned();
    }
    let room = columns.saturating_sub(theme.ellipsis().width());
    let (mut kept, mut used) = (String::new(), 0);
    for grapheme in text.graphemes(true) {
        if used + grapheme.width() > room {
            break;
        }
        used += grapheme.width();
        kept.push_str(grapheme);
    }
    if columns > 0 { kept + theme.ellipsis() } else { String::new() }
}

/// Text in at most `columns` columns as [`cut`], but its end is kept: of a path that is what tells it from others.
pub fn cut_left(text: &str, columns: usize, theme: Theme) -> String {
    let text = escape(text);
    if text.width() <= columns {
        return text.into_owned();
    }
    let room = columns.saturating_sub(theme.ellipsis().width());
    let (mut from, mut used) = (text.len(), 0);
    for (at, grapheme) in text.grapheme_indices(true).rev() {
        if used + grapheme.width() > room {
            break;
        }
        (from, used) = (at, used + grapheme.width());
    }
    if columns > 0 { format!("{}{}", theme.ellipsis(), &text[from..]) } else { String::new() }
}

/// Draws text at a place inside `area`, cut at its right edge; returns the column after it.
pub fn put(buffer: &mut Buffer, area: Rect, x: u16, y: u16, text: &str, style: Style, theme: Theme) -> u16 {
    let area = area.intersection(buffer.area);
    if y < area.top() || y >= area.bottom() || x < area.left() || x >= area.right() {
        return x;
    }
    let text = cut(text, usize::from(area.right() - x), theme);
    buffer.set_stringn(x, y, text, usize::from(area.right() - x), style).0
}

/// Lines of at most `columns` columns, broken at spaces where there are any.
pub fn wrap(text: &str, columns: usize) -> Vec<String> {
    let mut lines = Vec::new();
    for line in text.split('\n') {
        let escaped = escape(line);
        let (mut current, mut used) = (String::new(), 0);
        for word in escaped.split_inclusive(' ') {
            if used > 0 && used + word.trim_end().width() > columns {
                lines.push(std::mem::take(&mut current));
                used = 0;
            }
            for grapheme in word.graphemes(true) {
                if used + grapheme.width() > columns.max(1) {
                    lines.push(std::mem::take(&mut current));
                    used = 0;
                }
                used += grapheme.width();
                current.push_str(grapheme);
            }
        }
        lines.push(current);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_is_cut_between_graphemes() {
        let theme = Theme::default();
        assert_eq!(cut("hello", 5, theme), "hello");
        assert_eq!(cut("hello", 4, theme), "hel…");
        assert_eq!(cut("語語語", 5, theme), "語語…");
        assert_eq!(cut("語語", 2, theme), "…");
        assert_eq!(cut("a\u{1b}[2J", 20, theme), "a\\u{1b}[2J");
        assert_eq!(cut("abc", 0, theme), "");
        assert_eq!(cut_left("hello", 5, theme), "hello");
        assert_eq!(cut_left("hello", 4, theme), "…llo");
        assert_eq!(cut_left("語語語", 4, theme), "…語");
        assert_eq!(cut_left("abc", 0, theme), "");
    }

    #[test]
    fn lines_break_at_spaces() {
        assert_eq!(wrap("one two three", 8), ["one two ", "three"]);
        assert_eq!(wrap("abcdefgh", 3), ["abc", "def", "gh"]);
        assert_eq!(wrap("a\n\nb", 3), ["a", "", "b"]);
    }
}
