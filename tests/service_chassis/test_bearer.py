"""Access tokens: the one way to be believed, and the many ways not to be.

Long because each of the many ways is tried.
"""

import hmac
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import jwt
import orjson
import pytest
from aiohttp.test_utils import make_mocked_request
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm
from jwt.utils import base64url_encode
from multidict import CIMultiDict
from structlog.testing import capture_logs

from service_chassis.auth import bearer
from service_chassis.auth.bearer import AccessToken, InvalidToken, TokenVerifier, read_bearer
from service_chassis.errors import Unauthorized
from service_chassis.operations.metrics import Metrics

KEY = ec.generate_private_key(ec.SECP256R1())
NOW = datetime(2030, 1, 1, tzinfo=UTC)
SECONDS = int(NOW.timestamp())
CLAIMS = {
    "iss": "issuer",
    "aud": "api",
    "iat": SECONDS,
    "exp": SECONDS + 60,
    "jti": "1",
    "sub": "user",
    "client_id": "client",
    "scope": "read write",
}
HEADER = {"typ": "at+jwt", "kid": "k1"}


class Verifier:
    """A verifier that believes KEY under the name k1, at a moment that can be moved."""

    def __init__(self) -> None:
        self.now = NOW
        self.lookups = 0
        self.withdrawn = False
        self.verify = TokenVerifier(
            issuer="issuer", audience="api", find_key=self._find, clock=lambda: self.now, metrics=Metrics()
        ).verify

    async def _find(self, kid: str) -> ec.EllipticCurvePublicKey | None:
        self.lookups += 1
        return KEY.public_key() if kid == "k1" and not self.withdrawn else None


def sign(claims: dict[str, Any] | None = None, key: Any = KEY, algorithm: str = "ES256", **header: Any) -> str:
    given = {name: value for name, value in {**CLAIMS, **(claims or {})}.items() if value is not ...}
    headers = {name: value for name, value in {**HEADER, **header}.items() if value is not ...}
    return jwt.encode(given, key, algorithm, headers=headers)


async def test_a_token_says_whose_it_is_and_what_it_may() -> None:
    user = await Verifier().verify(sign())
    assert user == AccessToken("client", "user", frozenset({"read", "write"}), SECONDS + 60)
    assert (await Verifier().verify(sign({"sub": "client"}))).user_id is None
    assert (await Verifier().verify(sign({"scope": ...}))).scopes == frozenset()
    assert await Verifier().verify(sign({"aud": ["other", "api"]}, typ="AT+JWT")) == user
    assert await Verifier().verify(sign({"iat": SECONDS + 5}))


WRONG_NAMES: list[Any] = ["", 1, None, []]
WRONG_MOMENTS: list[Any] = [str(SECONDS + 60), True, SECONDS + 0.5, None]
WRONG_CLAIMS: list[dict[str, Any]] = [
    *({name: ...} for name in ("iss", "aud", "iat", "exp", "jti", "sub", "client_id")),
    *({name: wrong} for name in ("jti", "sub", "client_id") for wrong in WRONG_NAMES),
    *({name: wrong} for name in ("iat", "exp") for wrong in WRONG_MOMENTS),
    {"iss": "another"},
    {"aud": "another"},
    {"aud": []},
    {"iat": SECONDS + 6},
    {"exp": SECONDS},
    {"exp": -1},
    {"scope": ["read"]},
    {"scope": None},
    {"exp": SECONDS + 24 * 3600 + 1},
    {"exp": 2**53, "iat": 2**53 - 10},
    {"iat": -1, "exp": SECONDS + 60},
    {"nbf": SECONDS + 6},
    {"nbf": str(SECONDS)},
    {"nbf": True},
]


@pytest.mark.parametrize("claims", WRONG_CLAIMS, ids=repr)
async def test_a_wrong_claim_is_not_believed(claims: dict[str, Any]) -> None:
    with pytest.raises(InvalidToken):
        await Verifier().verify(sign(claims))


def public_pem() -> bytes:
    return KEY.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)


def sign_raw(header: bytes, claims: bytes) -> str:
    """Sign texts as they are, as an issuer would that writes what ours never does."""
    signed = b".".join(base64url_encode(part) for part in (header, claims))
    signature = ECAlgorithm(ECAlgorithm.SHA256).sign(signed, KEY)
    return f"{signed.decode()}.{base64url_encode(signature).decode()}"


RAW_HEADER = orjson.dumps({**HEADER, "alg": "ES256"})
RAW_CLAIMS = orjson.dumps(CLAIMS)


def assemble(header: dict[str, Any], signature: bytes = b"") -> str:
    parts = [orjson.dumps(header), orjson.dumps(CLAIMS), signature]
    return b".".join(base64url_encode(part) for part in parts).decode()


def forge_with_public_key() -> str:
    """Sign with the public key as if it were a shared secret, as PyJWT itself refuses to."""
    header = orjson.dumps({**HEADER, "alg": "HS256"})
    signed = b".".join(base64url_encode(part) for part in (header, RAW_CLAIMS))
    signature = hmac.digest(public_pem(), signed, "sha256")
    return f"{signed.decode()}.{base64url_encode(signature).decode()}"


def respell(token: str) -> str:
    """Change the bits of the last character that no byte needs: 64 bytes leave 4 of them."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    return token[:-1] + alphabet[alphabet.index(token[-1]) ^ 1]


WRONG_TOKENS: dict[str, Callable[[], str]] = {
    "empty": lambda: "",
    "text": lambda: "token",
    "not base64": lambda: "a.b.c",
    "not ASCII": lambda: sign() + "é",
    "surrogates": lambda: "\udcff.a.b",
    "padded": lambda: sign() + "==",
    "with a space": lambda: sign() + " ",
    "with a line break": lambda: sign() + "\n",
    "too long": lambda: sign({"more": "x" * 4096}),
    "five parts": lambda: sign() + ".a.b",
    "altered": lambda: sign()[:-4] + "AAAA",
    "another's claims": lambda: ".".join([sign().rpartition(".")[0], sign({"sub": "x"}).rpartition(".")[2]]),
    "another key": lambda: sign(key=ec.generate_private_key(ec.SECP256R1())),
    "another curve": lambda: sign(key=ec.generate_private_key(ec.SECP384R1()), algorithm="ES384"),
    "no algorithm": lambda: assemble({**HEADER, "alg": "none"}),
    "a secret for a key": lambda: sign(key="x" * 32, algorithm="HS256"),
    "unknown kid": lambda: sign(kid="k2"),
    "no kid": lambda: sign(kid=...),
    "kid of a wrong type": lambda: assemble({**HEADER, "alg": "ES256", "kid": 1}),
    "another type": lambda: sign(typ="JWT"),
    "no type": lambda: assemble({"alg": "ES256", "kid": "k1"}),
    "kid too long": lambda: sign(kid="k" * 129),
    "kid a path": lambda: sign(kid="../../dev/null"),
    "kid with SQL": lambda: sign(kid="k1' OR '1'='1"),
    "kid with NUL": lambda: sign_raw(RAW_HEADER.replace(b'"k1"', b'"k1\\u0000"'), RAW_CLAIMS),
    "a secret made of the public key": lambda: forge_with_public_key(),
    "a name twice in the header": lambda: sign_raw(RAW_HEADER[:-1] + b',"alg":"ES256"}', RAW_CLAIMS),
    "another kid first": lambda: sign_raw(b'{"kid":"k2",' + RAW_HEADER[1:], RAW_CLAIMS),
    "a name twice in the claims": lambda: sign_raw(RAW_HEADER, b'{"client_id":"other",' + RAW_CLAIMS[1:]),
    "a name twice, deeper": lambda: sign_raw(RAW_HEADER, RAW_CLAIMS[:-1] + b',"x":{"a":1,"a":2}}'),
    "a number beyond 64 bits": lambda: sign_raw(RAW_HEADER, RAW_CLAIMS[:-1] + b',"x":18446744073709551616}'),
    "NaN": lambda: sign_raw(RAW_HEADER, RAW_CLAIMS[:-1] + b',"x":NaN}'),
    "claims no object": lambda: sign_raw(RAW_HEADER, b'["client"]'),
    "deep": lambda: sign_raw(RAW_HEADER, b'{"x":' + b"[" * 900 + b"]" * 900 + b"}"),
    "another spelling of its last bits": lambda: respell(sign()),
    "in another alphabet": lambda: sign().replace("-", "+").replace("_", "/") + "+",
    "header no object": lambda: b".".join(base64url_encode(part) for part in (b"[]", b"{}", b"x")).decode(),
}

UNWANTED_HEADERS = {"jku": "x", "jwk": {}, "x5u": "x", "x5c": ["x"], "crit": ["exp"], "zip": "DEF", "b64": True}


@pytest.mark.parametrize("fault", WRONG_TOKENS)
async def test_a_token_is_not_believed_that_is(fault: str) -> None:
    with pytest.raises(InvalidToken):
        await Verifier().verify(WRONG_TOKENS[fault]())


@pytest.mark.parametrize("name", UNWANTED_HEADERS)
async def test_a_token_whose_header_wants_more_than_we_do_is_not_believed(name: str) -> None:
    header = {**HEADER, "alg": "ES256", name: UNWANTED_HEADERS[name]}
    with pytest.raises(InvalidToken, match="unwanted header"):
        await Verifier().verify(sign_raw(orjson.dumps(header), RAW_CLAIMS))


async def test_a_signature_is_verified_once_and_the_expiry_every_time() -> None:
    verifier = Verifier()
    token = sign()
    for _ in range(3):
        await verifier.verify(token)
    assert verifier.lookups == 1
    verifier.now = NOW + timedelta(seconds=60)
    with pytest.raises(InvalidToken, match="expired"):
        await verifier.verify(token)


async def test_a_withdrawn_key_takes_its_tokens_along_within_a_minute() -> None:
    verifier = Verifier()
    token = sign({"exp": SECONDS + 600})
    await verifier.verify(token)
    verifier.withdrawn = True
    verifier.now = NOW + timedelta(seconds=61)
    with pytest.raises(InvalidToken, match="unknown key"):
        await verifier.verify(token)


async def test_the_verified_tokens_kept_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bearer, "_CACHED_TOKENS", 2)
    verifier = Verifier()
    tokens = [sign({"jti": str(number)}) for number in range(3)]
    for token in [*tokens, tokens[2], tokens[0]]:
        await verifier.verify(token)
    assert verifier.lookups == 4


async def test_a_token_that_is_not_believed_is_not_kept() -> None:
    verifier = Verifier()
    token = sign({"iat": SECONDS + 60, "exp": SECONDS + 600})
    with pytest.raises(InvalidToken):
        await verifier.verify(token)
    verifier.now = NOW + timedelta(seconds=60)
    assert await verifier.verify(token)


def credential(*values: str) -> str:
    headers = CIMultiDict([("Authorization", value) for value in values])
    return read_bearer(make_mocked_request("GET", "/", headers=headers))


def test_the_credential_is_read_in_any_case_of_the_scheme() -> None:
    assert credential("Bearer a.b.c") == credential("bearer  a.b.c ") == "a.b.c"


@pytest.mark.parametrize("values", [[], ["a.b.c"], ["Bearer"], ["Bearer "], ["Basic a"], ["Bearer a", "Bearer a"]])
def test_no_credential_several_or_another_scheme_is_refused(values: list[str]) -> None:
    with pytest.raises(InvalidToken):
        credential(*values)


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        (None, "no credential, or several"),
        ("nonsense", "not a compact JWS"),
        (sign(key=ec.generate_private_key(ec.SECP256R1())), "wrong signature"),
        (sign({"iss": "another"}), "wrong issuer"),
        (sign({"aud": "another"}), "wrong audience"),
        (sign({"jti": ...}), "a claim is missing"),
        (sign({"iat": int(NOW.timestamp()) - 900, "exp": int(NOW.timestamp())}), "expired"),
        (sign(kid="k2"), "unknown key"),
    ],
)
async def test_why_a_token_was_refused_is_counted_and_logged_by_kind(token: str | None, reason: str) -> None:
    metrics = Metrics()

    async def find(kid: str) -> ec.EllipticCurvePublicKey | None:
        return KEY.public_key() if kid == "k1" else None

    verifier = TokenVerifier(issuer="issuer", audience="api", find_key=find, clock=lambda: NOW, metrics=metrics)
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    with capture_logs() as logs, pytest.raises(Unauthorized):
        await verifier.verify_request(make_mocked_request("GET", "/", headers=headers), Unauthorized)
    assert [(line["event"], line["reason"]) for line in logs] == [("access_token_refused", reason)]
    assert f'access_tokens_refused_total{{reason="{reason}"}} 1.0' in metrics.render().decode()
    assert token is None or token not in str(logs)
