"""What tests of credits do with one client."""

from typing import Any

from tests.metering_service.conftest import ADMIN_KEY, Metering, event

PATH = "/internal/clients/acme"


async def grant(metering: Metering, grant_id: str, credits: int, **terms: Any) -> Any:
    body = {"grantId": grant_id, "credits": credits, "create": True, **terms}
    return await metering.admin("POST", f"{PATH}/grants", body)


async def recur(metering: Metering, recurring_id: str, **terms: Any) -> Any:
    body = {"credits": 10, "every": "month", "expires": "period", "create": True, **terms}
    return await metering.admin("PUT", f"{PATH}/recurring-grants/{recurring_id}", body)


async def balance(metering: Metering) -> Any:
    return await metering.admin("GET", f"{PATH}/balance")


async def lefts(metering: Metering) -> list[tuple[str, int]]:
    return [(each["grantId"], each["left"]) for each in (await balance(metering))["grants"]]


async def lines(metering: Metering, *kinds: str) -> list[tuple[str, int, str]]:
    ledger = await metering.admin("GET", f"{PATH}/ledger?limit=1000")
    return [
        (entry["kind"], entry["credits"], entry["at"])
        for entry in ledger["entries"]
        if not kinds or entry["kind"] in kinds
    ]


async def refuse(metering: Metering, method: str, path: str, body: Any) -> tuple[int, str]:
    status, error = await metering.call(method, f"{PATH}/{path}", body, key=ADMIN_KEY)
    return status, error["details"][0]["field"] if "details" in error else error["code"]


async def decide(metering: Metering, units: int) -> str:
    [decision] = await metering.authorize(event(units=units))
    return str(decision.get("code", decision["decision"]))
