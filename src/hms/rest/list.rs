//! The list of a room's peers. It may be large, so it is read in portions.

use std::ops::Range;
use std::sync::Arc;

use super::memory::{LARGE_LIST_BYTES, ListPermit};
use super::peer::{UpstreamPeer, bad_response};
use super::send::Body;
use crate::hms::wire::{self, NotJson, Reader};
use crate::hms::{HmsError, TransientError};

/// How many bytes of a list are read at a time, unless a single peer has more.
const PORTION_BYTES: usize = 4 << 20;

/// The peers of a room, as 100ms sent them.
#[derive(Debug)]
pub struct PeerList {
    json: Arc<String>,
    entries: Arc<Vec<Entry>>,
    /// The first entry that was not read yet.
    next: usize,
    permit: ListPermit,
}

/// An entry of the list.
#[derive(Debug)]
struct Entry {
    peer_id: String,
    /// Where its value is in the JSON.
    value: Range<usize>,
}

impl PeerList {
    /// Finds the peers in the answer of the list endpoint, `{"peers": {peer_id: peer}}`.
    ///
    /// An entry that is not an object is a peer of which nothing but the id is known. `"peers":
    /// null` is how Go writes an empty map.
    ///
    /// # Errors
    /// [`HmsError::BadResponse`] when there is no such map.
    pub(super) async fn find(body: Body) -> Result<Self, HmsError> {
        let Body { bytes, permit } = body;
        let find = move || {
            let json = wire::into_text(bytes);
            find_entries(&json).map(|entries| (json, entries))
        };
        let (json, entries) = run_apart(permit.is_large(), find).await??;
        Ok(Self {
            json: Arc::new(json),
            entries: Arc::new(entries),
            next: 0,
            permit,
        })
    }

    /// How many peers there are.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The next peers; none at the end.
    ///
    /// # Errors
    /// [`HmsError::Unavailable`] where this process stops.
    pub async fn next_portion(&mut self) -> Result<Option<Vec<UpstreamPeer>>, HmsError> {
        let portion = self.portion_at(self.next);
        if portion.is_empty() {
            return Ok(None);
        }
        self.next = portion.end;
        let is_large = self.bytes_of(&portion) >= LARGE_LIST_BYTES;
        let (json, entries) = (Arc::clone(&self.json), Arc::clone(&self.entries));
        let read = move || {
            let entries = entries[portion].iter();
            entries
                .map(|entry| UpstreamPeer::read(entry.peer_id.clone(), &json[entry.value.clone()]))
                .collect()
        };
        run_apart(is_large, read).await.map(Some)
    }

    /// All peers that were not read yet, at once.
    ///
    /// # Errors
    /// [`HmsError::Unavailable`] where this process stops.
    pub async fn read_all(&mut self) -> Result<Vec<UpstreamPeer>, HmsError> {
        let mut peers = Vec::new();
        while let Some(portion) = self.next_portion().await? {
            peers.extend(portion);
        }
        Ok(peers)
    }

    /// What the list takes of the memory for lists, once it has been read and its peers are left.
    pub fn into_permit(self) -> ListPermit {
        self.permit
    }

    /// The entries from the one at `start` that make a portion.
    fn portion_at(&self, start: usize) -> Range<usize> {
        let mut end = start;
        while end < self.entries.len()
            && (end == start || self.bytes_of(&(start..end + 1)) <= PORTION_BYTES)
        {
            end += 1;
        }
        start..end
    }

    fn bytes_of(&self, portion: &Range<usize>) -> usize {
        let entries = &self.entries[portion.clone()];
        match (entries.first(), entries.last()) {
            (Some(first), Some(last)) => last.value.end - first.value.start,
            _ => 0,
        }
    }
}

/// Runs `work`, on a thread of its own where that takes long, so that it does not block other
/// requests.
pub(super) async fn run_apart<T: Send + 'static>(
    takes_long: bool,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, HmsError> {
    if !takes_long {
        return Ok(work());
    }
    let worked = tokio::task::spawn_blocking(work).await;
    worked.map_err(|error| match error.try_into_panic() {
        Ok(panic) => std::panic::resume_unwind(panic),
        // The runtime shuts down.
        Err(_) => HmsError::Unavailable(TransientError::Stopping),
    })
}

fn find_entries(json: &str) -> Result<Vec<Entry>, HmsError> {
    let mut entries = Err("the list has no `peers`");
    let mut reader = Reader::new(json);
    let object = reader.each_entry(|field, value| {
        if field.as_bytes() == b"peers" {
            entries = find_in_map(value)?.ok_or("`peers` is not a JSON object");
            Ok(())
        } else {
            value.skip()
        }
    });
    if object != Ok(true) || reader.end().is_err() {
        return Err(bad_response("the list is not a JSON object"));
    }
    entries.map_err(bad_response)
}

/// The entries of a map; none where it is not one.
fn find_in_map(map: &mut Reader<'_>) -> Result<Option<Vec<Entry>>, NotJson> {
    let mut entries = Vec::new();
    let is_null = map.is_null();
    let is_object = map.each_entry(|key, value| {
        let start = value.position();
        value.skip()?;
        entries.push(Entry {
            peer_id: key.lossy().into_owned(),
            value: start..value.position(),
        });
        Ok(())
    })?;
    Ok((is_object || is_null).then_some(entries))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Label, NotRepresentable};

    async fn find(json: &str) -> Result<PeerList, HmsError> {
        PeerList::find(Body {
            bytes: json.as_bytes().to_vec(),
            permit: ListPermit::default(),
        })
        .await
    }

    async fn read(json: &str) -> Vec<UpstreamPeer> {
        find(json).await.unwrap().read_all().await.unwrap()
    }

    fn raw(peer: &UpstreamPeer) -> Option<&str> {
        peer.metadata.as_ref().unwrap().raw()
    }

    #[tokio::test]
    async fn the_documented_list_is_read() {
        let peers = read(
            r#"{"peers":{
                "a":{"id":"a","name":"seven","user_id":"u","metadata":"{\"hp\":71}","role":"player","joined_at":"2026-03-01T10:00:00Z"},
                "b":{"id":"b","user_id":"u","metadata":""}}}"#,
        ).await;
        let read: Vec<_> = peers
            .iter()
            .map(|peer| (&*peer.peer_id, &*peer.user_id, raw(peer)))
            .collect();
        assert_eq!(
            read,
            [("a", "u", Some(r#"{"hp":71}"#)), ("b", "u", Some(""))]
        );
        assert!(peers.iter().all(|peer| peer.tracks.is_none()));
    }

    #[tokio::test]
    async fn an_odd_peer_leaves_the_others_alone() {
        let peers = read(
            r#"{"n":1,"peers":{"a":{"metadata":"\ud800","name":"\udc00"},"b":null,"c":[{"id":"x"}],"\ud800":{},
                "d":{"id":5,"metadata":"fine"},"key":{"id":"e"}},"z":2}"#,
        ).await;
        let ids: Vec<_> = peers.iter().map(|peer| peer.peer_id.as_str()).collect();
        assert_eq!(ids, ["a", "b", "c", "\u{fffd}", "d", "e"]);
        assert_eq!(peers[0].metadata, Err(NotRepresentable));
        assert_eq!(peers[0].name, Some(Label::new("\u{fffd}")));
        assert_eq!(raw(&peers[4]), Some("fine"));
    }

    #[tokio::test]
    async fn an_empty_room_is_an_empty_list() {
        assert_eq!(read(r#"{"peers":{}}"#).await, []);
        assert_eq!(read(r#"{"peers":null}"#).await, []);
    }

    #[tokio::test]
    async fn what_is_not_documented_is_refused() {
        for body in [
            "",
            "<html>",
            "{}",
            "[]",
            r#"{"peers":[]}"#,
            r#"{"peers":3}"#,
            r#"{"peers":{}"#,
            r#"{"Peers":{}}"#,
            r#"{"peers":{"a":{"id":}}}"#,
            r#"{"peers":{"a":{"name":"\x"}}}"#,
        ] {
            let found = find(body).await;
            assert!(matches!(found, Err(HmsError::BadResponse(_))), "{body}");
        }
    }

    #[tokio::test]
    async fn hostile_nesting_is_metadata_like_any_other() {
        let deep = "[".repeat(1_000_000) + &"]".repeat(1_000_000);
        let peers = read(&format!(
            r#"{{"peers":{{"a":{{"metadata":{deep}}},"b":{deep}}}}}"#
        ))
        .await;
        assert_eq!(raw(&peers[0]), Some(&*deep));
        assert_eq!((&*peers[1].peer_id, &*peers[1].user_id), ("b", ""));
    }

    #[tokio::test]
    async fn a_large_list_is_read_in_portions() {
        let metadata = "x".repeat(1 << 20);
        let entry = |number| format!(r#""{number}":{{"user_id":"u","metadata":"{metadata}"}}"#);
        let entries: Vec<String> = (0..10).map(entry).collect();
        let large = format!(
            r#""large":{{"metadata":"{}"}}"#,
            "y".repeat(PORTION_BYTES + 1)
        );
        let json = format!(
            r#"{{"peers":{{{},{large},"last":{{}}}}}}"#,
            entries.join(",")
        );
        let mut list = find(&json).await.unwrap();
        assert_eq!((list.len(), list.is_empty()), (12, false));
        let mut portions = Vec::new();
        while let Some(portion) = list.next_portion().await.unwrap() {
            assert!(portion.iter().all(|peer| peer.metadata.is_ok()));
            portions.push(portion.len());
        }
        assert_eq!(portions, [3, 3, 3, 1, 1, 1]);
        assert_eq!(list.next_portion().await.unwrap(), None);
    }
}
