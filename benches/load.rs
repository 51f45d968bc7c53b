//! Load time and peak memory of whole `mechscope predict` processes on 498 MB of weights of GPT-2 small's shape.
//!
//! `cargo bench --bench load`. Prints, for each stored dtype, the wall time and the peak resident memory of the process
//! beside the size of the weights in the compute dtype.

mod common;

use candle_core::DType;
use std::collections::HashMap;
use std::process::{Command, Stdio};
use std::time::Instant;

fn main() {
    let folder = std::env::temp_dir().join(format!("mechscope-load-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    std::fs::write(folder.join("config.json"), common::CONFIG).expect("config.json");
    let weights = common::weights();
    let bytes: usize = weights.values().map(|t| t.elem_count() * 4).sum();
    println!("weights in f32: {:.0} MB", bytes as f64 / 1e6);
    for dtype in [DType::F32, DType::F16, DType::BF16] {
        let stored: HashMap<String, _> =
            weights.iter().map(|(k, t)| (k.clone(), t.to_dtype(dtype).expect("a conversion"))).collect();
        candle_core::safetensors::save(&stored, folder.join("model.safetensors")).expect("model.safetensors");
        for n in [1, 64, 512] {
            let ids: Vec<String> = common::prompt(n).iter().map(u32::to_string).collect();
            let (mut best, mut peak) = (f64::MAX, 0);
            for _ in 0..3 {
                let begun = Instant::now();
                let child = Command::new(env!("CARGO_BIN_EXE_mechscope"))
                    .args(["predict", "--ids", &ids.join(","), "-m"])
                    .arg(&folder)
                    .stdout(Stdio::null())
                    .spawn()
                    .expect("the program starts");
                let (mut status, mut usage) = (0, unsafe { std::mem::zeroed::<libc::rusage>() });
                // SAFETY: both pointers are to live values; the child has not been waited for.
                unsafe { libc::wait4(child.id() as i32, &mut status, 0, &mut usage) };
                assert_eq!(status, 0, "predict failed");
                best = best.min(begun.elapsed().as_secs_f64());
                peak = peak.max(usage.ru_maxrss as usize * 1024);
            }
            println!(
                "stored {dtype:?}, {n:3} tokens: {best:.2} s, peak {:.0} MB = {:.3} of the weights in f32",
                peak as f64 / 1e6,
                peak as f64 / bytes as f64
            );
        }
    }
    std::fs::remove_dir_all(&folder).expect("the temporary folder goes");
}
