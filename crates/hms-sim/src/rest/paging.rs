//! Pages of lists: `limit` entries after `start`, which is the `last` of the page before.

use serde::Serialize;

/// The documented bounds of `limit`; the lower one is also the default.
const MIN_LIMIT: usize = 10;
const MAX_LIMIT: usize = 100;

/// A page as it is answered.
#[derive(Serialize)]
pub(super) struct Page<T> {
    limit: usize,
    pub(super) data: Vec<T>,
    #[serde(skip_serializing_if = "Option::is_none")]
    last: Option<String>,
}

impl<T> Page<T> {
    /// The page of those that match, among `all` in their order. The error is the reason of a 400.
    pub(super) fn new(
        all: Vec<T>,
        id: impl Fn(&T) -> &str,
        matches: impl Fn(&T) -> bool,
        limit: Option<usize>,
        start: Option<&str>,
    ) -> Result<Self, &'static str> {
        let limit = limit.unwrap_or(MIN_LIMIT);
        if !(MIN_LIMIT..=MAX_LIMIT).contains(&limit) {
            return Err("limit must be from 10 to 100");
        }
        // Looked for among all: the entry that ended the page before may match no more.
        let first = match start {
            None => 0,
            Some(start) => {
                let last = all.iter().position(|entry| id(entry) == start);
                last.ok_or("start is not the last of a page")? + 1
            }
        };
        let page = all.into_iter().skip(first).filter(matches).take(limit);
        let data: Vec<T> = page.collect();
        let last = data.last().map(|entry| id(entry).to_owned());
        Ok(Self { limit, data, last })
    }

    /// The same page with its entries as they are shown.
    pub(super) fn map<U>(self, show: impl Fn(T) -> U) -> Page<U> {
        Page {
            limit: self.limit,
            data: self.data.into_iter().map(show).collect(),
            last: self.last,
        }
    }
}
