-- The waits at one moment, as the last record of each has it.  A wait counts where its time, from its
-- begin to one interval after its last ongoing record, comes within the clock skew of the moment.
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
    argMax(s.peer_state, s.ts_ms) AS peer_state
FROM stalls AS s
WHERE s.pid IS NOT NULL
  AND s.ts_ms - s.duration_ms <= {moment_ms:Int64} + {skew_ms:Int64}
  AND s.ts_ms >= {moment_ms:Int64} - {skew_ms:Int64} - s.interval_ms
  AND s.ts_ms <= {moment_ms:Int64} + {skew_ms:Int64} + s.interval_ms
GROUP BY s.host, s.boot_id, s.pid, s.entity_id, s.direction, s.local_endpoint, s.remote_endpoint
HAVING argMax(s.ongoing, s.ts_ms) OR max(s.ts_ms) >= {moment_ms:Int64} - {skew_ms:Int64}
