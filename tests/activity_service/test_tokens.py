"""Access tokens: who is let in, and with what words the others are turned away."""

import time

from tests.activity_service.activity import Activity

CALLS = [
    ("GET", "/api/plan-plays"),
    ("POST", "/api/plan-plays"),
    ("GET", "/api/plan-plays/0197f0d2-8a51-7c3e-9b1a-6a9e0a4f2b11"),
    ("PATCH", "/api/plan-plays/not-even-an-id"),
]


async def test_no_token_is_401_and_says_which_scheme(activity: Activity) -> None:
    for method, path in CALLS:
        async with activity.client.request(method, path, data=b"{") as response:
            assert response.status == 401
            assert response.headers.getall("WWW-Authenticate") == ["Bearer"]
            assert await response.json() == {"error": "Unauthorized"}


async def test_a_token_that_cannot_be_believed_is_401(activity: Activity) -> None:
    issue, now = activity.issuer.issue, int(time.time())
    other = type(activity.issuer)()
    tokens = {
        "expired": issue(exp=now - 1),
        "of another audience": issue(aud="elsewhere"),
        "of another issuer": issue(iss="elsewhere"),
        "signed by another": other.issue(),
        "from the future": issue(iat=now + 3600),
        "altered": issue()[:-4] + "AAAA",
        "nonsense": "nonsense",
        "without a client": issue(client_id=""),
    }
    for reason, token in tokens.items():
        for method, path in CALLS:
            reply = await activity.call(method, path, token=token, json={})
            assert (reply.status, reply.json) == (401, {"error": "Unauthorized"}), reason
            assert reply.headers["WWW-Authenticate"] == "Bearer"


async def test_a_token_without_the_scope_is_denied(activity: Activity) -> None:
    for scope in ("", "plans", "plan_plays:all_clients", "plan_playsx"):
        for method, path in CALLS:
            reply = await activity.call(method, path, token=activity.issuer.issue(scope=scope), json={})
            assert (reply.status, reply.json) == (403, {"error": "Access denied"}), scope


async def test_the_token_is_looked_at_before_the_body(activity: Activity) -> None:
    async with activity.client.post("/api/plan-plays", data=b"x" * 200_000) as response:
        assert response.status == 401
