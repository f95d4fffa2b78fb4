//! A line on the terminal that counts peers while a room is saved.

use std::cell::Cell;
use std::io::{IsTerminal, Write};

/// A counter on the standard error, shown only where that is a terminal.
pub(super) struct Progress {
    is_terminal: bool,
    is_shown: Cell<bool>,
}

impl Progress {
    pub(super) fn stderr() -> Self {
        Self {
            is_terminal: std::io::stderr().is_terminal(),
            is_shown: Cell::new(false),
        }
    }

    /// Shows that `done` of `all` peers are saved.
    pub(super) fn show(&self, done: usize, all: usize) {
        if self.is_terminal {
            Self::write(format_args!("\r\x1b[K{done} of {all} peers saved"));
            self.is_shown.set(true);
        }
    }

    fn write(text: std::fmt::Arguments<'_>) {
        let mut stderr = std::io::stderr().lock();
        // A terminal that has gone is no failure of the command.
        let _ = stderr.write_fmt(text).and_then(|()| stderr.flush());
    }
}

/// Clears the line.
impl Drop for Progress {
    fn drop(&mut self) {
        if self.is_shown.get() {
            Self::write(format_args!("\r\x1b[K"));
        }
    }
}
