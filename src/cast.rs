//! Conversions between kinds of numbers that may lose something: each says what becomes of what does not fit. `as` is not used for these.

/// A number in single precision: the nearest `f32`, infinite beyond its range. Sums are made in `f64`; reports and files hold `f32`.
#[expect(clippy::cast_possible_truncation, reason = "the nearest number is what is asked for")]
#[inline]
pub const fn single(x: f64) -> f32 {
    x as f32
}

/// A count, the number of a node or the id of a token in 32 bits, as graphs and tokenizers keep them. What does not fit is the greatest number,
/// which is none of them.
#[expect(clippy::cast_possible_truncation, reason = "it fits")]
#[inline]
pub const fn short(n: usize) -> u32 {
    if n > u32::MAX as usize { u32::MAX } else { n as u32 }
}

/// A count or a place where offsets are added to it; at most `i64::MAX`.
#[inline]
pub fn signed(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// Back from [`signed`]: what is below 0 is 0.
#[inline]
pub fn unsigned(n: i64) -> usize {
    usize::try_from(n.max(0)).unwrap_or(usize::MAX)
}

/// A count that was read or made in 64 bits; what does not fit into memory is the greatest number.
#[inline]
pub fn size(n: u64) -> usize {
    usize::try_from(n).unwrap_or(usize::MAX)
}

/// The whole part of a number; 0 below 0 and for what is not a number.
#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "both ends are as documented")]
#[inline]
pub fn whole(x: impl Into<f64>) -> usize {
    x.into() as usize
}

/// Columns or lines of a terminal, which has at most 65,535.
#[inline]
pub fn on_screen(n: usize) -> u16 {
    u16::try_from(n).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_becomes_what_is_said() {
        assert_eq!((single(0.1), single(1e300), single(-1e300)), (0.1, f32::INFINITY, f32::NEG_INFINITY));
        assert!(single(f64::NAN).is_nan());
        assert_eq!((short(7), short(1 << 32), short(usize::MAX)), (7, u32::MAX, u32::MAX));
        assert_eq!((signed(7), signed(usize::MAX)), (7, i64::MAX));
        assert_eq!((unsigned(7), unsigned(-1), unsigned(i64::MIN)), (7, 0, 0));
        assert_eq!((size(7), size(u64::from(u32::MAX))), (7, u32::MAX as usize));
        assert_eq!((whole(2.9f32), whole(-2.9f64), whole(f64::NAN), whole(f32::INFINITY)), (2, 0, 0, usize::MAX));
        assert_eq!((on_screen(80), on_screen(70_000)), (80, u16::MAX));
    }
}
