//! Shell commands that are given a text and whose output is shown: each in a session of its own, so that nothing of it is left when it is stopped.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

/// What a command's output is cut to.
const OUTPUT: usize = 1 << 20;

/// How long a command that is stopped may take to put its things away.
const GRACE: Duration = Duration::from_millis(300);

/// A shell command that runs, or is about to. Clones are about the same one.
#[derive(Clone, Default)]
pub(super) struct Pipe(Arc<(Mutex<State>, Condvar)>);

#[derive(Default)]
struct State {
    /// The shell, from its start until its id may become another process's.
    pid: Option<libc::pid_t>,
    stopped: bool,
}

impl Pipe {
    /// Gives `input` to the command and returns what it prints, when it has ended. Without a terminal of its own it cannot draw over ours.
    ///
    /// # Errors
    /// There is no shell, or the command was stopped.
    pub(super) fn run(&self, command: &str, input: String) -> Result<String> {
        let mut child = self.start(command)?;
        let stdin = child.stdin.take().context("no standard input")?;
        // A command that does not read all of its input is no failure.
        let write = move || drop({ stdin }.write_all(input.as_bytes()));
        if let Err(e) = std::thread::Builder::new().name("pipe".into()).spawn(write) {
            self.stop();
            self.reap(&mut child)?;
            bail!("cannot start a thread: {e}");
        }
        let mut output = Vec::new();
        let mut stdout = child.stdout.take().context("no standard output")?;
        let read = stdout.by_ref().take(OUTPUT as u64).read_to_end(&mut output);
        // The rest is thrown away: a command that is not read would wait for ever.
        let read = read.and_then(|_| std::io::copy(&mut stdout, &mut std::io::sink()));
        let status = self.reap(&mut child)?;
        read.context("cannot read its output")?;
        if self.state().stopped {
            bail!("stopped");
        }
        let mut text = String::from_utf8_lossy(&output).into_owned();
        if !status.success() {
            text.push_str(&format!("\n({status})"));
        }
        Ok(text)
    }

    /// Ends the command and everything it started: asked first, and after a moment not asked any more. Returns when the shell is gone.
    pub(super) fn stop(&self) {
        let mut state = self.state();
        state.stopped = true;
        state.signal(libc::SIGTERM);
        let running = |state: &mut State| state.pid.is_some();
        let waited = self.0.1.wait_timeout_while(state, GRACE, running);
        waited.unwrap_or_else(PoisonError::into_inner).0.signal(libc::SIGKILL);
    }

    /// Whether somebody waits for its output still.
    pub(super) fn lives(&self) -> bool {
        Arc::strong_count(&self.0) > 1
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        // Nothing that panics holds the lock.
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[allow(unsafe_code)]
    fn start(&self, command: &str) -> Result<Child> {
        let mut shell = Command::new("sh");
        // Standard error goes where standard output goes.
        shell.args(["-c", &format!("exec 2>&1\n{command}")]);
        shell.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        // SAFETY: setsid is async-signal-safe and touches nothing of this process.
        unsafe {
            shell.pre_exec(|| {
                libc::setsid();
                Ok(())
            });
        }
        let mut state = self.state();
        if state.stopped {
            bail!("stopped");
        }
        let child = shell.spawn().context("cannot run sh")?;
        state.pid = Some(child.id().cast_signed());
        Ok(child)
    }

    /// Waits for the shell's end. Its id names nothing else until it is waited for, so it is only forgotten together.
    #[allow(unsafe_code)]
    fn reap(&self, child: &mut Child) -> Result<std::process::ExitStatus> {
        // SAFETY: an all-zero siginfo_t is a valid one, and the child has not been waited for.
        unsafe {
            let mut info: libc::siginfo_t = std::mem::zeroed();
            while libc::waitid(libc::P_PID, child.id(), &mut info, libc::WEXITED | libc::WNOWAIT) != 0
                && std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
            {}
        }
        let mut state = self.state();
        if state.stopped {
            // What the shell left behind.
            state.signal(libc::SIGKILL);
        }
        let status = child.wait();
        state.pid = None;
        self.0.1.notify_all();
        Ok(status?)
    }
}

impl State {
    /// Sends a signal to the shell and all it started, if it runs.
    #[allow(unsafe_code)]
    fn signal(&self, signal: i32) {
        if let Some(pid) = self.pid {
            // SAFETY: the shell leads a process group of its own and has not been waited for.
            unsafe { libc::kill(-pid, signal) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Instant;

    fn run(command: &str, input: &str) -> String {
        Pipe::default().run(command, input.to_owned()).unwrap()
    }

    /// Whether a process group has members that are more than an entry waiting for its parent.
    fn lives(group: i32) -> bool {
        let all = std::fs::read_dir("/proc").unwrap().flatten();
        let mut stats = all.filter_map(|p| std::fs::read_to_string(p.path().join("stat")).ok());
        stats.any(|stat| {
            // After the name: state, parent, group.
            let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or("").split_whitespace().collect();
            fields.first() != Some(&"Z") && fields.get(2).and_then(|g| g.parse().ok()) == Some(group)
        })
    }

    #[test]
    fn commands_read_their_input_and_print() {
        assert_eq!(run("tr a-z A-Z", "ab\n"), "AB\n");
        assert_eq!(run("echo out; echo err >&2", ""), "out\nerr\n");
        assert!(run("exit 3", "not read").contains("exit status: 3"));
        assert_eq!(run("head -c 3000000 /dev/zero | tr '\\0' x", "").len(), OUTPUT, "longer output is cut");
    }

    #[test]
    fn a_stopped_command_is_gone_with_all_it_started() {
        for command in ["sleep 100; true", "trap '' TERM; sleep 100 & sleep 100", "yes >/dev/null & yes"] {
            let pipe = Pipe::default();
            let here = pipe.clone();
            let begun = Instant::now();
            let thread = std::thread::spawn(move || here.run(command, "x".repeat(1 << 20)));
            while pipe.state().pid.is_none() {
                std::thread::sleep(Duration::from_millis(5));
            }
            std::thread::sleep(Duration::from_millis(100));
            let group = pipe.state().pid.unwrap();
            pipe.stop();
            assert_eq!(thread.join().unwrap().unwrap_err().to_string(), "stopped");
            while cfg!(target_os = "linux") && lives(group) {
                assert!(begun.elapsed() < Duration::from_secs(30), "{command}: something is left");
                std::thread::sleep(Duration::from_millis(5));
            }
        }
        let early = Pipe::default();
        early.stop();
        assert!(early.run("true", String::new()).is_err(), "stopped before it began");
    }
}
