-- Times are microseconds since the epoch, JSON is text, truth is 0 or 1.
-- Columns marked sealed hold JSON, or its sealed form when the server has an encryption key.

CREATE TABLE settings (
    name TEXT NOT NULL PRIMARY KEY,
    value TEXT NOT NULL -- sealed
) STRICT;

CREATE TABLE sealing (
    id INTEGER NOT NULL PRIMARY KEY,
    probe TEXT NOT NULL -- sealed; tells at opening whether the key fits
) STRICT;

CREATE TABLE counters (
    name TEXT NOT NULL PRIMARY KEY,
    value INTEGER NOT NULL
) STRICT;
INSERT INTO counters (name, value) VALUES ('one-off', 0); -- names builds without a job

CREATE TABLE teams (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    name TEXT NOT NULL,
    admin INTEGER NOT NULL DEFAULT 0,
    auth TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE UNIQUE INDEX teams_by_name ON teams (lower(name));

CREATE TABLE pipelines (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    team_id INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    instance_vars TEXT NOT NULL, -- canonical JSON, {} without instances
    instance_digest TEXT NOT NULL, -- SHA-256 of that
    version INTEGER NOT NULL, -- 0 while archived
    last_version INTEGER NOT NULL,
    config TEXT, -- sealed
    groups TEXT NOT NULL DEFAULT '[]',
    display TEXT,
    position INTEGER NOT NULL,
    instance_position INTEGER NOT NULL,
    paused INTEGER NOT NULL,
    paused_by TEXT,
    paused_at INTEGER,
    public INTEGER NOT NULL DEFAULT 0,
    archived INTEGER NOT NULL DEFAULT 0,
    last_updated INTEGER NOT NULL,
    parent_job_id INTEGER,
    parent_build_id INTEGER,
    UNIQUE (team_id, name, instance_digest)
) STRICT;
CREATE INDEX pipelines_by_parent ON pipelines (parent_job_id) WHERE parent_job_id IS NOT NULL;

CREATE TABLE jobs (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline_id INTEGER NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    active INTEGER NOT NULL,
    position INTEGER NOT NULL,
    config TEXT, -- sealed
    inputs TEXT NOT NULL DEFAULT '[]',
    outputs TEXT NOT NULL DEFAULT '[]',
    groups TEXT NOT NULL DEFAULT '[]',
    serial_groups TEXT NOT NULL DEFAULT '[]',
    max_in_flight INTEGER NOT NULL,
    public INTEGER NOT NULL,
    disable_manual_trigger INTEGER NOT NULL,
    disable_reruns INTEGER NOT NULL,
    paused INTEGER NOT NULL DEFAULT 0,
    paused_by TEXT,
    paused_at INTEGER,
    schedule_requested INTEGER NOT NULL DEFAULT 0,
    last_scheduled INTEGER NOT NULL DEFAULT 0,
    has_new_inputs INTEGER NOT NULL DEFAULT 0,
    inputs_determined INTEGER NOT NULL DEFAULT 0,
    build_number INTEGER NOT NULL DEFAULT 0,
    next_build_id INTEGER,
    latest_build_id INTEGER,
    transition_build_id INTEGER,
    first_logged_build_id INTEGER,
    UNIQUE (pipeline_id, name)
) STRICT;
CREATE INDEX jobs_due ON jobs (schedule_requested) WHERE schedule_requested > last_scheduled;

CREATE TABLE job_serial_groups (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    pipeline_id INTEGER NOT NULL,
    name TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT;
CREATE INDEX job_serial_groups_by_name ON job_serial_groups (pipeline_id, name);

-- Which jobs follow which through passed.
CREATE TABLE job_upstream (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    passed_job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    PRIMARY KEY (job_id, passed_job_id)
) STRICT;
CREATE INDEX job_upstream_by_passed ON job_upstream (passed_job_id);

CREATE TABLE scopes (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    key TEXT NOT NULL UNIQUE, -- the configuration's hash, with the resource's id unless shared
    config_hash TEXT NOT NULL,
    owner_id INTEGER, -- the resource, unless shared
    last_check_start INTEGER,
    last_check_end INTEGER,
    last_check_succeeded INTEGER NOT NULL DEFAULT 0,
    last_check_build_id INTEGER,
    next_due INTEGER
) STRICT;
CREATE INDEX scopes_by_owner ON scopes (owner_id);

CREATE TABLE resources (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    pipeline_id INTEGER NOT NULL REFERENCES pipelines (id) ON DELETE CASCADE,
    kind TEXT NOT NULL,
    name TEXT NOT NULL,
    type_name TEXT NOT NULL,
    active INTEGER NOT NULL,
    position INTEGER NOT NULL,
    config TEXT, -- sealed
    scope_id INTEGER REFERENCES scopes (id) ON DELETE SET NULL,
    next_due INTEGER, -- when the next periodic check may begin; null when it never shall
    config_pinned INTEGER NOT NULL DEFAULT 0,
    pin_version TEXT,
    pin_comment TEXT,
    UNIQUE (pipeline_id, kind, name)
) STRICT;
CREATE INDEX resources_by_scope ON resources (scope_id);
CREATE INDEX resources_due ON resources (next_due) WHERE active = 1 AND kind = 'resource';

-- trigger_kind: 0 put only, 1 input, 2 input that triggers without passed; passed_only: no input without passed.
CREATE TABLE job_resources (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    resource_id INTEGER NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    trigger_kind INTEGER NOT NULL,
    passed_only INTEGER NOT NULL,
    PRIMARY KEY (job_id, resource_id)
) STRICT;
CREATE INDEX job_resources_by_resource ON job_resources (resource_id);

CREATE TABLE versions (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    scope_id INTEGER NOT NULL REFERENCES scopes (id) ON DELETE CASCADE,
    digest TEXT NOT NULL, -- SHA-256 of the version's canonical JSON
    version TEXT NOT NULL,
    metadata TEXT NOT NULL DEFAULT '[]',
    check_order INTEGER NOT NULL DEFAULT 0, -- position in the history, from 1
    UNIQUE (scope_id, digest)
) STRICT;
CREATE INDEX versions_in_order ON versions (scope_id, check_order);

CREATE TABLE disabled_versions (
    resource_id INTEGER NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (resource_id, digest)
) STRICT;

CREATE TABLE builds (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    team_id INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    pipeline_id INTEGER REFERENCES pipelines (id) ON DELETE CASCADE,
    job_id INTEGER REFERENCES jobs (id) ON DELETE CASCADE,
    resource_id INTEGER REFERENCES resources (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    status TEXT NOT NULL,
    completed INTEGER NOT NULL DEFAULT 0,
    manual INTEGER NOT NULL DEFAULT 0,
    created_by TEXT,
    comment TEXT NOT NULL DEFAULT '',
    created_at INTEGER NOT NULL,
    start_time INTEGER,
    end_time INTEGER,
    reap_time INTEGER,
    plan TEXT, -- sealed
    aborted INTEGER NOT NULL DEFAULT 0,
    drained INTEGER NOT NULL DEFAULT 0,
    compacted INTEGER NOT NULL DEFAULT 0,
    rerun_of INTEGER REFERENCES builds (id) ON DELETE CASCADE,
    rerun_number INTEGER NOT NULL DEFAULT 0,
    sort_id INTEGER NOT NULL DEFAULT 0 -- rerun_of or id
) STRICT;
CREATE INDEX builds_by_team ON builds (team_id, id);
CREATE INDEX builds_by_pipeline ON builds (pipeline_id, id);
CREATE INDEX builds_by_job ON builds (job_id, sort_id, id);
CREATE UNIQUE INDEX builds_by_job_name ON builds (job_id, name) WHERE job_id IS NOT NULL;
CREATE INDEX builds_by_resource ON builds (resource_id, completed, id) WHERE resource_id IS NOT NULL;
CREATE INDEX builds_by_original ON builds (rerun_of) WHERE rerun_of IS NOT NULL;
CREATE INDEX builds_open ON builds (job_id, completed, sort_id, id) WHERE completed = 0;
CREATE INDEX builds_started ON builds (id) WHERE status = 'started';
CREATE INDEX builds_succeeded ON builds (job_id, sort_id, id) WHERE status = 'succeeded';
CREATE INDEX builds_uncompacted ON builds (id) WHERE completed = 1 AND compacted = 0;
CREATE INDEX builds_undrained ON builds (id) WHERE completed = 1 AND drained = 0;
CREATE INDEX builds_with_logs ON builds (job_id, id) WHERE completed = 1 AND reap_time IS NULL;
CREATE INDEX builds_by_start ON builds (start_time) WHERE start_time IS NOT NULL;

-- What those who drive a build change all the time.
CREATE TABLE build_runs (
    build_id INTEGER NOT NULL PRIMARY KEY REFERENCES builds (id) ON DELETE CASCADE,
    owner TEXT,
    fence INTEGER NOT NULL DEFAULT 0,
    expires_at INTEGER NOT NULL DEFAULT 0,
    next_event INTEGER NOT NULL DEFAULT 0,
    next_machine_event INTEGER NOT NULL DEFAULT 0
) STRICT;

-- codec: 0 as is, 1 zstd. The body is the events, each after its length in four bytes.
CREATE TABLE event_segments (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    first_seq INTEGER NOT NULL,
    n_events INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL, -- before compression
    codec INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (build_id, first_seq)
) STRICT;

CREATE TABLE event_positions (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    key TEXT NOT NULL,
    upto INTEGER NOT NULL,
    PRIMARY KEY (build_id, key)
) STRICT;

CREATE TABLE machine_events (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    seq INTEGER NOT NULL,
    body TEXT NOT NULL, -- sealed
    PRIMARY KEY (build_id, seq)
) STRICT;

CREATE TABLE build_vars (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    value TEXT NOT NULL, -- sealed
    redact INTEGER NOT NULL,
    PRIMARY KEY (build_id, scope, name)
) STRICT;

CREATE TABLE build_inputs (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    resource_id INTEGER NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    job_id INTEGER,
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    first_occurrence INTEGER NOT NULL,
    PRIMARY KEY (build_id, name)
) STRICT;
CREATE INDEX build_inputs_by_digest ON build_inputs (resource_id, digest);
CREATE INDEX build_inputs_by_job ON build_inputs (job_id, name, resource_id, digest);
CREATE INDEX build_inputs_by_version ON build_inputs (version_id);

CREATE TABLE build_outputs (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    resource_id INTEGER NOT NULL REFERENCES resources (id) ON DELETE CASCADE,
    version_id INTEGER NOT NULL REFERENCES versions (id) ON DELETE CASCADE,
    digest TEXT NOT NULL,
    PRIMARY KEY (build_id, name, resource_id, version_id)
) STRICT;
CREATE INDEX build_outputs_by_digest ON build_outputs (resource_id, digest);
CREATE INDEX build_outputs_by_version ON build_outputs (version_id);

CREATE TABLE build_pipes (
    to_build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    from_build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    PRIMARY KEY (to_build_id, from_build_id)
) STRICT;
CREATE INDEX build_pipes_from ON build_pipes (from_build_id);

CREATE TABLE next_inputs (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    resource_id INTEGER REFERENCES resources (id) ON DELETE CASCADE,
    version_id INTEGER REFERENCES versions (id) ON DELETE CASCADE,
    first_occurrence INTEGER NOT NULL,
    reason TEXT NOT NULL,
    PRIMARY KEY (job_id, name)
) STRICT;
CREATE INDEX next_inputs_by_resource ON next_inputs (resource_id);
CREATE INDEX next_inputs_by_version ON next_inputs (version_id);

CREATE TABLE next_pipes (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    from_build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    PRIMARY KEY (job_id, from_build_id)
) STRICT;
CREATE INDEX next_pipes_from ON next_pipes (from_build_id);

CREATE TABLE build_artifacts (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    scope TEXT NOT NULL,
    name TEXT NOT NULL,
    volume TEXT NOT NULL,
    PRIMARY KEY (build_id, scope, name)
) STRICT;
CREATE INDEX build_artifacts_by_volume ON build_artifacts (volume);

CREATE TABLE artifacts (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    team_id INTEGER NOT NULL REFERENCES teams (id) ON DELETE CASCADE,
    build_id INTEGER REFERENCES builds (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    volume TEXT NOT NULL,
    created_at INTEGER NOT NULL
) STRICT;
CREATE INDEX artifacts_by_build ON artifacts (build_id);
CREATE INDEX artifacts_by_team ON artifacts (team_id);
CREATE INDEX artifacts_by_volume ON artifacts (volume);
CREATE INDEX artifacts_by_age ON artifacts (created_at);

-- No foreign keys: a container outlives what it was for until it is collected.
CREATE TABLE containers (
    handle TEXT NOT NULL PRIMARY KEY,
    team_id INTEGER NOT NULL,
    build_id INTEGER,
    resource_id INTEGER,
    plan_id TEXT,
    step_name TEXT NOT NULL,
    kind TEXT NOT NULL,
    attempt TEXT NOT NULL,
    worker TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_hijack INTEGER,
    working_dir TEXT NOT NULL,
    user_name TEXT NOT NULL,
    -- What the step's process was started with, sealed: its environment may hold secrets.
    process TEXT
) STRICT;
CREATE INDEX containers_by_build ON containers (build_id);
CREATE INDEX containers_by_team ON containers (team_id);

CREATE TABLE volumes (
    handle TEXT NOT NULL PRIMARY KEY,
    kind TEXT NOT NULL,
    worker TEXT NOT NULL,
    team_id INTEGER,
    build_id INTEGER,
    container TEXT,
    job_id INTEGER,
    step_name TEXT NOT NULL,
    path TEXT NOT NULL,
    parent TEXT,
    size_bytes INTEGER,
    created_at INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT;
CREATE INDEX volumes_by_team ON volumes (team_id);
CREATE INDEX volumes_by_build ON volumes (build_id);
CREATE INDEX volumes_by_parent ON volumes (parent) WHERE parent IS NOT NULL;
CREATE INDEX volumes_by_use ON volumes (last_used);

CREATE TABLE resource_caches (
    key TEXT NOT NULL PRIMARY KEY,
    config_hash TEXT NOT NULL,
    type_name TEXT NOT NULL,
    version TEXT NOT NULL,
    metadata TEXT NOT NULL,
    volume TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    last_used INTEGER NOT NULL
) STRICT;
CREATE INDEX resource_caches_by_config ON resource_caches (config_hash);
CREATE INDEX resource_caches_by_volume ON resource_caches (volume);
CREATE INDEX resource_caches_by_use ON resource_caches (last_used);

CREATE TABLE task_caches (
    job_id INTEGER NOT NULL REFERENCES jobs (id) ON DELETE CASCADE,
    step_name TEXT NOT NULL,
    path TEXT NOT NULL,
    volume TEXT NOT NULL,
    last_used INTEGER NOT NULL,
    PRIMARY KEY (job_id, step_name, path)
) STRICT;
CREATE INDEX task_caches_by_volume ON task_caches (volume);

CREATE TABLE users (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    sub TEXT NOT NULL UNIQUE,
    username TEXT NOT NULL,
    connector TEXT NOT NULL,
    last_login INTEGER NOT NULL
) STRICT;

CREATE TABLE access_tokens (
    digest TEXT NOT NULL PRIMARY KEY, -- SHA-256 of the token's text
    claims TEXT NOT NULL,
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX access_tokens_by_expiry ON access_tokens (expires_at);

CREATE TABLE wall (
    id INTEGER NOT NULL PRIMARY KEY,
    message TEXT NOT NULL,
    expires_at INTEGER
) STRICT;

CREATE TABLE components (
    name TEXT NOT NULL PRIMARY KEY,
    interval_us INTEGER NOT NULL,
    last_ran INTEGER,
    paused INTEGER NOT NULL DEFAULT 0
) STRICT;
