//! The terminal: entered, drawn to and left in one place.

pub mod clipboard;
pub mod color;
pub mod frame;
pub mod guard;
pub mod input;
pub mod signals;

use anyhow::{Context, Result};
use frame::Frames;
use ratatui::backend::{Backend, ClearType, CrosstermBackend};
use ratatui::buffer::Buffer;
use ratatui::layout::Size;

/// The screen while the explorer has it; dropped, it is given back.
pub struct Screen {
    terminal: ratatui::Terminal<CrosstermBackend<Frames>>,
    frames: Frames,
    mouse: bool,
    /// The continue signal that follows our own stop has been seen to already.
    resumed: bool,
}

impl Screen {
    /// Takes the screen; with `mouse`, clicks and the wheel too.
    ///
    /// # Errors
    /// Standard output is no terminal.
    pub fn enter(mouse: bool) -> Result<Self> {
        // Without this the library answers NO_COLOR by resetting every style, reverse video included; the theme knows better.
        crossterm::style::force_color_output(true);
        guard::enter(mouse).context("cannot take over the terminal")?;
        let frames = Frames::default();
        let terminal = ratatui::Terminal::new(CrosstermBackend::new(frames.clone()));
        let terminal = terminal.inspect_err(|_| guard::leave()).context("cannot read the terminal's size")?;
        Ok(Screen { terminal, frames, mouse, resumed: false })
    }

    /// Columns and rows.
    pub fn size(&self) -> Size {
        self.terminal.size().unwrap_or(Size::new(80, 24))
    }

    /// Draws one frame and sends what changed in one write.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn draw(&mut self, draw: impl FnOnce(&mut ratatui::Frame)) -> Result<()> {
        self.terminal.draw(draw)?;
        Ok(self.frames.present()?)
    }

    /// Draws into a buffer of its own: what is on the screen, for screenshots.
    pub fn picture(&mut self, draw: impl FnOnce(&mut ratatui::Frame)) -> Result<Buffer> {
        let size = self.size();
        let mut shadow = ratatui::Terminal::new(ratatui::backend::TestBackend::new(size.width, size.height))?;
        Ok(shadow.draw(draw)?.buffer.clone())
    }

    /// Forgets what is on the screen, so that the next frame is written whole.
    ///
    /// `Terminal::clear` would ask the terminal where the cursor is, and its answer would go to the input thread.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn repaint(&mut self) -> Result<()> {
        self.terminal.backend_mut().clear_region(ClearType::All)?;
        self.terminal.swap_buffers();
        Ok(())
    }

    /// Gives the terminal back, stops this process as Ctrl-Z does, and takes the terminal again when it goes on.
    ///
    /// # Errors
    /// The terminal is gone.
    #[allow(unsafe_code)]
    pub fn suspend(&mut self) -> Result<()> {
        guard::leave();
        // SAFETY: raise is async-signal-safe and SIGTSTP has its default disposition: nothing here handles it.
        unsafe { libc::raise(libc::SIGTSTP) };
        self.take_again()?;
        self.resumed = true;
        Ok(())
    }

    /// Takes the terminal again after somebody else stopped the process and let it go on.
    ///
    /// # Errors
    /// The terminal is gone.
    pub fn resume(&mut self) -> Result<()> {
        if std::mem::take(&mut self.resumed) { Ok(()) } else { self.take_again() }
    }

    fn take_again(&mut self) -> Result<()> {
        guard::leave();
        guard::enter(self.mouse)?;
        self.repaint()
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        guard::leave();
    }
}
