-- What agents said and did, as event_segments holds the logs of builds.
ALTER TABLE build_runs ADD COLUMN next_transcript BIGINT NOT NULL DEFAULT 0;

CREATE TABLE transcript_segments (
    build_id BIGINT NOT NULL REFERENCES builds (id) ON DELETE CASCADE,
    first_seq BIGINT NOT NULL,
    n_events BIGINT NOT NULL,
    n_bytes BIGINT NOT NULL, -- before compression
    codec BIGINT NOT NULL,
    body BYTEA NOT NULL,
    PRIMARY KEY (build_id, first_seq)
);
