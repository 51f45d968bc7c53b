//! The explorer where there is little memory: it opens, or says beforehand what is missing, and the terminal is whole either way.

use super::program::{PATIENCE, Program};
use std::time::{Duration, Instant};

#[test]
fn under_any_limit_it_opens_or_says_what_is_missing() {
    let program = env!("CARGO_BIN_EXE_mechscope");
    let (mut opened, mut refused) = (0, 0);
    for kilobytes in [90_000, 120_000, 150_000, 250_000, 400_000, 800_000] {
        let mut p = Program::shell(&[("RAYON_NUM_THREADS", "2")], &[], true);
        p.at_prompt();
        p.send(&format!("ulimit -v {kilobytes}; {program} -p hello; echo code $?\r"));
        let begun = Instant::now();
        loop {
            let shown = p.contents();
            if shown.contains("code 1") {
                let both = shown.contains("needs") || shown.contains("no room for");
                assert!(both && shown.contains("of ulimit -v"), "with {kilobytes} kB:\n{shown}");
                refused += 1;
                break;
            }
            if shown.contains("fresh") {
                p.send("q");
                p.see("code 0");
                opened += 1;
                break;
            }
            assert!(begun.elapsed() < PATIENCE, "with {kilobytes} kB:\n{shown}");
            p.read(Duration::from_millis(100));
        }
        assert!(!p.screen.screen().alternate_screen());
    }
    assert!(opened >= 1 && refused >= 1, "{opened} opened, {refused} refused");
}
