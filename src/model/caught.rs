//! Calls into libraries that panic where an error would do: the panic becomes an error and prints nothing.

use anyhow::{Result, anyhow};
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// What `call` returns.
///
/// # Errors
/// It panicked; the error begins with `what`. Nothing that `call` was changing should be used afterwards.
pub fn caught<T>(what: &str, call: impl FnOnce() -> T) -> Result<T> {
    static HOOK: Once = Once::new();
    // Once, and around the hook that is there: a hook swapped for every call would hide panics of other threads.
    HOOK.call_once(|| {
        let print = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                print(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let done = catch_unwind(AssertUnwindSafe(call));
    QUIET.set(before);
    done.map_err(|panic| {
        let said = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        anyhow!("{what}: {}", said.unwrap_or("a library failed"))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_call_is_not() {
        let error = caught("the library", || {
            if true {
                panic!("at the {}", "disco")
            }
        })
        .unwrap_err();
        assert_eq!(error.to_string(), "the library: at the disco");
        assert_eq!(caught("the library", || 7).unwrap(), 7);
        assert!(!QUIET.get());
    }
}
