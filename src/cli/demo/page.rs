//! What the demo writes: plain text of 80 columns, with a little colour where a terminal shows it.

use std::cell::Cell;
use std::io::{IsTerminal, Write};

/// Columns of a line that is not one word.
const WIDTH: usize = 80;

/// The standard output.
pub(super) struct Page {
    colour: bool,
    is_closed: Cell<bool>,
}

#[derive(Clone, Copy)]
enum Style {
    Plain,
    Bold,
    Dim,
    Good,
    Bad,
}

impl Page {
    /// In colour on a terminal, unless `NO_COLOR` is set (<https://no-color.org>).
    pub(super) fn stdout() -> Self {
        let no_color = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
        let dumb = std::env::var_os("TERM").is_some_and(|term| term == "dumb");
        Self {
            colour: std::io::stdout().is_terminal() && !no_color && !dumb,
            is_closed: Cell::new(false),
        }
    }

    /// Whether nobody reads any more, as after `head`.
    pub(super) fn is_closed(&self) -> bool {
        self.is_closed.get()
    }

    /// A title, after an empty line.
    pub(super) fn title(&self, text: &str) {
        self.line(Style::Plain, "");
        self.line(Style::Bold, text);
    }

    /// A paragraph.
    pub(super) fn text(&self, text: &str) {
        self.lines(Style::Plain, &wrap(text, WIDTH));
    }

    /// A name and its value, in a column.
    pub(super) fn fact(&self, name: &str, value: &str) {
        self.line(Style::Plain, &format!("  {name:<9} {value}"));
    }

    /// A line to paste, unchanged.
    pub(super) fn verbatim(&self, text: &str) {
        self.line(Style::Plain, text);
    }

    /// What a step is about, indented.
    pub(super) fn narrate(&self, text: &str) {
        let lines = wrap(text, WIDTH - 2);
        self.lines(Style::Plain, &indented(2, lines));
    }

    /// Who asks whom.
    pub(super) fn caption(&self, text: &str) {
        self.line(Style::Plain, "");
        self.line(Style::Dim, &format!("  {text}"));
    }

    /// The line of a request, broken before `?` or `&` where it is too long.
    pub(super) fn request(&self, line: &str) {
        for (index, part) in broken(line, WIDTH - 8).into_iter().enumerate() {
            self.line(
                Style::Bold,
                &format!("  {} {part}", if index == 0 { ">" } else { "     " }),
            );
        }
    }

    /// The status of an answer.
    pub(super) fn status(&self, text: &str) {
        self.line(Style::Bold, &format!("  < {text}"));
    }

    /// A body, line by line.
    pub(super) fn body(&self, lines: Vec<String>) {
        self.lines(Style::Plain, &indented(4, lines));
    }

    /// A check that passed.
    pub(super) fn passed(&self, what: &str) {
        self.check(Style::Good, "ok:", what);
    }

    /// A check that failed.
    pub(super) fn failed(&self, what: &str) {
        self.check(Style::Bad, "FAILED:", what);
    }

    fn check(&self, style: Style, word: &str, what: &str) {
        self.lines(
            style,
            &indented(2, wrap(&format!("{word} {what}"), WIDTH - 2)),
        );
    }

    /// How wide a body may be.
    pub(super) const BODY_WIDTH: usize = WIDTH - 4;

    fn lines(&self, style: Style, lines: &[String]) {
        for line in lines {
            self.line(style, line);
        }
    }

    fn line(&self, style: Style, text: &str) {
        let code = match style {
            Style::Plain => "",
            Style::Bold => "1",
            Style::Dim => "2",
            Style::Good => "32",
            Style::Bad => "1;31",
        };
        let mut out = std::io::stdout().lock();
        let written = if self.colour && !code.is_empty() && !text.is_empty() {
            writeln!(out, "\x1b[{code}m{text}\x1b[0m")
        } else {
            writeln!(out, "{text}")
        };
        self.is_closed.set(self.is_closed.get() || written.is_err());
    }
}

fn indented(by: usize, lines: Vec<String>) -> Vec<String> {
    lines
        .into_iter()
        .map(|line| format!("{:by$}{line}", ""))
        .collect()
}

/// Breaks a text between its words.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    for word in text.split_whitespace() {
        let last = lines.last_mut().expect("there is always one");
        if last.is_empty() {
            last.push_str(word);
        } else if last.chars().count() + 1 + word.chars().count() <= width {
            last.push(' ');
            last.push_str(word);
        } else {
            lines.push(word.to_owned());
        }
    }
    lines
}

/// Breaks a request line before the parts of its query.
fn broken(line: &str, width: usize) -> Vec<String> {
    if line.len() <= width + 4 {
        return vec![line.to_owned()];
    }
    let mut parts = vec![String::new()];
    for letter in line.chars() {
        if matches!(letter, '?' | '&') {
            parts.push(String::new());
        }
        parts.last_mut().expect("there is always one").push(letter);
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_break_between_words_and_request_lines_before_their_query() {
        assert_eq!(wrap("one two three", 8), ["one two", "three"]);
        assert_eq!(wrap("", 8), [""]);
        assert_eq!(wrap("unbreakable word", 4), ["unbreakable", "word"]);
        assert_eq!(broken("GET /a?b=c", 72), ["GET /a?b=c"]);
        assert_eq!(broken("GET /a?b=c&d=e", 5), ["GET /a", "?b=c", "&d=e"]);
    }
}
