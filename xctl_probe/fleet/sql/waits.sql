-- The waits at one moment, as the last record of each has it.  A wait lasts from its begin to its end, or to
-- one interval after its last record.  Where none of a host lasts at the moment, its clock may differ: those
-- count that lasted together at the last time before, within the clock skew, and are not known to be over.
SELECT
    l.host AS host, l.boot_id AS boot_id, l.pid AS pid, l.entity_id AS entity_id,
    l.direction AS direction,
    l.local_endpoint AS local_endpoint, l.remote_endpoint AS remote_endpoint,
    l.comm AS comm, l.job_id AS job_id, l.job_rank AS job_rank,
    l.cause AS cause, l.duration_ms AS duration_ms,
    l.peer_pid AS peer_pid, l.peer_comm AS peer_comm, l.peer_state AS peer_state
FROM (
    SELECT
        e.*,
        max(e.until_ms) OVER (PARTITION BY e.host, e.boot_id) AS host_until_ms
    FROM (
        SELECT
            g.*,
            CASE
                WHEN g.is_ongoing THEN g.last_ms + g.interval_ms
                -- The same wait as that of the last ongoing record: its begin is known.
                WHEN g.ongoing_begun_ms >= g.last_begun_ms - g.interval_ms
                  THEN g.ongoing_begun_ms + g.duration_ms
                ELSE g.last_ms - g.interval_ms
            END AS until_ms
        FROM (
            SELECT
                s.host AS host, s.boot_id AS boot_id, s.pid AS pid, s.entity_id AS entity_id,
                s.direction AS direction,
                s.local_endpoint AS local_endpoint, s.remote_endpoint AS remote_endpoint,
                argMax(s.comm, s.ts_ms) AS comm,
                argMax(s.job_id, s.ts_ms) AS job_id,
                argMax(s.job_rank, s.ts_ms) AS job_rank,
                argMax(s.cause, s.ts_ms) AS cause,
                argMax(s.duration_ms, s.ts_ms) AS duration_ms,
                argMax(s.peer_pid, s.ts_ms) AS peer_pid,
                argMax(s.peer_comm, s.ts_ms) AS peer_comm,
                argMax(s.peer_state, s.ts_ms) AS peer_state,
                argMax(s.ongoing, s.ts_ms) AS is_ongoing,
                max(s.ts_ms) AS last_ms,
                max(s.interval_ms) AS interval_ms,
                argMax(s.ts_ms - s.duration_ms, s.ts_ms) AS last_begun_ms,
                argMax(CASE WHEN s.ongoing THEN s.ts_ms - s.duration_ms END, s.ts_ms) AS ongoing_begun_ms
            FROM stalls AS s
            WHERE s.pid IS NOT NULL
              AND s.ts_ms - s.duration_ms <= {moment_ms:Int64}
              AND s.ts_ms >= {moment_ms:Int64} - {skew_ms:Int64} - s.interval_ms
              AND s.ts_ms <= {moment_ms:Int64} + {skew_ms:Int64} + s.interval_ms
            GROUP BY
                s.host, s.boot_id, s.pid, s.entity_id, s.direction, s.local_endpoint, s.remote_endpoint
        ) AS g
    ) AS e
    WHERE e.until_ms >= {moment_ms:Int64}
       OR e.is_ongoing AND e.until_ms >= {moment_ms:Int64} - {skew_ms:Int64}
) AS l
WHERE l.until_ms >= least({moment_ms:Int64}, l.host_until_ms)
  AND l.last_begun_ms <= least({moment_ms:Int64}, l.host_until_ms)
