//! A line on the terminal that says how far the work is.

use std::cell::Cell;
use std::io::{IsTerminal, Write};

/// A line on the standard error, replaced again and again where that is a terminal.
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

    /// Shows that `done` of `all` peers are saved, on a terminal only.
    pub(super) fn show(&self, done: usize, all: usize) {
        if self.is_terminal {
            self.line(&format!("{done} of {all} peers saved"));
        }
    }

    /// Shows this instead of what was shown before; below it, where this is no terminal.
    pub(super) fn line(&self, text: &str) {
        if self.is_terminal {
            Self::write(format_args!("\r\x1b[K{text}"));
            self.is_shown.set(true);
        } else {
            Self::write(format_args!("{text}\n"));
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
