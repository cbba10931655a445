-- What agents used of models, by step and model. Kept when its job or build is gone: the team has spent it.
CREATE TABLE agent_usage (
    build_id BIGINT NOT NULL,
    plan_id TEXT NOT NULL,
    model TEXT NOT NULL,
    team_id BIGINT NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    job_id BIGINT REFERENCES jobs (id) ON DELETE SET NULL,
    name TEXT NOT NULL,
    began_at BIGINT NOT NULL,
    turns BIGINT NOT NULL,
    input_tokens BIGINT NOT NULL,
    output_tokens BIGINT NOT NULL,
    cache_read_tokens BIGINT NOT NULL,
    cache_write_tokens BIGINT NOT NULL,
    cost_micros BIGINT NOT NULL, -- millionths of a US dollar
    PRIMARY KEY (build_id, plan_id, model)
);
CREATE INDEX agent_usage_by_job ON agent_usage (job_id, began_at);
CREATE INDEX agent_usage_by_team ON agent_usage (team_id, began_at);
