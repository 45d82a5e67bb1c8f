"""A process that asks one batch and is killed by SIGKILL at a chosen step (0: never). Started by a test."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from uuid import UUID

from tests.support.mortality import Steps
from visibility.collection import AnswerCollector
from visibility.identity import new_owner
from visibility.settings import BrightDataSettings
from visibility.store.database import Database


async def main(url: str, settings: str, batch_id: str, last: str) -> None:
    async def die() -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    database = Database(url)
    collector = AnswerCollector(
        database, BrightDataSettings(**json.loads(settings)), max_attempts=4, submitter=new_owner()
    )
    Steps(collector, die, int(last) or None)
    summary = await collector.ask(UUID(batch_id), "chatgpt")
    await collector.close()
    database.close()
    print(summary.answered)


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
