-- What agents used of models, by step and model. Kept when its job or build is gone: the team has spent it.
CREATE TABLE agent_usage (
    build_id INTEGER NOT NULL,
    plan_id TEXT NOT NULL,
    model TEXT NOT NULL,
    team_id INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    job_id INTEGER REFERENCES jobs (id) ON DELETE SET NULL,
    name TEXT NOT NULL,
    began_at INTEGER NOT NULL,
    turns INTEGER NOT NULL,
    input_tokens INTEGER NOT NULL,
    output_tokens INTEGER NOT NULL,
    cache_read_tokens INTEGER NOT NULL,
    cache_write_tokens INTEGER NOT NULL,
    cost_micros INTEGER NOT NULL, -- millionths of a US dollar
    PRIMARY KEY (build_id, plan_id, model)
) STRICT;
CREATE INDEX agent_usage_by_job ON agent_usage (job_id, began_at);
CREATE INDEX agent_usage_by_team ON agent_usage (team_id, began_at);
