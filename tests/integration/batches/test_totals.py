"""What a batch came to, counted from its rows."""

from __future__ import annotations

from sqlalchemy import func, select, update

from tests.support.billing import answer, open_batch
from tests.support.seed import seed_org
from visibility.store.database import Database
from visibility.store.summaries import batch_totals
from visibility.store.tables import QuestionRunRow


def test_answers_that_the_vendor_gave_from_another_country_are_counted(database: Database) -> None:
    with database.transaction() as session:
        batch_id = open_batch(session, seed_org(session, questions=2))
        answer(session, batch_id)
        runs = select(QuestionRunRow.question_run_id)
        here, unknown = runs.where(QuestionRunRow.country_code == "US"), runs.where(QuestionRunRow.model == "gemini")
        session.execute(update(QuestionRunRow).values(applied_country=func.lower(QuestionRunRow.country_code)))
        session.execute(
            update(QuestionRunRow).where(QuestionRunRow.question_run_id.in_(here)).values(applied_country="DE")
        )
        session.execute(
            update(QuestionRunRow).where(QuestionRunRow.question_run_id.in_(unknown)).values(applied_country=None)
        )
        totals = batch_totals(session, batch_id, "1")
    assert (totals.answered, totals.answered_elsewhere) == (12, 4)
