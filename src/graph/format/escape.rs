//! Text of tokens and labels made safe to print.

/// `text` with control and format characters written as escapes, so that it cannot move the cursor or hide what follows.
pub(super) fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_format(c) {
            escaped.extend(c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    escaped
}

/// Joiners, direction marks, line separators and the like: invisible, but they change how the rest is shown.
fn is_format(c: char) -> bool {
    matches!(c, '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_would_obey_is_spelled_out() {
        assert_eq!(escape("a\u{1b}[2J\n\t"), "a\\u{1b}[2J\\n\\t");
        assert_eq!(escape("\u{202e}x\u{200b}"), "\\u{202e}x\\u{200b}");
        assert_eq!(escape(" é 中 ⏎"), " é 中 ⏎");
    }
}
