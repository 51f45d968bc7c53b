//! CPU kernels on plain `f32` slices: what the forward pass spends its time in, vectorised and split over threads.
//!
//! Matrices are row-major. Every kernel splits its work so that each output element is summed by one thread in one
//! order: results do not depend on the number of threads.

#![allow(unsafe_code)]

pub mod activation;
pub mod attention;
pub mod attention_back;
pub mod lanes;
pub mod matmul;
mod panel;
pub mod rows;
pub mod shared;

/// Declares a function whose loops the compiler may vectorise for the widest instruction set the CPU has, chosen at
/// run time, so that one binary is fast on AVX-512 and AVX2 machines and still runs on any other.
macro_rules! widest {
    ($(#[$meta:meta])* $vis:vis fn $name:ident($($arg:ident: $ty:ty),* $(,)?) $body:block) => {
        $(#[$meta])*
        #[allow(unsafe_code)]
        $vis fn $name($($arg: $ty),*) {
            #[inline(always)]
            fn body($($arg: $ty),*) $body
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512vl,avx512dq,avx2,fma")]
                fn avx512($($arg: $ty),*) { body($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                fn avx2($($arg: $ty),*) { body($($arg),*) }
                use crate::model::kernel::{Level, level};
                match level() {
                    // SAFETY: `level` has checked that the CPU has these features.
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Baseline => {}
                }
            }
            body($($arg),*)
        }
    };
}
pub(crate) use widest;

/// The widest vector instructions this CPU offers to our kernels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// 16 lanes of `f32`.
    Avx512,
    /// 8 lanes of `f32` with fused multiply-add.
    Avx2,
    /// What the target guarantees.
    Baseline,
}

/// Detects the CPU once.
pub fn level() -> Level {
    use std::sync::OnceLock;
    static LEVEL: OnceLock<Level> = OnceLock::new();
    *LEVEL.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        {
            let avx2 = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
            let has = [
                is_x86_feature_detected!("avx512f"),
                is_x86_feature_detected!("avx512vl"),
                is_x86_feature_detected!("avx512dq"),
            ];
            if avx2 && has.iter().all(|&h| h) {
                return Level::Avx512;
            }
            if avx2 {
                return Level::Avx2;
            }
        }
        Level::Baseline
    })
}
