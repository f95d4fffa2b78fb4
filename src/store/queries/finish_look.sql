-- Ends a look, and schedules the next one: a whole number of intervals after this one was scheduled, so that looks
-- neither drift nor, after a time in which none was possible, come all at once. The watch ends with the third look in a
-- row, two minutes apart at least, at which the room was not active.
-- $1: room id
-- $2: which look
-- $3: ok, or the problem code
-- $4: how many peers were saved
-- $5: how many of them had changed
-- $6: whether the room was active; null where the look does not know
WITH taken AS (
    SELECT room_id, until,
           next_look_at + every * greatest(0, 1 + floor(extract(epoch FROM now() - next_look_at) / extract(epoch FROM every))) AS next,
           CASE WHEN $6 THEN 0
                WHEN NOT $6 AND (inactive_at IS NULL OR now() - inactive_at >= interval '2 minutes') THEN inactive_looks + 1
                ELSE inactive_looks END AS inactive
    FROM watches
    WHERE room_id = $1 AND looks = $2 AND looking
    FOR UPDATE
), ended AS (
    DELETE FROM watches USING taken WHERE watches.room_id = taken.room_id AND taken.inactive >= 3
    RETURNING watches.room_id
), updated AS (
    UPDATE watches
    SET looking = false, next_look_at = taken.next, 
        -- After a failure, another attempt comes earlier, and changes nothing of the schedule.
        due_at = least(taken.next, taken.until, CASE WHEN $6 IS NULL THEN now() + interval '30 seconds' END),
        last_look_at = now(), last_outcome = $3, last_peers = $4, last_changes = $5,
        inactive_looks = taken.inactive,
        inactive_at = CASE WHEN $6 THEN NULL WHEN taken.inactive > watches.inactive_looks THEN now() ELSE watches.inactive_at END
    FROM taken
    WHERE watches.room_id = taken.room_id AND taken.inactive < 3
)
SELECT EXISTS (SELECT FROM ended) AS "ended!"
