"""What was read in answers for an org, written straight into the tables."""

from __future__ import annotations

from collections.abc import Sequence
from uuid import UUID

from sqlalchemy import text
from sqlalchemy.orm import Session

from visibility.domain import name_key
from visibility.store.tables import OrgCitation, OrgCompetitor, OrgEval

OWN = "own:"


def read_for(
    session: Session,
    run_id: UUID,
    org_id: UUID,
    *,
    rank: int | None = None,
    sentiment: str | None = None,
    rivals: Sequence[str] = (),
    sources: Sequence[str] = (),
    version: str = "v1",
) -> UUID:
    """Write one evaluation: mentioned where it has a rank; a source is a URL, behind `OWN` one of the org's site."""
    evaluation = OrgEval(
        question_run_id=run_id, org_id=org_id, extractor_version=version, mentioned=rank is not None,
        reason="verified" if rank else "name_absent", sentiment=sentiment, mention_rank=rank, share_of_voice=0,
        citation=any(source.startswith(OWN) for source in sources),
    )  # fmt: skip
    session.add(evaluation)
    session.flush()
    key = evaluation.evaluation_id
    for place, name in enumerate(rivals, 1):
        session.add(OrgCompetitor(evaluation_id=key, name=name, name_key=name_key(name), rank=place))
    for place, source in enumerate(sources, 1):
        url, own = source.removeprefix(OWN), source.startswith(OWN)
        session.add(
            OrgCitation(
                evaluation_id=key, url=url, domain=url.split("/")[2], type="primary" if own else "secondary",
                position=place, source="text",
            )
        )  # fmt: skip
    session.flush()
    return key


def simulate(session: Session, batch_id: UUID) -> None:
    """Mark a batch as asked of the sandbox."""
    session.execute(text("UPDATE evaluation_batches SET sandbox = true WHERE batch_id = :b"), {"b": batch_id})
