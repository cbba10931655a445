-- What builds ask people, and what these answered.
CREATE TABLE approvals (
    id INTEGER PRIMARY KEY AUTOINCREMENT,
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    plan_id TEXT NOT NULL,
    name TEXT NOT NULL,
    message TEXT NOT NULL,
    artifacts TEXT NOT NULL, -- JSON: [{id, name}]
    approvers TEXT NOT NULL, -- JSON: {roles, users, groups}
    quorum INTEGER NOT NULL,
    status TEXT NOT NULL,
    asked_by TEXT, -- who had the build made
    asked_at INTEGER NOT NULL,
    expires_at INTEGER,
    ended_at INTEGER
) STRICT;
CREATE UNIQUE INDEX approvals_by_step ON approvals (build_id, plan_id);
CREATE INDEX approvals_waiting ON approvals (id) WHERE status = 'waiting';

CREATE TABLE approval_answers (
    approval_id INTEGER NOT NULL REFERENCES approvals (id) ON DELETE CASCADE,
    person TEXT NOT NULL, -- connector:id
    name TEXT NOT NULL,
    approves INTEGER NOT NULL,
    comment TEXT NOT NULL,
    answered_at INTEGER NOT NULL,
    PRIMARY KEY (approval_id, person)
) STRICT;
