//! Load time and peak memory of whole `mechscope predict` processes on 498 MB of weights of GPT-2 small's shape.
//!
//! `cargo bench --bench load`. Prints, for each stored dtype, the wall time and the peak resident memory of the process
//! beside the size of the weights in the compute dtype.

#![allow(clippy::zombie_processes, reason = "wait4 waits for the child")]
#![allow(clippy::print_stdout, reason = "a bench prints its numbers")]

mod common;

use candle_core::DType;
use std::collections::HashMap;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Instant;

const DTYPES: [DType; 3] = [DType::F32, DType::F16, DType::BF16];

fn main() {
    // A child's peak counts what its parent held when it was started, so another process makes the files.
    if let Some(folder) = std::env::var_os("MECHSCOPE_BENCH_FILES") {
        return make(Path::new(&folder));
    }
    let root = std::env::temp_dir().join(format!("mechscope-load-bench-{}", std::process::id()));
    let own = std::env::current_exe().expect("the path of this bench");
    let made = Command::new(own).env("MECHSCOPE_BENCH_FILES", &root).status().expect("the files are made");
    assert!(made.success(), "the files could not be made");
    let size = std::fs::metadata(root.join("F32").join("model.safetensors")).expect("weights").len();
    println!("weights in f32: {:.0} MB", size as f64 / 1e6);
    for dtype in DTYPES {
        for n in [1, 64, 512] {
            let ids: Vec<String> = common::prompt(n).iter().map(u32::to_string).collect();
            let (mut best, mut peak) = (f64::MAX, 0);
            for _ in 0..3 {
                let begun = Instant::now();
                peak = peak.max(predict(&root.join(format!("{dtype:?}")), &ids.join(",")));
                best = best.min(begun.elapsed().as_secs_f64());
            }
            let share = peak as f64 / size as f64;
            println!(
                "stored {dtype:?}, {n:3} tokens: {best:.2} s, peak {:.0} MB, {share:.3} of f32",
                peak as f64 / 1e6
            );
        }
    }
    std::fs::remove_dir_all(&root).expect("the temporary folder goes");
}

/// Runs `mechscope predict`; its peak resident memory in bytes.
#[allow(unsafe_code)]
fn predict(folder: &Path, ids: &str) -> usize {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mechscope"));
    command.args(["predict", "--ids", ids, "-m"]).arg(folder).stdout(Stdio::null());
    let child = command.spawn().expect("the program starts");
    let mut status = 0;
    // SAFETY: all zeros is a valid rusage; both pointers are to live values; the child has not been waited for.
    let usage = unsafe {
        let mut usage = std::mem::zeroed::<libc::rusage>();
        libc::wait4(child.id() as i32, &mut status, 0, &mut usage);
        usage
    };
    assert_eq!(status, 0, "predict failed");
    usage.ru_maxrss as usize * 1024
}

fn make(root: &Path) {
    let weights = common::weights();
    for dtype in DTYPES {
        let folder = root.join(format!("{dtype:?}"));
        std::fs::create_dir_all(&folder).expect("a temporary folder");
        std::fs::write(folder.join("config.json"), common::CONFIG).expect("config.json");
        let stored: HashMap<String, _> =
            weights.iter().map(|(k, t)| (k.clone(), t.to_dtype(dtype).expect("a conversion"))).collect();
        candle_core::safetensors::save(&stored, folder.join("model.safetensors")).expect("model.safetensors");
    }
}
