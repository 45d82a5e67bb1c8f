"""Views for readers, and answers that cannot be altered."""

from __future__ import annotations

from alembic import op

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.execute(ORG_EVALUATION_BATCHES)
    op.execute(NETWORK_ORG_EVALS)
    op.execute(LATEST_QUESTION_RUNS)
    op.execute(KEEP_ANSWER)
    op.execute(KEEP_ANSWER_TRIGGER)


ORG_EVALUATION_BATCHES = """
CREATE VIEW org_evaluation_batches AS
SELECT batch_id, org_id, run_date, status, trigger, triggered_by, user_id, flow_run_id,
       started_at, completed_at, error, sandbox, created_at
FROM evaluation_batches
WHERE scope = 'org'
"""

NETWORK_ORG_EVALS = """
CREATE VIEW network_org_evals AS
SELECT evaluation.evaluation_id, question.network_id, evaluation.org_id, run.batch_id, run.question_id,
       evaluation.question_run_id, run.model, run.country_code, run.region_name, run.city, run.replicate,
       evaluation.extractor_version, evaluation.mentioned, evaluation.reason, evaluation.citation,
       evaluation.sentiment, evaluation.mention_text, evaluation.spans, evaluation.mention_rank,
       evaluation.share_of_voice, evaluation.input_tokens, evaluation.output_tokens, evaluation.cost_usd,
       evaluation.created_at
FROM org_evals AS evaluation
JOIN question_runs AS run USING (question_run_id)
JOIN geo_questions AS question USING (question_id)
WHERE question.network_id IS NOT NULL
"""

# one row per (question, model, location, replicate): the newest answer, so that no flag has to be flipped
LATEST_QUESTION_RUNS = """
CREATE VIEW latest_question_runs AS
SELECT DISTINCT ON (run.question_id, run.model, run.country_code, coalesce(run.region_name, ''),
                    coalesce(run.city, ''), run.replicate)
       run.question_run_id, run.batch_id, batch.run_date, batch.sandbox, run.question_id, run.model, run.country_code,
       run.region_name, run.city, run.replicate, run.provider, run.response_text, run.answered_by, run.grounded,
       run.provider_sources, run.applied_country, run.input_tokens, run.output_tokens, run.cost_usd,
       run.asked_at, run.answered_at
FROM question_runs AS run
JOIN evaluation_batches AS batch USING (batch_id)
WHERE run.status = 'answered'
ORDER BY run.question_id, run.model, run.country_code, coalesce(run.region_name, ''), coalesce(run.city, ''),
         run.replicate, batch.run_date DESC, run.answered_at DESC, run.question_run_id
"""

# an answer was paid for and is what every evaluation and charge refers to
KEEP_ANSWER = """
CREATE FUNCTION keep_answer() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    RAISE EXCEPTION 'the answer of question run % is immutable', OLD.question_run_id
        USING ERRCODE = 'integrity_constraint_violation';
END
$$
"""
KEEP_ANSWER_TRIGGER = """
CREATE TRIGGER keep_answer BEFORE UPDATE ON question_runs FOR EACH ROW
WHEN (OLD.status = 'answered' AND (
    (NEW.status, NEW.response_text, NEW.answered_by, NEW.grounded, NEW.provider_sources)
    IS DISTINCT FROM
    (OLD.status, OLD.response_text, OLD.answered_by, OLD.grounded, OLD.provider_sources)
))
EXECUTE FUNCTION keep_answer()
"""
