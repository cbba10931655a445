-- A step may ask about calls of its agent's tools, each once.
ALTER TABLE approvals ADD COLUMN call_id TEXT NOT NULL DEFAULT ''; -- empty: the step itself asks
DROP INDEX approvals_by_step;
CREATE UNIQUE INDEX approvals_by_call ON approvals (build_id, plan_id, call_id);
