CREATE TABLE stalls (
    ts_ms BIGINT NOT NULL, host VARCHAR NOT NULL, boot_id VARCHAR NOT NULL,
    pid BIGINT, comm VARCHAR, job_id VARCHAR, job_rank BIGINT,
    entity_id VARCHAR NOT NULL, ongoing BOOLEAN NOT NULL, direction VARCHAR NOT NULL, cause VARCHAR,
    duration_ms BIGINT NOT NULL, local_endpoint VARCHAR NOT NULL, remote_endpoint VARCHAR NOT NULL,
    peer_pid BIGINT, peer_comm VARCHAR, peer_state VARCHAR, interval_ms BIGINT NOT NULL
);
CREATE TABLE connections (
    ts_ms BIGINT NOT NULL, host VARCHAR NOT NULL, boot_id VARCHAR NOT NULL,
    pid BIGINT NOT NULL, comm VARCHAR, job_id VARCHAR, job_rank BIGINT,
    local_endpoint VARCHAR NOT NULL, remote_endpoint VARCHAR NOT NULL
);
CREATE TABLE processes (
    ts_ms BIGINT NOT NULL, host VARCHAR NOT NULL, boot_id VARCHAR NOT NULL,
    pid BIGINT NOT NULL, comm VARCHAR, job_id VARCHAR, job_rank BIGINT,
    value VARCHAR NOT NULL, state VARCHAR
);
