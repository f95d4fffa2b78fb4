//! Which problem codes an operation can be answered with.

use super::super::error::Code;

/// Of every operation that needs an API key.
const KEYED: &[Code] = &[Code::InvalidRequest, Code::Unauthorized, Code::Forbidden];
/// Of every operation that needs the database.
const STORED: &[Code] = &[Code::DatabaseUnavailable, Code::Overloaded, Code::Internal];
/// Of every operation that asks 100ms.
const UPSTREAM: &[Code] = &[
    Code::RoomNotActive,
    Code::UpstreamUnauthorized,
    Code::UpstreamBadResponse,
    Code::UpstreamUnavailable,
    Code::UpstreamTimeout,
    Code::UpstreamRateLimited,
];
/// Of every operation on one peer of 100ms's.
const PEER: &[Code] = &[
    Code::PeerNotFound,
    Code::PeerWithoutUserId,
    Code::MetadataTooLarge,
    Code::MetadataNotRepresentable,
];

/// The codes of an operation, by its id.
pub(super) fn codes_of(operation_id: &str) -> Vec<Code> {
    match operation_id {
        "snapshotPeer" => [KEYED, &[Code::PayloadTooLarge], UPSTREAM, PEER, STORED].concat(),
        "snapshotRoom" => [KEYED, &[Code::PayloadTooLarge], UPSTREAM, STORED].concat(),
        "getResume" => {
            let unfit = &[
                Code::NoSavedMetadata,
                Code::SavedMetadataTooOld,
                Code::NotDropped,
            ];
            [KEYED, unfit, STORED].concat()
        }
        "restore" => {
            let unfit = &[
                Code::PayloadTooLarge,
                Code::NoSavedMetadata,
                Code::PeerNotOfUser,
                Code::AlreadyClaimed,
            ];
            [KEYED, unfit, UPSTREAM, PEER, STORED].concat()
        }
        "listHistory" | "listWatches" | "listForwards" | "listReconciliations" => {
            [KEYED, STORED].concat()
        }
        "getReconciliation" => [KEYED, &[Code::NotFound], STORED].concat(),
        "watchRoom" | "retryForwards" | "reconcile" => {
            [KEYED, &[Code::PayloadTooLarge], STORED].concat()
        }
        "getWatch" => [KEYED, &[Code::RoomNotWatched], STORED].concat(),
        "unwatchRoom" => {
            let unfit = &[Code::PayloadTooLarge, Code::RoomNotWatched];
            [KEYED, unfit, STORED].concat()
        }
        "retryForward" => {
            let unfit = &[Code::PayloadTooLarge, Code::NotFound];
            [KEYED, unfit, STORED].concat()
        }
        "receiveWebhook" => {
            let unfit = &[
                Code::InvalidRequest,
                Code::Unauthorized,
                Code::NotFound,
                Code::PayloadTooLarge,
            ];
            [unfit, STORED].concat()
        }
        "getReadiness" => vec![Code::DatabaseUnavailable, Code::Internal],
        _ => Vec::new(),
    }
}
