using System;
using System.Collections;
using System.Text;
using UnityEngine;
using UnityEngine.Networking;

/// <summary>rejoin for the dedicated server of a Unity game.</summary>
public class RejoinClient : MonoBehaviour
{
    [SerializeField] private string baseUrl = "http://127.0.0.1:8080";
    [SerializeField] private string serverName = "game-server-1";

    private const int Attempts = 3;

    [Serializable] private class RestoreBody { public string room_id; public string peer_id; public string claimed_by; }
    [Serializable] private class WatchBody { public string every = "10s"; }
    [Serializable] private class Answer { public string metadata_raw; public string code; public string detail; }

    /// <summary>
    /// Passes on the state of a player who has just joined as this peer, which rejoin writes to that peer; null for a new
    /// start, and where another server has claimed it.
    /// </summary>
    public IEnumerator PlayerJoined(string userId, string roomId, string peerId, Action<string> then)
    {
        var body = new RestoreBody { room_id = roomId, peer_id = peerId, claimed_by = serverName };
        var path = $"/v1/users/{UnityWebRequest.EscapeURL(userId).Replace("+", "%20")}/resume";
        yield return Call("POST", path, JsonUtility.ToJson(body), (status, answer) =>
        {
            if (status != 200 && answer.code != "already-claimed" && answer.code != "no-saved-metadata")
                Debug.LogError($"rejoin: {answer.detail}");
            // Metadata is whatever clients set: look before you trust it.
            then(status == 200 && !string.IsNullOrEmpty(answer.metadata_raw) ? answer.metadata_raw : null);
        });
    }

    /// <summary>Has rejoin look at the room every ten seconds until it is over.</summary>
    public IEnumerator WatchRoom(string roomId)
    {
        var path = $"/v1/rooms/{UnityWebRequest.EscapeURL(roomId).Replace("+", "%20")}/watch";
        yield return Call("PUT", path, JsonUtility.ToJson(new WatchBody()), (_, _) => { });
    }

    private IEnumerator Call(string method, string path, string json, Action<long, Answer> then)
    {
        for (var attempt = 1; ; attempt++)
        {
            using var request = new UnityWebRequest(baseUrl + path, method)
            {
                uploadHandler = new UploadHandlerRaw(Encoding.UTF8.GetBytes(json)) { contentType = "application/json" },
                downloadHandler = new DownloadHandlerBuffer(),
                timeout = 10,
            };
            request.SetRequestHeader("Authorization", $"Bearer {Environment.GetEnvironmentVariable("REJOIN_API_KEY")}");
            yield return request.SendWebRequest();
            var isAway = request.responseCode is 0 or 503;
            if (!isAway || attempt == Attempts)
            {
                then(request.responseCode, Read(request));
                yield break;
            }
            var wait = request.GetResponseHeader("Retry-After");
            yield return new WaitForSecondsRealtime(int.TryParse(wait, out var seconds) ? Mathf.Max(1, seconds) : 1);
        }
    }

    private static Answer Read(UnityWebRequest request)
    {
        try { return JsonUtility.FromJson<Answer>(request.downloadHandler.text) ?? new Answer { detail = "no answer" }; }
        catch (ArgumentException) { return new Answer { detail = "an answer that is not rejoin's" }; }
    }
}
