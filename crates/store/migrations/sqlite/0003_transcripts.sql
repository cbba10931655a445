-- What agents said and did, as event_segments holds the logs of builds.
ALTER TABLE build_runs ADD COLUMN next_transcript INTEGER NOT NULL DEFAULT 0;

CREATE TABLE transcript_segments (
    build_id INTEGER NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    first_seq INTEGER NOT NULL,
    n_events INTEGER NOT NULL,
    n_bytes INTEGER NOT NULL, -- before compression
    codec INTEGER NOT NULL,
    body BLOB NOT NULL,
    PRIMARY KEY (build_id, first_seq)
) STRICT;
