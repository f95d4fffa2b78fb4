//! The reader: one pass over a JSON text, each value read as what its field should hold.
//!
//! A value of another type counts as absent. Ids must be exact, since an altered id could be that
//! of somebody else; labels are only shown to people and may be altered.
//!
//! The structure of objects is read here, and each value by `serde_json`. Its own access to objects
//! cannot look at the type of a value before it reads it, and so would need a second pass.

use std::borrow::Cow;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::value::RawValue;

use super::surrogates::without_lone_surrogates;
use super::{NOT_UTF8, Text};
use crate::domain::{Label, Metadata, NotRepresentable, Timestamp, Tracks};

/// The text is not JSON from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::hms) struct NotJson;

/// A JSON text, read up to the value that comes next. Every method reads one whole value.
#[derive(Debug)]
pub(in crate::hms) struct Reader<'a> {
    json: &'a str,
    /// The index of the next byte.
    next: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the start of this text.
    pub(in crate::hms) fn new(json: &'a str) -> Self {
        Self { json, next: 0 }
    }

    /// Calls `each` with the key of every entry of an object, in order, duplicate keys too; `each`
    /// has to read the value. Returns false for a value that is not an object.
    ///
    /// # Errors
    /// When the text is not JSON; `each` was called for the entries before that.
    pub(in crate::hms) fn each_entry(
        &mut self,
        mut each: impl FnMut(Text<'a>, &mut Self) -> Result<(), NotJson>,
    ) -> Result<bool, NotJson> {
        if self.peek() != Some(b'{') {
            return self.skip().map(|()| false);
        }
        self.next += 1;
        if self.peek() == Some(b'}') {
            self.next += 1;
            return Ok(true);
        }
        loop {
            let key = self.text()?.ok_or(NotJson)?;
            self.expect(b':')?;
            each(key, self)?;
            if self.peek() == Some(b'}') {
                self.next += 1;
                return Ok(true);
            }
            self.expect(b',')?;
        }
    }

    /// Calls `each` for every item of an array; `each` has to read it. Returns false for a value that
    /// is not an array.
    ///
    /// # Errors
    /// When the text is not JSON; `each` was called for the items before that.
    pub(in crate::hms) fn each_item(
        &mut self,
        mut each: impl FnMut(&mut Self) -> Result<(), NotJson>,
    ) -> Result<bool, NotJson> {
        if self.peek() != Some(b'[') {
            return self.skip().map(|()| false);
        }
        self.next += 1;
        if self.peek() == Some(b']') {
            self.next += 1;
            return Ok(true);
        }
        loop {
            each(self)?;
            if self.peek() == Some(b']') {
                self.next += 1;
                return Ok(true);
            }
            self.expect(b',')?;
        }
    }

    /// Checks that nothing follows.
    ///
    /// # Errors
    /// When something does.
    pub(in crate::hms) fn end(mut self) -> Result<(), NotJson> {
        self.peek().map_or(Ok(()), |_| Err(NotJson))
    }

    /// The index of the byte after what was read.
    pub(in crate::hms) fn position(&self) -> usize {
        self.next
    }

    /// Skips a value, without recursion, however deeply it nests.
    pub(in crate::hms) fn skip(&mut self) -> Result<(), NotJson> {
        self.value::<IgnoredAny>().map(|_| ())
    }

    /// Whether the next value is `null`. Does not read it.
    pub(in crate::hms) fn is_null(&mut self) -> bool {
        self.peek() == Some(b'n')
    }

    /// Whether the value is `false`.
    pub(in crate::hms) fn is_false(&mut self) -> Result<bool, NotJson> {
        let is_false = self.peek() == Some(b'f');
        self.skip().map(|()| is_false)
    }

    /// A whole number that is not negative.
    pub(in crate::hms) fn count(&mut self) -> Result<Option<u64>, NotJson> {
        let value: &RawValue = self.value()?;
        Ok(value.get().parse().ok())
    }

    /// The content of a string that is exactly known: an id, or a name of 100ms's own.
    pub(in crate::hms) fn exact(&mut self) -> Result<Option<Cow<'a, str>>, NotJson> {
        Ok(self.text()?.and_then(Text::exact))
    }

    /// A text to show; U+FFFD stands for what is not Unicode.
    pub(in crate::hms) fn label(&mut self) -> Result<Option<Label>, NotJson> {
        Ok(self.text()?.map(|text| Label::new(&text.lossy())))
    }

    /// A time; none for the zero time, which is how 100ms writes "none".
    pub(in crate::hms) fn timestamp(&mut self) -> Result<Option<Timestamp>, NotJson> {
        Ok(self
            .exact()?
            .and_then(|text| Timestamp::parse_upstream(&text)))
    }

    /// The exact metadata, whatever the type of the value; [`NotRepresentable`] when no Unicode
    /// text is equal to it.
    pub(in crate::hms) fn metadata(
        &mut self,
    ) -> Result<Result<Metadata, NotRepresentable>, NotJson> {
        if self.peek() == Some(b'"') {
            let text = self.exact()?.ok_or(NotRepresentable);
            return Ok(text.map(Metadata::from_text));
        }
        let value: &RawValue = self.value()?;
        Ok(if value.get().contains(NOT_UTF8) {
            Err(NotRepresentable)
        } else {
            Metadata::from_wire(value)
        })
    }

    /// The tracks; U+FFFD stands for what is not Unicode in them.
    pub(in crate::hms) fn tracks(&mut self) -> Result<Option<Tracks>, NotJson> {
        let value: &RawValue = self.value()?;
        Ok(Tracks::from_wire(&without_lone_surrogates(value.get())))
    }

    fn text(&mut self) -> Result<Option<Text<'a>>, NotJson> {
        if self.peek() == Some(b'"') {
            self.value().map(Some)
        } else {
            self.skip().map(|()| None)
        }
    }

    fn value<T: Deserialize<'a>>(&mut self) -> Result<T, NotJson> {
        let mut values = serde_json::Deserializer::from_str(&self.json[self.next..]).into_iter();
        let value = values.next().and_then(Result::ok).ok_or(NotJson)?;
        self.next += values.byte_offset();
        Ok(value)
    }

    fn expect(&mut self, byte: u8) -> Result<(), NotJson> {
        if self.peek() != Some(byte) {
            return Err(NotJson);
        }
        self.next += 1;
        Ok(())
    }

    /// The first byte that is not white space.
    fn peek(&mut self) -> Option<u8> {
        let bytes = self.json.as_bytes();
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = bytes.get(self.next) {
            self.next += 1;
        }
        bytes.get(self.next).copied()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys(json: &str) -> Option<Vec<String>> {
        let mut keys = Vec::new();
        let mut reader = Reader::new(json);
        let object = reader.each_entry(|key, value| {
            keys.push(key.lossy().into_owned());
            value.skip()
        });
        (object == Ok(true) && reader.end() == Ok(())).then_some(keys)
    }

    #[test]
    fn only_whole_objects_have_entries() {
        assert_eq!(
            keys(r#" {"a": 1, "b" :[{}] , "a":null} "#).unwrap(),
            ["a", "b", "a"]
        );
        assert_eq!(
            keys(r#"{"\ud800x":1,"\n":2}"#).unwrap(),
            ["\u{fffd}x", "\n"]
        );
        assert_eq!(keys("\r\n\t{ } ").unwrap(), [""; 0]);
        for bad in [
            "",
            "null",
            "[]",
            "\"{}\"",
            "3",
            "<html>",
            "{",
            "{\"a\":1",
            "{}{}",
            "{\"a\":[}",
            "{,}",
            "{\"a\":1,}",
            "{\"a\" 1}",
            "{\"a\":}",
            "{a:1}",
            "{1:1}",
            "{\"a\":1 \"b\":2}",
            "{\"a\":nul}",
            "{\"a\":1x}",
            "{\"a\":\"\\x\"}",
            "\u{feff}{}",
            "\u{a0}{}",
            "{\"a\":1]",
        ] {
            assert_eq!(keys(bad), None, "{bad}");
        }
    }

    #[test]
    fn only_whole_arrays_have_items() {
        let count = |json: &str| {
            let mut count = 0;
            let mut reader = Reader::new(json);
            let array = reader.each_item(|item| {
                count += 1;
                item.skip()
            });
            (array == Ok(true) && reader.end() == Ok(())).then_some(count)
        };
        assert_eq!(count(r#" [ 1, {"a":[2]} ,"x"] "#), Some(3));
        assert_eq!(count("[ ]"), Some(0));
        for bad in [
            "", "{}", "null", "[", "[1", "[1,]", "[,]", "[1 2]", "[1]]", "[1}",
        ] {
            assert_eq!(count(bad), None, "{bad}");
        }
    }

    #[test]
    fn hostile_nesting_costs_no_stack() {
        let deep = "[".repeat(1_000_000);
        let whole = format!("{deep}{}", "]".repeat(1_000_000));
        assert_eq!(keys(&deep), None);
        assert_eq!(keys(&format!(r#"{{"a":{deep}"#)), None);
        assert_eq!(keys(&format!(r#"{{"a":{whole}}}"#)).unwrap(), ["a"]);
        assert_eq!(keys(&r#"{"a":"#.repeat(300_000)), None);
        assert_eq!(Reader::new(&deep).skip(), Err(NotJson));
        assert_eq!(Reader::new(&whole).skip(), Ok(()));
    }

    #[test]
    fn only_strings_have_text() {
        assert_eq!(Reader::new(r#""x""#).exact().unwrap().as_deref(), Some("x"));
        for other in ["1", "null", "[65,66]", "{}", "true"] {
            assert_eq!(Reader::new(other).exact(), Ok(None), "{other}");
            assert_eq!(Reader::new(other).label(), Ok(None), "{other}");
            assert_eq!(Reader::new(other).timestamp(), Ok(None), "{other}");
        }
    }

    /// Pieces of JSON, and of what is not.
    const PIECES: &[&str] = &[
        "{", "}", "[", "]", ":", ",", " ", "\"a\"", "\"a\":", "1", "null", "\"", "\\", "{}",
        "\"a\":1",
    ];

    proptest! {
        #[test]
        fn an_object_is_what_serde_json_takes_for_one(
            pieces in prop::collection::vec(prop::sample::select(PIECES), 0..10),
        ) {
            for json in [pieces.concat(), format!("{{{}}}", pieces.concat())] {
                let value = serde_json::from_str::<&RawValue>(&json);
                let expected = value.is_ok_and(|value| value.get().starts_with('{'));
                prop_assert_eq!(keys(&json).is_some(), expected, "{}", json);
            }
        }
    }
}
