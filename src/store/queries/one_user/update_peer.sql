-- Writes the new state of a peer, where its baseline still holds.
-- Returns no row where it did not hold when the statement began; is_written is false where the peer was changed or erased
-- meanwhile.
-- $1 to $3: user id, room id, peer id
-- $4: id of the current snapshot; all zeros of a peer of which only presence is known
-- $5 to $10: source, metadata, name, role, tracks, time of the join
-- $11, $12: when the current content was first and last observed
-- $13: the new version
-- $14: when the latest change of the metadata counts as made
-- $15 to $19: presence: connected since, session id, end, kind and reason of the end
-- $20 to $23: restore mark: time, change, time of the change, time of the answer
-- $24 to $26: the latest change: id, when it was observed, when other metadata was observed before
-- $27: when the snapshot before the current one was last observed
-- $28: digest of the metadata of the join
-- $29: the version of the baseline
WITH updated AS (
    UPDATE peers SET
        snapshot_id = $4, source = $5,
        -- What is the same is not written again, where it is stored apart from the row.
        metadata_raw = CASE WHEN metadata_raw IS NOT DISTINCT FROM $6 THEN metadata_raw ELSE $6 END,
        name = $7, role = $8, tracks = $9::text::json, joined_at = $10, first_observed_at = $11, last_observed_at = $12,
        version = $13, metadata_changed_at = $14, connected_since = $15, session_id = $16, ended_at = $17,
        end_kind = $18, end_reason = $19, restored_at = $20, restored_change = $21, restored_changed_at = $22,
        restored_answered_at = $23, change_id = $24, change_observed_at = $25, other_metadata_at = $26,
        preceded_at = $27, join_metadata = $28,
        ended_with_session = ended_with_session
            AND (session_id, connected_since, joined_at)
                IS NOT DISTINCT FROM ($16, $15::timestamptz, $10::timestamptz)
    WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND version = $29
    RETURNING version
)
SELECT EXISTS (SELECT FROM updated) AS "is_written!"
FROM peers
WHERE user_id = $1 AND room_id = $2 AND peer_id = $3 AND version = $29
