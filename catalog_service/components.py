"""What the routes find in the application."""

import asyncpg
from aiohttp import web
from prometheus_client import Counter

from catalog_service.clients.states import ClientStates
from catalog_service.plans.encoded import EncodedPlansCache
from catalog_service.tokens.failed_attempts import FailedAttempts
from catalog_service.tokens.issue import TokenTerms
from catalog_service.tokens.key_ring import SigningKeys
from service_chassis.auth.bearer import TokenVerifier
from service_chassis.clock import Clock

CLOCK: web.AppKey[Clock] = web.AppKey("clock")
POOL = web.AppKey("pool", asyncpg.Pool)
CLIENT_STATES = web.AppKey("client_states", ClientStates)
ENCODED_PLANS = web.AppKey("encoded_plans", EncodedPlansCache)
FAILED_ATTEMPTS = web.AppKey("failed_attempts", FailedAttempts)
PLAN_LISTS = web.AppKey("plan_lists", dict[str, Counter])
SIGNING_KEYS = web.AppKey("signing_keys", SigningKeys)
TOKEN_TERMS = web.AppKey("token_terms", TokenTerms)
VERIFIER = web.AppKey("verifier", TokenVerifier)
