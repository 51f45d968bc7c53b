//! The number types of a GGUF file's tensors, by their numbers in `ggml.h`.

use crate::model::checkpoint::Stored;
use candle_core::quantized::GgmlDType;

/// The types that are read, for messages.
pub const ACCEPTED: &str =
    "F32, F16, BF16, F64, Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q8_1, Q2_K, Q3_K, Q4_K, Q5_K, Q6_K, Q8_K";

/// The type's name, and how its numbers are read; [`Stored::Other`] for those that are not.
pub fn of(number: u32) -> (String, Stored) {
    let (name, stored) = match number {
        0 => ("F32", Stored::F32),
        1 => ("F16", Stored::F16),
        2 => ("Q4_0", Stored::Blocks(GgmlDType::Q4_0)),
        3 => ("Q4_1", Stored::Blocks(GgmlDType::Q4_1)),
        6 => ("Q5_0", Stored::Blocks(GgmlDType::Q5_0)),
        7 => ("Q5_1", Stored::Blocks(GgmlDType::Q5_1)),
        8 => ("Q8_0", Stored::Blocks(GgmlDType::Q8_0)),
        9 => ("Q8_1", Stored::Blocks(GgmlDType::Q8_1)),
        10 => ("Q2_K", Stored::Blocks(GgmlDType::Q2K)),
        11 => ("Q3_K", Stored::Blocks(GgmlDType::Q3K)),
        12 => ("Q4_K", Stored::Blocks(GgmlDType::Q4K)),
        13 => ("Q5_K", Stored::Blocks(GgmlDType::Q5K)),
        14 => ("Q6_K", Stored::Blocks(GgmlDType::Q6K)),
        15 => ("Q8_K", Stored::Blocks(GgmlDType::Q8K)),
        28 => ("F64", Stored::F64),
        30 => ("BF16", Stored::Bf16),
        _ => (unread(number), Stored::Other),
    };
    (if name.is_empty() { format!("number {number}") } else { name.to_owned() }, stored)
}

fn unread(number: u32) -> &'static str {
    match number {
        16 => "IQ2_XXS",
        17 => "IQ2_XS",
        18 => "IQ3_XXS",
        19 => "IQ1_S",
        20 => "IQ4_NL",
        21 => "IQ3_S",
        22 => "IQ2_S",
        23 => "IQ4_XS",
        24 => "I8",
        25 => "I16",
        26 => "I32",
        27 => "I64",
        29 => "IQ1_M",
        34 => "TQ1_0",
        35 => "TQ2_0",
        39 => "MXFP4",
        40 => "NVFP4",
        _ => "",
    }
}
