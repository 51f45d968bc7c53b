//! Settings in a list: what each changes, and how it is set.

use super::{Choice, PickerItem};

/// Name, what it changes, and how it is written.
const ALL: [(&str, &str, &str); 5] = [
    (
        "theme",
        "Colours: as many as the terminal shows, none, or the terminal's own 16",
        "--theme auto, mono or terminal",
    ),
    ("ascii", "Draw with ASCII characters only", "--ascii"),
    ("mouse", "Use the wheel and clicks", "--mouse"),
    ("model", "The model opened when none is named", "--model NAME"),
    ("keymap", "Keys laid over the default ones: vim, emacs or arrows", "--keymap NAME"),
];

/// Every setting.
pub(super) fn all() -> impl Iterator<Item = PickerItem> {
    ALL.into_iter().map(|(name, about, option)| PickerItem {
        choice: Choice::Setting(name),
        group: "Settings",
        name: name.to_owned(),
        keys: "setting".to_owned(),
        about: about.to_owned(),
        more: format!(
            "For once: {option}. For good: {name} = ... in config.toml; mechscope config prints where that is."
        ),
    })
}
