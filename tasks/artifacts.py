"""What a person sees of an evaluation in the Prefect UI while it runs and after."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from uuid import UUID

from prefect.artifacts import (
    acreate_markdown_artifact,
    acreate_progress_artifact,
    acreate_table_artifact,
    aupdate_progress_artifact,
)
from prefect.logging import get_run_logger

from visibility.display import as_markdown, group_rows, headline
from visibility.domain import EvaluationCounts
from visibility.summary import OrgEvaluationSummary


@dataclass
class ModelProgress:
    """A progress artifact of one model's answers, and a log line for each step."""

    artifact_id: UUID | None
    model: str
    expected: int
    done: int = 0

    @classmethod
    async def begin(cls, model: str, expected: int, *, sandbox: bool) -> ModelProgress:
        """Create the artifact at 0 %."""
        progress = cls(None, model, expected)
        with shown_if_possible():
            origin = " · SIMULATED (sandbox)" if sandbox else ""
            progress.artifact_id = await acreate_progress_artifact(0.0, description=f"answers of {model} read{origin}")
        return progress

    async def advance(self, counts: EvaluationCounts) -> None:
        """Add evaluated answers."""
        self.done += counts.evaluated
        get_run_logger().info(
            "%s: %s of %s answers read, %s of these %s name the org",
            self.model, self.done, self.expected, counts.mentioned, counts.evaluated,
        )  # fmt: skip
        await self._show(min(100.0, 100 * self.done / self.expected) if self.expected else 100.0)

    async def finish(self) -> None:
        """Show 100 %: nothing more will come, even where answers are missing or an earlier flow read some."""
        await self._show(100.0)

    async def _show(self, percent: float) -> None:
        if self.artifact_id is not None:
            with shown_if_possible():
                await aupdate_progress_artifact(self.artifact_id, percent)


async def publish_summary(summary: OrgEvaluationSummary) -> None:
    """Create the table of results per model and location, and the Markdown summary with coverage."""
    described = headline(summary)
    with shown_if_possible():
        await acreate_table_artifact(group_rows(summary), key="org-evaluation-results", description=described)
        await acreate_markdown_artifact(as_markdown(summary), key="org-evaluation-summary", description=described)


@contextmanager
def shown_if_possible() -> Iterator[None]:
    """Log what Prefect does not take: a picture of the work must not fail the work."""
    try:
        yield
    except Exception as error:
        get_run_logger().warning("Prefect did not take an artifact: %s", type(error).__name__)
