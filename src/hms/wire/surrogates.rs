//! Escaped halves of surrogate pairs, which strict parsers of JSON refuse.

use std::borrow::Cow;

/// The same JSON, with U+FFFD for each escaped half of a surrogate pair.
pub(super) fn without_lone_surrogates(json: &str) -> Cow<'_, str> {
    const ESCAPE: usize = r"\uXXXX".len();
    let mut replaced = String::new();
    // Of `json`: up to where it is in `replaced`, and where the next escape is looked for.
    let (mut copied, mut from) = (0, 0);
    while let Some(found) = json[from..].find('\\') {
        let at = from + found;
        from = match (code_unit(json, at), code_unit(json, at + ESCAPE)) {
            (Some(0xD800..=0xDBFF), Some(0xDC00..=0xDFFF)) => at + 2 * ESCAPE,
            (Some(0xD800..=0xDFFF), _) => {
                replaced.push_str(&json[copied..at]);
                replaced.push('\u{fffd}');
                copied = at + ESCAPE;
                copied
            }
            // An escape of one other character, which is ASCII in valid JSON.
            _ => at + 2,
        };
    }
    if copied == 0 {
        return Cow::Borrowed(json);
    }
    replaced.push_str(&json[copied..]);
    Cow::Owned(replaced)
}

/// The code unit of a `\uXXXX` escape at this index of a valid JSON text.
fn code_unit(json: &str, at: usize) -> Option<u16> {
    let digits = json.get(at..at + 6)?.strip_prefix("\\u")?;
    u16::from_str_radix(digits, 16).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_lone_surrogates_are_replaced() {
        for (json, expected) in [
            (r#"{"a":"\ud800"}"#, "{\"a\":\"\u{fffd}\"}"),
            (r#"{"\udc00a":"x"}"#, "{\"\u{fffd}a\":\"x\"}"),
            (r#""\ud800\ud83d\ude00""#, "\"\u{fffd}\\ud83d\\ude00\""),
            (r#""\\ud800\"\udFfF""#, "\"\\\\ud800\\\"\u{fffd}\""),
            (r#""\ud800\ud800⚔""#, "\"\u{fffd}\u{fffd}⚔\""),
        ] {
            assert_eq!(without_lone_surrogates(json), expected, "{json}");
        }
        for same in [r#"{"a":"\"⚔\\"}"#, r#""\u00e9\ud83d\ude00""#, "[1]"] {
            let json = without_lone_surrogates(same);
            assert!(matches!(json, Cow::Borrowed(_)), "{same}");
        }
    }
}
