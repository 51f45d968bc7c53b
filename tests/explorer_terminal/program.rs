//! The program on a pseudo-terminal: keys in, screens and bytes out.

use portable_pty::{Child, CommandBuilder, MasterPty, PtySize, native_pty_system};
use std::io::{Read, Write};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// How long anything may take on a busy machine.
pub const PATIENCE: Duration = Duration::from_secs(60);

pub struct Program {
    pub child: Box<dyn Child + Send + Sync>,
    pub master: Box<dyn MasterPty + Send>,
    input: Box<dyn Write + Send>,
    output: Receiver<Vec<u8>>,
    pub screen: vt100::Parser,
    pub bytes: Vec<u8>,
    pub home: Arc<tempfile::TempDir>,
}

impl Program {
    pub fn start(arguments: &[&str]) -> Self {
        Program::shell(&[], arguments, false)
    }

    /// Starts the program itself, or a shell that starts it.
    ///
    /// In the values of the environment `HOME` stands for the home folder, which is made for this one program.
    pub fn shell(environment: &[(&str, &str)], arguments: &[&str], shell: bool) -> Self {
        Program::at(tempfile::tempdir().unwrap(), environment, arguments, shell)
    }

    /// The same in a home folder that something is in already.
    pub fn at(
        home: impl Into<Arc<tempfile::TempDir>>,
        environment: &[(&str, &str)],
        arguments: &[&str],
        shell: bool,
    ) -> Self {
        let home = home.into();
        let program = env!("CARGO_BIN_EXE_mechscope");
        let mut command = if shell { CommandBuilder::new("sh") } else { CommandBuilder::new(program) };
        if shell {
            // Job control, so that Ctrl-Z stops the program and fg goes on.
            command.args(["-i"]);
        } else {
            command.args(arguments);
        }
        command.env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
        command.env("HOME", home.path());
        command.env("TERM", "xterm-256color");
        command.env("PS1", "ready> ");
        let folder = home.path().display().to_string();
        environment.iter().for_each(|(name, value)| command.env(name, value.replace("HOME", &folder)));
        let pty = native_pty_system().openpty(PtySize { rows: 24, cols: 80, pixel_width: 0, pixel_height: 0 }).unwrap();
        let child = pty.slave.spawn_command(command).unwrap();
        let mut reader = pty.master.try_clone_reader().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 65536];
            while let Ok(n @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..n].to_vec()).is_err() {
                    return;
                }
            }
        });
        let input = pty.master.take_writer().unwrap();
        let screen = vt100::Parser::new(24, 80, 0);
        Program { child, master: pty.master, input, output, screen, bytes: Vec::new(), home }
    }

    pub fn send(&mut self, keys: &str) {
        self.input.write_all(keys.as_bytes()).unwrap();
        self.input.flush().unwrap();
    }

    pub fn read(&mut self, wait: Duration) -> bool {
        match self.output.recv_timeout(wait) {
            Ok(bytes) => {
                self.screen.process(&bytes);
                self.bytes.extend(bytes);
                true
            }
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => false,
        }
    }

    /// The screen's lines; spaces at their ends are no text, whether they were written or not.
    pub fn contents(&self) -> String {
        self.screen.screen().contents().lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
    }

    /// Waits until the screen shows a text.
    pub fn see(&mut self, text: &str) {
        let begun = Instant::now();
        while !self.contents().contains(text) {
            assert!(begun.elapsed() < PATIENCE, "{text:?} is not on the screen:\n{}", self.contents());
            self.read(Duration::from_millis(100));
        }
    }

    /// Leaves what lies on top and waits until it is gone: keys that follow Esc at once would be Alt with a key.
    pub fn escape(&mut self, gone: &str) {
        self.send("\u{1b}");
        let begun = Instant::now();
        while self.contents().contains(gone) {
            assert!(begun.elapsed() < PATIENCE, "{gone:?} stays on the screen:\n{}", self.contents());
            self.read(Duration::from_millis(100));
        }
    }

    /// Waits until the shell asks for a command on a screen of its own.
    pub fn at_prompt(&mut self) {
        let begun = Instant::now();
        while self.screen.screen().alternate_screen() || !self.contents().trim_end().ends_with("ready>") {
            assert!(begun.elapsed() < PATIENCE, "no prompt:\n{}", self.contents());
            self.read(Duration::from_millis(100));
        }
    }

    #[allow(unsafe_code)]
    pub fn signal(&mut self, signal: i32) {
        let pid = self.child.process_id().unwrap() as i32;
        // SAFETY: the process is our child and has not been waited for.
        assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
    }

    /// Waits for the end, and checks that the terminal is as it was.
    pub fn ends(&mut self) -> u32 {
        let begun = Instant::now();
        let status = loop {
            self.read(Duration::from_millis(50));
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "still running:\n{}", self.contents());
        };
        while self.read(Duration::from_millis(200)) {}
        self.whole();
        status.exit_code()
    }

    pub fn whole(&self) {
        let screen = self.screen.screen();
        assert!(!screen.alternate_screen(), "the alternate screen is left");
        assert!(!screen.hide_cursor(), "the cursor is shown");
        assert!(!screen.bracketed_paste(), "bracketed paste is off");
        assert_eq!(screen.mouse_protocol_mode(), vt100::MouseProtocolMode::None);
        let modes = self.master.get_termios().expect("the terminal's modes");
        let cooked = line_mode();
        assert!(modes.local_flags.bits() & cooked == cooked, "raw mode is left");
    }

    /// The log file's lines.
    pub fn log(&self) -> Vec<String> {
        let file = self.home.path().join(".local/state/mechscope/mechscope.log");
        std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
    }

    /// The sessions that are kept, the one saved last first.
    pub fn sessions(&self) -> Vec<PathBuf> {
        let folder = self.home.path().join(".local/state/mechscope/sessions");
        let files = std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
        let files = files.filter(|file| file.extension().is_some_and(|ending| ending == "json"));
        let mut files: Vec<_> =
            files.map(|file| (std::fs::metadata(&file).unwrap().modified().unwrap(), file)).collect();
        files.sort();
        files.into_iter().rev().map(|(_, file)| file).collect()
    }

    pub fn session(&self) -> serde_json::Value {
        let files = self.sessions();
        serde_json::from_slice(&std::fs::read(files.first().expect("a session is saved")).unwrap()).unwrap()
    }
}

/// Line by line, with echo and signals.
fn line_mode() -> libc::tcflag_t {
    libc::ICANON | libc::ECHO | libc::ISIG
}
