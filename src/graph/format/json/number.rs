//! Numbers as JSON has them.

use crate::cast::single;
use serde_json::Value;

/// The shortest decimal that reads back as the same `f32`; null when it is not finite.
pub(in crate::graph) fn short(value: f32) -> Value {
    let exact = f64::from(value);
    let short: f64 = value.to_string().parse().unwrap_or(exact);
    // A reader goes through f64, which may round twice; then every digit is written.
    Value::from(if single(short) == value { short } else { exact })
}

/// Whether two values are equal, numbers as far as `f32` tells.
pub(super) fn same(a: &Value, b: &Value) -> bool {
    match (a.as_f64(), b.as_f64()) {
        (Some(x), Some(y)) => single(x) == single(y) && (a.is_f64() || b.is_f64() || a == b),
        _ => a == b,
    }
}

/// Undoes `z = (x + y)(x + y + 1) / 2 + y` (Cantor): the `feature` of a node from its layer and index.
pub(in crate::graph) fn cantor(layer: u32, index: u64) -> Option<u64> {
    let sum = u128::from(layer) + u128::from(index);
    // The largest sum squared is beyond 128 bits.
    u64::try_from(sum.checked_mul(sum + 1)? / 2 + u128::from(index)).ok()
}

/// The layer and index of a Cantor number.
pub(super) fn cantor_inverse(z: u64) -> (u64, u64) {
    let z = u128::from(z);
    let w = ((8 * z + 1).isqrt() - 1) / 2;
    let index = z - w * (w + 1) / 2;
    let narrow = |n: u128| u64::try_from(n).unwrap_or(u64::MAX);
    (narrow(w - index), narrow(index))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn cantor_numbers_of_real_files() {
        assert_eq!(cantor(0, 12), Some(90));
        assert_eq!(cantor(2, 25), Some(403));
        assert_eq!(cantor(u32::MAX, u64::MAX), None);
        // Neurons of wide, deep models need more than 32 bits.
        assert_eq!(cantor(200, 500_000), Some(125_100_770_100));
        assert_eq!(cantor_inverse(u64::MAX).0 + cantor_inverse(u64::MAX).1, 6_074_000_999);
    }

    proptest! {
        #[test]
        fn cantor_numbers_undo(layer in 0..500u32, index in 0..4_000_000_000u64) {
            let z = cantor(layer, index).unwrap();
            prop_assert_eq!(cantor_inverse(z), (u64::from(layer), index));
        }

        #[test]
        fn any_f32_reads_back(bits in any::<u32>()) {
            let value = f32::from_bits(bits);
            if value.is_finite() {
                let written = serde_json::to_string(&short(value)).unwrap();
                let read: f64 = serde_json::from_str(&written).unwrap();
                prop_assert_eq!((read as f32).to_bits(), bits, "{}", written);
            }
        }
    }
}
