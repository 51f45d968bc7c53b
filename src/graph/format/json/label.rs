//! The label of a logit, `Output "token" (p=0.123)`: both viewers take the token and the probability out of it (trap 2).

/// A token's text without the quotes that would end it early in the viewers.
pub(super) fn safe_token(text: &str) -> String {
    text.replace('"', "\u{201d}")
}

/// The token in a logit's label `Output "token" (p=0.123)`.
pub(super) fn token_in(clerp: &str) -> Option<&str> {
    let start = clerp.find('"')? + 1;
    let rest = clerp.get(start..)?;
    let end = rest.rfind("\" (p=").or_else(|| rest.find('"'))?;
    rest.get(..end)
}

/// The probability in a logit's label.
pub(super) fn probability_in(clerp: &str) -> Option<f32> {
    let rest = clerp.split_once("(p=")?.1;
    let number = rest.split(')').next()?.trim().parse::<f32>().ok()?;
    number.is_finite().then_some(number)
}
