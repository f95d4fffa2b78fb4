//! The documentation: its links and paths exist, its index is complete, and each sentence has a line of its own.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A line of a page that is neither code nor empty.
struct Line {
    number: usize,
    text: String,
}

struct Page {
    path: PathBuf,
    lines: Vec<Line>,
}

impl Page {
    fn read(path: PathBuf) -> Self {
        let text = fs::read_to_string(&path).unwrap();
        let (mut lines, mut in_code) = (Vec::new(), false);
        for (index, line) in text.lines().enumerate() {
            if line.trim_start().starts_with("```") {
                in_code = !in_code;
            } else if !in_code && !line.trim().is_empty() {
                lines.push(Line {
                    number: index + 1,
                    text: line.to_owned(),
                });
            }
        }
        Self { path, lines }
    }

    fn name(&self) -> String {
        let relative = self.path.strip_prefix(ROOT).unwrap();
        relative.to_str().unwrap().to_owned()
    }
}

/// Every Markdown file of the repository.
fn pages() -> Vec<Page> {
    let (mut pages, mut directories) = (Vec::new(), vec![PathBuf::from(ROOT)]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_ours =
                !name.starts_with('.') && !["target", "node_modules", "venv"].contains(&name);
            if path.is_dir() && is_ours {
                directories.push(path);
            } else if path.extension().is_some_and(|extension| extension == "md") {
                pages.push(Page::read(path));
            }
        }
    }
    assert!(pages.len() > 30, "{} pages", pages.len());
    pages
}

/// The targets of the links in a line.
fn links(line: &str) -> impl Iterator<Item = &str> {
    line.split("](")
        .skip(1)
        .filter_map(|rest| rest.split_once(')'))
        .map(|(target, _)| target)
}

/// The texts of the code spans in a line.
fn code_spans(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2)
}

/// The anchor that a heading gets.
fn anchor(heading: &str) -> String {
    heading
        .trim_start_matches('#')
        .trim()
        .to_lowercase()
        .chars()
        .filter(|character| character.is_alphanumeric() || [' ', '-', '_'].contains(character))
        .map(|character| if character == ' ' { '-' } else { character })
        .collect()
}

fn has_anchor(path: &Path, wanted: &str) -> bool {
    let page = Page::read(path.to_owned());
    page.lines
        .iter()
        .any(|line| line.text.starts_with('#') && anchor(&line.text) == wanted)
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        for line in &page.lines {
            for target in links(&line.text).filter(|target| !target.contains("://")) {
                let (file, wanted) = target.split_once('#').unwrap_or((target, ""));
                let path = match file {
                    "" => page.path.clone(),
                    file => page.path.parent().unwrap().join(file),
                };
                let found = path.exists() && (wanted.is_empty() || has_anchor(&path, wanted));
                assert!(found, "{}:{}: {target}", page.name(), line.number);
            }
        }
    }
}

#[test]
fn every_path_that_is_named_exists() {
    let folders = [
        ".ci/",
        "benches/",
        "crates/",
        "docs/",
        "migrations/",
        "src/",
        "tests/",
    ];
    for page in pages() {
        // A decision stays as it was written.
        if page.name().starts_with("docs/decisions/0") || page.name() == "CHANGELOG.md" {
            continue;
        }
        for line in &page.lines {
            let paths = code_spans(&line.text)
                .filter(|span| folders.iter().any(|folder| span.starts_with(folder)))
                .filter(|span| !span.contains(['*', '<', '{', ' ']) && !span.ends_with("name.sql"));
            for path in paths {
                let here = page.path.parent().unwrap().join(path);
                let found = Path::new(ROOT).join(path).exists() || here.exists();
                assert!(found, "{}:{}: {path}", page.name(), line.number);
            }
        }
    }
}

#[test]
fn every_recipe_that_is_named_exists() {
    let justfile = fs::read_to_string(Path::new(ROOT).join("justfile")).unwrap();
    for page in pages() {
        for line in &page.lines {
            for span in code_spans(&line.text) {
                let Some(recipe) = span.strip_prefix("just ") else {
                    continue;
                };
                let name = recipe.split(' ').next().unwrap();
                let found = justfile.lines().any(|line| {
                    line.strip_prefix(name)
                        .is_some_and(|rest| rest.starts_with([':', ' ']))
                });
                assert!(
                    found || name.starts_with('-'),
                    "{}:{}: {span}",
                    page.name(),
                    line.number
                );
            }
        }
    }
}

#[test]
fn every_page_and_decision_is_in_its_index_and_in_the_book() {
    let docs = Path::new(ROOT).join("docs");
    let book = fs::read_to_string(docs.join("SUMMARY.md")).unwrap();
    for folder in ["", "decisions/"] {
        let index = fs::read_to_string(docs.join(folder).join("README.md")).unwrap();
        for entry in fs::read_dir(docs.join(folder)).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.extension().is_none_or(|extension| extension != "md") || name == "SUMMARY.md" {
                continue;
            }
            assert!(book.contains(&format!("]({folder}{name})")), "{name}");
            let is_listed = index.contains(&format!("]({name})"));
            assert!(is_listed || name == "README.md", "{name}");
        }
    }
}

#[test]
fn every_sentence_has_a_line_of_its_own() {
    let is_text = |line: &str| !line.starts_with(['#', '|', '!']);
    let starts_item = |line: &str| {
        let line = line.trim_start();
        line.starts_with("- ")
            || line
                .split_once(". ")
                .is_some_and(|(n, _)| n.parse::<u8>().is_ok())
    };
    for page in pages() {
        for line in page.lines.iter().filter(|line| is_text(&line.text)) {
            let text = line.text.trim_start();
            let text = match text.split_once(". ") {
                Some((number, rest)) if number.parse::<u8>().is_ok() => rest,
                _ => text,
            };
            let place = format!("{}:{}: {text}", page.name(), line.number);
            for end in [". ", "? ", "! "] {
                let starts_another = text
                    .split(end)
                    .skip(1)
                    .any(|rest| rest.starts_with(|first: char| first.is_uppercase()));
                assert!(!starts_another, "two sentences: {place}");
            }
        }
        for pair in page.lines.windows(2) {
            let [line, next] = pair else { continue };
            if next.number == line.number + 1
                && is_text(&line.text)
                && is_text(&next.text)
                && !starts_item(&next.text)
            {
                let is_whole = line.text.ends_with(['.', ':', '?', '!', ')', '*']);
                assert!(
                    is_whole,
                    "a sentence on two lines: {}:{}: {}",
                    page.name(),
                    line.number,
                    line.text
                );
            }
        }
    }
}

#[test]
fn every_dependency_has_its_reason() {
    let root = Path::new(ROOT);
    let manifest = fs::read_to_string(root.join("Cargo.toml")).unwrap();
    let decision = fs::read_to_string(root.join("docs/decisions/0017-dependencies.md")).unwrap();
    let reasons: Vec<&str> = decision
        .lines()
        .filter_map(|line| line.strip_prefix("| ")?.split(" |").next())
        .flat_map(|crates| crates.split([',', ' ']))
        .collect();
    let mut in_dependencies = false;
    for line in manifest.lines() {
        if line.starts_with('[') {
            in_dependencies = ["[dependencies]", "[dev-dependencies]"].contains(&line);
        } else if in_dependencies && let Some((name, _)) = line.split_once(" = ") {
            assert!(reasons.contains(&name), "{name}");
        }
    }
}

/// The source of every module of the service, in one text.
pub(crate) fn source() -> String {
    let (mut source, mut directories) = (String::new(), vec![Path::new(ROOT).join("src")]);
    while let Some(directory) = directories.pop() {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                directories.push(path);
            } else {
                source.push_str(&fs::read_to_string(path).unwrap());
            }
        }
    }
    source
}

#[test]
fn every_log_message_that_is_named_exists() {
    let source = source();
    let operations = Page::read(Path::new(ROOT).join("docs/operations.md"));
    let mut heading = "";
    for line in &operations.lines {
        heading = line.text.strip_prefix("## ").unwrap_or(heading);
        let in_table = heading == "Log" && line.text.starts_with("| `");
        if let Some(name) = code_spans(&line.text).next().filter(|_| in_table) {
            assert!(source.contains(&format!("\"{name}")), "{name}");
        }
    }
}

#[test]
fn the_committed_description_of_the_api_is_the_one_of_the_program() {
    let committed = fs::read_to_string(Path::new(ROOT).join("openapi.json")).unwrap();
    let described = format!("{:#}", rejoin::http::openapi());
    assert!(
        committed.trim_end() == described.trim_end(),
        "renew it: cargo run -- openapi > openapi.json"
    );
}
