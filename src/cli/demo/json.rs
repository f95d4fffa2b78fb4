//! Answers, cut down to what a step is about and laid out for the terminal.

use serde_json::{Map, Value};

/// Lays `value` out, `width` columns wide. Of objects that have any of the `fields`, only those are
/// shown, in that order, and `...` stands for the rest. What is inside of metadata is the player's,
/// and shown whole.
pub(super) fn lay_out(value: &Value, fields: &[&str], width: usize) -> Vec<String> {
    let mut lines = Vec::new();
    put(&mut lines, &Shape::of(value, fields), width, 0, "", "");
    lines
}

/// A value that is cut down, with its members in their order.
enum Shape {
    Object(Vec<(String, Self)>, bool),
    Array(Vec<Self>),
    Text(String),
}

impl Shape {
    fn of(value: &Value, fields: &[&str]) -> Self {
        match value {
            Value::Object(map) => Self::of_object(map, fields),
            Value::Array(items) => {
                Self::Array(items.iter().map(|item| Self::of(item, fields)).collect())
            }
            _ => Self::Text(value.to_string()),
        }
    }

    fn of_object(map: &Map<String, Value>, fields: &[&str]) -> Self {
        let member = |name: &str, value: &Value| {
            let shape = if name == "metadata" {
                Self::Text(value.to_string())
            } else {
                Self::of(value, fields)
            };
            (name.to_owned(), shape)
        };
        let picked: Vec<_> = fields
            .iter()
            .filter_map(|name| map.get(*name).map(|value| member(name, value)))
            .collect();
        if picked.is_empty() {
            return Self::Object(
                map.iter()
                    .map(|(name, value)| member(name, value))
                    .collect(),
                false,
            );
        }
        let cut = picked.len() < map.len();
        Self::Object(picked, cut)
    }

    /// On one line.
    fn flat(&self) -> String {
        match self {
            Self::Text(text) => text.clone(),
            Self::Array(items) => format!(
                "[{}]",
                items.iter().map(Self::flat).collect::<Vec<_>>().join(", ")
            ),
            Self::Object(members, cut) => {
                let mut parts: Vec<_> = members
                    .iter()
                    .map(|(name, value)| format!("\"{name}\": {}", value.flat()))
                    .collect();
                parts.extend(cut.then(|| "...".to_owned()));
                format!("{{{}}}", parts.join(", "))
            }
        }
    }
}

/// On one line where that fits, else a line for each member.
fn put(
    lines: &mut Vec<String>,
    shape: &Shape,
    width: usize,
    depth: usize,
    before: &str,
    after: &str,
) {
    let indent = "  ".repeat(depth);
    let flat = format!("{indent}{before}{}{after}", shape.flat());
    let (open, close, count) = match shape {
        Shape::Object(members, cut) => ('{', '}', members.len() + usize::from(*cut)),
        Shape::Array(items) => ('[', ']', items.len()),
        Shape::Text(_) => return lines.push(flat),
    };
    if flat.chars().count() <= width {
        return lines.push(flat);
    }
    let comma = |index: usize| if index + 1 < count { "," } else { "" };
    lines.push(format!("{indent}{before}{open}"));
    match shape {
        Shape::Object(members, cut) => {
            for (index, (name, value)) in members.iter().enumerate() {
                put(
                    lines,
                    value,
                    width,
                    depth + 1,
                    &format!("\"{name}\": "),
                    comma(index),
                );
            }
            lines.extend(cut.then(|| format!("{indent}  ...")));
        }
        Shape::Array(items) => {
            for (index, item) in items.iter().enumerate() {
                put(lines, item, width, depth + 1, "", comma(index));
            }
        }
        Shape::Text(_) => {}
    }
    lines.push(format!("{indent}{close}{after}"));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_step_is_about_is_shown() {
        let value = serde_json::json!({
            "peers": {"p1": {"id": "p1", "name": "Ada", "metadata": {"id": 1, "level": 4}}, "p2": {"id": "p2"}},
        });
        let expected = [
            "{",
            "  \"peers\": {",
            "    \"p1\": {",
            "      \"metadata\": {\"id\":1,\"level\":4},",
            "      \"id\": \"p1\",",
            "      ...",
            "    },",
            "    \"p2\": {\"id\": \"p2\"}",
            "  }",
            "}",
        ];
        assert_eq!(lay_out(&value, &["metadata", "id"], 40), expected);
        assert_eq!(
            lay_out(&serde_json::json!({"a": [], "b": null}), &["b"], 40),
            ["{\"b\": null, ...}"]
        );
    }
}
