-- Records as ClickHouse keeps them for the queries of `xctl_probe/fleet/sql/`: see docs/fleet.md.
--
-- `lines` takes the records as text and keeps nothing, and the views fill the three tables.
-- `interval_ms` is the --interval of the probes.

CREATE TABLE lines (line String) ENGINE = Null;

CREATE TABLE stalls (
    ts_ms Int64, host LowCardinality(String), boot_id LowCardinality(String),
    pid Nullable(Int64), comm Nullable(String), job_id Nullable(String), job_rank Nullable(Int64),
    entity_id String, ongoing Bool, direction LowCardinality(String), cause Nullable(String),
    duration_ms Int64, local_endpoint String, remote_endpoint String,
    peer_pid Nullable(Int64), peer_comm Nullable(String), peer_state Nullable(String),
    interval_ms Int64
) ENGINE = MergeTree ORDER BY (ts_ms, host)
  TTL toDateTime(intDiv(ts_ms, 1000)) + INTERVAL 7 DAY;

CREATE TABLE connections (
    ts_ms Int64, host LowCardinality(String), boot_id LowCardinality(String),
    pid Int64, comm Nullable(String), job_id Nullable(String), job_rank Nullable(Int64),
    local_endpoint String, remote_endpoint String
) ENGINE = MergeTree ORDER BY (ts_ms, host)
  TTL toDateTime(intDiv(ts_ms, 1000)) + INTERVAL 7 DAY;

CREATE TABLE processes (
    ts_ms Int64, host LowCardinality(String), boot_id LowCardinality(String),
    pid Int64, comm Nullable(String), job_id Nullable(String), job_rank Nullable(Int64),
    value LowCardinality(String), state Nullable(String)
) ENGINE = MergeTree ORDER BY (ts_ms, host)
  TTL toDateTime(intDiv(ts_ms, 1000)) + INTERVAL 7 DAY;

CREATE MATERIALIZED VIEW lines_to_stalls TO stalls AS
SELECT
    JSONExtractInt(line, 'ts') AS ts_ms,
    JSONExtractString(line, 'net', 'host') AS host,
    JSONExtractString(line, 'net', 'boot_id') AS boot_id,
    JSONExtract(line, 'pid', 'Nullable(Int64)') AS pid,
    JSONExtract(line, 'net', 'comm', 'Nullable(String)') AS comm,
    JSONExtract(line, 'job_id', 'Nullable(String)') AS job_id,
    JSONExtract(line, 'net', 'rank', 'Nullable(Int64)') AS job_rank,
    JSONExtractString(line, 'entity_id') AS entity_id,
    JSONExtractBool(line, 'net', 'ongoing') AS ongoing,
    JSONExtractString(line, 'net', 'direction') AS direction,
    JSONExtract(line, 'net', 'cause', 'Nullable(String)') AS cause,
    JSONExtractInt(line, 'net', 'duration_ms') AS duration_ms,
    JSONExtractString(line, 'net', 'local') AS local_endpoint,
    JSONExtractString(line, 'net', 'remote') AS remote_endpoint,
    JSONExtract(line, 'net', 'peer_pid', 'Nullable(Int64)') AS peer_pid,
    JSONExtract(line, 'net', 'peer_comm', 'Nullable(String)') AS peer_comm,
    JSONExtract(line, 'net', 'peer_state', 'Nullable(String)') AS peer_state,
    1000 AS interval_ms
FROM lines
WHERE JSONExtractString(line, 'event_type') = 'transport.drop'
  AND NOT JSONExtractBool(line, 'net', 'probable'); -- it may be an expected wait

CREATE MATERIALIZED VIEW lines_to_connections TO connections AS
SELECT
    JSONExtractInt(line, 'ts') AS ts_ms,
    JSONExtractString(line, 'net', 'host') AS host,
    JSONExtractString(line, 'net', 'boot_id') AS boot_id,
    JSONExtractInt(line, 'pid') AS pid,
    JSONExtract(line, 'net', 'comm', 'Nullable(String)') AS comm,
    JSONExtract(line, 'job_id', 'Nullable(String)') AS job_id,
    JSONExtract(line, 'net', 'rank', 'Nullable(Int64)') AS job_rank,
    pair[1] AS local_endpoint,
    pair[2] AS remote_endpoint
FROM lines
ARRAY JOIN JSONExtract(line, 'net', 'connections', 'Array(Array(String))') AS pair
WHERE JSONExtractString(line, 'event_type') = 'process.state'
  AND JSONExtractString(line, 'value') = 'connected';

CREATE MATERIALIZED VIEW lines_to_processes TO processes AS
SELECT
    JSONExtractInt(line, 'ts') AS ts_ms,
    JSONExtractString(line, 'net', 'host') AS host,
    JSONExtractString(line, 'net', 'boot_id') AS boot_id,
    JSONExtractInt(line, 'pid') AS pid,
    JSONExtract(line, 'net', 'comm', 'Nullable(String)') AS comm,
    JSONExtract(line, 'job_id', 'Nullable(String)') AS job_id,
    JSONExtract(line, 'net', 'rank', 'Nullable(Int64)') AS job_rank,
    JSONExtractString(line, 'value') AS value,
    JSONExtract(line, 'net', 'state', 'Nullable(String)') AS state
FROM lines
WHERE JSONExtractString(line, 'event_type') = 'process.state';
