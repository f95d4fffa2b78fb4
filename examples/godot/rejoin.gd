## rejoin for the dedicated server of a Godot 4 game.
extends Node

## Where rejoin is.
@export var base_url := "http://127.0.0.1:8080"
## Who this server is, for claims.
@export var server_name := "game-server-1"

const ATTEMPTS := 3

## The state of a player who has just joined as `peer_id`, which rejoin writes to that peer; null for a new start, and
## where another server has claimed it.
func player_joined(user_id: String, room_id: String, peer_id: String) -> Variant:
	var path := "/v1/users/%s/resume" % user_id.uri_encode()
	var body := {"room_id": room_id, "peer_id": peer_id, "claimed_by": server_name}
	var answer := await _call(HTTPClient.METHOD_POST, path, body)
	if answer.status == 200 and answer.body.has("metadata_raw"):
		# Metadata is whatever clients set: look before you trust it.
		return JSON.parse_string(answer.body.metadata_raw)
	if answer.status != 200 and answer.body.get("code", "") not in ["already-claimed", "no-saved-metadata"]:
		push_error("rejoin: %s" % answer.body.get("detail", "no answer"))
	return null

## Has rejoin look at the room every ten seconds until it is over.
func watch_room(room_id: String) -> void:
	await _call(HTTPClient.METHOD_PUT, "/v1/rooms/%s/watch" % room_id.uri_encode(), {"every": "10s"})

## The status and the body of an answer; status 0 where there is none.
func _call(method: HTTPClient.Method, path: String, body: Dictionary) -> Dictionary:
	var headers := ["Content-Type: application/json", "Authorization: Bearer " + OS.get_environment("REJOIN_API_KEY")]
	for attempt in ATTEMPTS:
		var request := HTTPRequest.new()
		request.timeout = 10.0
		add_child(request)
		var error := request.request(base_url + path, headers, method, JSON.stringify(body))
		var result: Array = await request.request_completed if error == OK else [error, 0, [], PackedByteArray()]
		request.queue_free()
		var status: int = result[1]
		if status != 0 and status != 503:
			var parsed: Variant = JSON.parse_string(result[3].get_string_from_utf8())
			return {"status": status, "body": parsed if parsed is Dictionary else {}}
		await get_tree().create_timer(_retry_after(result[2])).timeout
	return {"status": 0, "body": {}}

func _retry_after(headers: PackedStringArray) -> float:
	for header in headers:
		if header.to_lower().begins_with("retry-after:"):
			return maxf(1.0, header.split(":")[1].strip_edges().to_float())
	return 1.0
