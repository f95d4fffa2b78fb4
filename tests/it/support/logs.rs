//! The log lines of a test.
//!
//! The subscriber is installed for the whole process: `tracing` caches for each call site whether a
//! subscriber is interested, so one that is set for a thread only would miss the lines that another
//! thread reached first. Each thread gets its own lines.

use std::cell::RefCell;
use std::io::{self, Write};
use std::sync::Once;

use tracing::Level;

thread_local! {
    static LINES: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
}

/// Starts to record the lines of this thread, which runs all tasks of a `#[tokio::test]`.
pub(crate) fn capture() {
    static INSTALLED: Once = Once::new();
    INSTALLED.call_once(|| {
        let subscriber = tracing_subscriber::fmt()
            .with_max_level(Level::TRACE)
            .with_writer(|| ThisThread);
        subscriber.with_ansi(false).init();
    });
    LINES.set(Some(Vec::new()));
}

/// The lines since [`capture`].
pub(crate) fn captured() -> String {
    String::from_utf8(LINES.take().expect("capture was called")).unwrap()
}

struct ThisThread;

impl Write for ThisThread {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        LINES.with_borrow_mut(|lines| lines.as_mut().map(|lines| lines.extend_from_slice(bytes)));
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
