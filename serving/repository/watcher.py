"""Looks at the folder of models again and again. Polling, for no event crosses a mounted volume of a container reliably."""

import asyncio
import logging

from serving.repository.repository import Repository

logger = logging.getLogger(__name__)


async def watch(repository: Repository, interval_s: float) -> None:
    """Bring what is served in line with the folder every so many seconds, until cancelled."""
    while True:
        await asyncio.sleep(interval_s)
        try:
            await repository.sync()
        except Exception:  # what is served goes on, and the next look may find better
            logger.exception("looking at the folder of models failed")
