//! The code keeps to the map at the top of `src/lib.rs`.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const MAP: &str = include_str!("../../src/lib.rs");

/// The longest a file may be, without its tests.
const MAX_LINES: usize = 450;

/// A file of `src`, without its comments.
struct Source {
    path: PathBuf,
    /// The module of the crate that it belongs to.
    module: String,
    code: String,
    lines_without_tests: usize,
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            rust_files(&path, files);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
}

fn has_rust_files(folder: &Path) -> bool {
    let mut files = Vec::new();
    if folder.is_dir() {
        rust_files(folder, &mut files);
    }
    !files.is_empty()
}

fn sources() -> Vec<Source> {
    let folder = Path::new(ROOT).join("src");
    let mut files = Vec::new();
    rust_files(&folder, &mut files);
    let sources = files.into_iter().map(|file| {
        let text = fs::read_to_string(&file).unwrap();
        let path = file.strip_prefix(&folder).unwrap().to_owned();
        let first = path.components().next().unwrap().as_os_str();
        let module = first.to_str().unwrap().trim_end_matches(".rs").to_owned();
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim_start().starts_with("//"))
            .collect();
        Source {
            code: lines.join("\n"),
            lines_without_tests: text
                .lines()
                .take_while(|line| *line != "#[cfg(test)]")
                .count(),
            module,
            path,
        }
    });
    sources
        .filter(|source| !["lib", "main"].contains(&source.module.as_str()))
        .collect()
}

/// The rows of the table whose first column is called `name`: the first cell, and the names that
/// stand in backticks in cell `column`.
fn table(name: &str, column: usize) -> Vec<(String, BTreeSet<String>)> {
    let heading = format!("//! | {name} |");
    let rows = MAP
        .lines()
        .skip_while(|line| !line.starts_with(&heading))
        .skip(2)
        .map_while(|line| line.strip_prefix("//! |"));
    let rows = rows.map(|row| {
        let cells: Vec<&str> = row.split('|').collect();
        let names = |cell: &str| {
            cell.split('`')
                .skip(1)
                .step_by(2)
                .map(ToOwned::to_owned)
                .collect::<BTreeSet<String>>()
        };
        let first = names(cells[0]).pop_first().expect("a name in backticks");
        (first, names(cells[column]))
    });
    rows.collect()
}

fn is_part_of_name(character: char) -> bool {
    character.is_alphanumeric() || character == '_'
}

/// The names that follow `prefix` in the code, such as `domain` and `hms` in
/// `use crate::domain::Clock; use crate::{hms, ...};`.
fn names_after(code: &str, prefix: &str) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (start, _) in code.match_indices(prefix) {
        if code[..start].ends_with(is_part_of_name) {
            continue;
        }
        let rest = &code[start + prefix.len()..];
        let name = |text: &str| {
            text.chars()
                .take_while(|c| is_part_of_name(*c))
                .collect::<String>()
        };
        match rest.strip_prefix('{') {
            None => drop(names.insert(name(rest))),
            Some(group) => {
                let mut depth = 0;
                let mut first_level = String::new();
                for character in group.chars() {
                    match character {
                        '}' if depth == 0 => break,
                        '{' => depth += 1,
                        '}' => depth -= 1,
                        other if depth == 0 => first_level.push(other),
                        _ => {}
                    }
                }
                names.extend(first_level.split(',').map(|part| name(part.trim())));
            }
        }
    }
    names.remove("");
    names
}

/// Whether the code names the crate, in a path or in a macro.
fn uses_crate(code: &str, name: &str) -> bool {
    let path = format!("{name}::");
    code.match_indices(&path).any(|(start, _)| {
        let before = code[..start].strip_suffix("::").unwrap_or(&code[..start]);
        let is_absolute = before.len() < start && !before.ends_with(is_part_of_name);
        let is_first = before.len() == start && !before.ends_with(is_part_of_name);
        is_absolute || is_first
    })
}

#[test]
fn modules_use_only_what_the_map_allows() {
    let map: BTreeMap<String, BTreeSet<String>> = table("module", 2).into_iter().collect();
    let mut violations = Vec::new();
    for Source {
        path, module, code, ..
    } in sources()
    {
        let path = path.display();
        let Some(allowed) = map.get(&module) else {
            violations.push(format!("{path}: `{module}` is not in the map"));
            continue;
        };
        for used in names_after(&code, "crate::") {
            // A macro or an item of the crate's root would be no module.
            if map.contains_key(&used) && used != module && !allowed.contains(&used) {
                violations.push(format!("{path}: `{module}` may not use `{used}`"));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn each_row_of_the_map_uses_rows_above_it_so_that_there_are_no_circles() {
    let mut above = BTreeSet::new();
    for (module, allowed) in table("module", 2) {
        let below: Vec<_> = allowed.difference(&above).collect();
        assert!(below.is_empty(), "`{module}` uses {below:?} below it");
        above.insert(module);
    }
    let modules: BTreeSet<String> = sources().into_iter().map(|source| source.module).collect();
    assert_eq!(above, modules, "the map and `src` have the same modules");
}

#[test]
fn crates_are_used_only_where_the_map_says() {
    let mut violations = Vec::new();
    let sources = sources();
    for (name, modules) in table("crate", 1) {
        let users = sources
            .iter()
            .filter(|source| uses_crate(&source.code, &name));
        for Source { path, module, .. } in users {
            if !modules.contains(module) {
                violations.push(format!("{}: no `{name}` in `{module}`", path.display()));
            }
        }
    }
    assert!(violations.is_empty(), "{violations:#?}");
}

#[test]
fn only_the_api_and_the_commands_write_json_of_their_own() {
    let with_serialize: BTreeSet<String> = sources()
        .into_iter()
        .filter(|source| source.code.contains("derive(") && source.code.contains("Serialize,"))
        .map(|source| source.module)
        .collect();
    for module in ["domain", "store", "service"] {
        assert!(
            !with_serialize.contains(module),
            "a JSON shape in `{module}`"
        );
    }
}

#[test]
fn files_are_short() {
    let long: Vec<String> = sources()
        .into_iter()
        .filter(|source| source.lines_without_tests > MAX_LINES)
        .map(|source| format!("{}: {}", source.path.display(), source.lines_without_tests))
        .collect();
    assert!(long.is_empty(), "more than {MAX_LINES} lines: {long:#?}");
}

/// Clippy's `self_named_module_files` sees the modules of the crate, but not those that a feature
/// leaves out.
#[test]
fn a_module_with_files_of_its_own_is_a_mod_rs() {
    let mut files = Vec::new();
    for folder in ["src", "tests", "benches", "crates"] {
        rust_files(&Path::new(ROOT).join(folder), &mut files);
    }
    let self_named: Vec<&PathBuf> = files
        .iter()
        .filter(|file| has_rust_files(&file.with_extension("")))
        .collect();
    assert!(self_named.is_empty(), "{self_named:#?}");
}

#[test]
fn each_file_says_what_lives_in_it() {
    for source in sources() {
        let text = fs::read_to_string(Path::new(ROOT).join("src").join(&source.path)).unwrap();
        assert!(text.starts_with("//! "), "{}", source.path.display());
    }
}

#[test]
fn the_scanner_finds_names() {
    let code = "use crate::a::B; use crate::{c, d::{E, f}}; x(crate::g::h(), subcrate::i)";
    let names: Vec<String> = names_after(code, "crate::").into_iter().collect();
    assert_eq!(names, ["a", "c", "d", "g"]);
    assert!(uses_crate("use ::http::HeaderMap;", "http"));
    assert!(uses_crate("    axum::Json(x)", "axum"));
    assert!(!uses_crate("use crate::http::Api;", "http"));
    assert!(!uses_crate("use my_axum::Api;", "axum"));
}
