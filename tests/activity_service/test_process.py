"""The service as the process it is: what it logs, how it ends."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys

from aiohttp import ClientSession

from activity_service.settings import ActivitySettings
from local_stack.ports import choose_free_port
from tests.activity_service.activity import Issuer, read_reply
from tests.activity_service.database_proxy import DatabaseProxy
from tests.activity_service.metering_double import MeteringDouble

PERSON = {"email": "ada@secret.example", "displayName": "Ada Secretive", "photoURL": "https://secret.example/a"}


async def test_a_process_tells_nobody_secrets_and_settles_what_it_did_before_it_ends(
    settings: ActivitySettings, proxy: DatabaseProxy, issuer: Issuer, metering: MeteringDouble
) -> None:
    metering.answered["settle"].close()  # until the end
    port = choose_free_port()
    own = {"postgres_dsn": proxy.dsn, "port": port, "ops_port": choose_free_port(), "log_level": "debug"}
    given = {name: value for name, value in {**vars(settings), **own}.items() if value != ()}
    environment = {f"ACTIVITY_{name.upper()}": str(value) for name, value in given.items()}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "activity_service", env={**os.environ, **environment}, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    log = [await asyncio.wait_for(process.stdout.readline(), 20)]
    while b"listening" not in log[-1]:
        log.append(await asyncio.wait_for(process.stdout.readline(), 20))
        assert log[-1], log

    headers = {"Authorization": f"Bearer {issuer.issue()}"}
    async with ClientSession(f"http://127.0.0.1:{port}", headers=headers) as session:

        async def create(**body: object) -> tuple[int, bytes]:
            async with session.post("/api/plan-plays", json={"planId": "plan-1", **body}) as response:
                reply = await read_reply(response)
                return reply.status, reply.body

        answers = [await create(**PERSON), await create(email="ada@secret", displayName=["Ada Secretive"])]
        metering.says["authorize"] = (200, b"secret nonsense")
        answers.append(await create(**PERSON))
        del metering.says["authorize"]
        proxy.lose_answer_to(b"ada@secret.example")
        answers.append(await create(**PERSON))
    metering.says.clear()
    process.send_signal(signal.SIGTERM)
    metering.answered["settle"].open()
    log += (await asyncio.wait_for(process.communicate(), 20))[0].splitlines()

    assert process.returncode == 0
    assert [status for status, _ in answers] == [201, 400, 500, 500]
    assert len(metering.charges) >= 1
    for _, body in answers[1:]:
        assert not re.search(rb"secret|Traceback|asyncpg|eyJ", body)
    lines = [json.loads(line) for line in log]
    assert {line["service"] for line in lines} == {"activity_service"}
    assert sum(line["event"] == "request_failed" for line in lines) == 2
    assert lines[-1]["event"] == "stopped"
    assert not re.search(rb"secret|Traceback|eyJ|key-of-the", b"".join(log))
