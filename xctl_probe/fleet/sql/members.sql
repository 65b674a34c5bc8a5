-- The processes of jobs at one moment, as their last records at or before it have them.  Where a process has
-- none, its first one after the moment counts, as far as the clocks may differ.  What was before an exit is of
-- a former process with the same pid.
SELECT
    p.host AS host, p.boot_id AS boot_id, p.pid AS pid,
    argMax(p.comm, p.place) AS comm,
    argMax(p.job_id, p.place) AS job_id,
    argMax(p.job_rank, p.place) AS job_rank,
    argMax(CASE WHEN p.value = 'connected' THEN p.ts_ms END, p.place) AS seen_ms,
    argMax(CASE WHEN p.value = 'connected' THEN coalesce(p.state, 'sleeping') END, p.place) AS state
FROM (
    SELECT
        r.host AS host, r.boot_id AS boot_id, r.pid AS pid, r.ts_ms AS ts_ms,
        r.comm AS comm, r.job_id AS job_id, r.job_rank AS job_rank, r.value AS value, r.state AS state,
        -- After the moment the earliest is the highest.  In one interval, a process exits last.
        2 * (CASE WHEN r.ts_ms <= {moment_ms:Int64} THEN r.ts_ms ELSE -r.ts_ms END)
          + (CASE WHEN r.value = 'exit' THEN 1 ELSE 0 END) AS place,
        max(CASE WHEN r.value = 'exit' AND r.ts_ms <= {moment_ms:Int64} THEN r.ts_ms ELSE 0 END)
          OVER (PARTITION BY r.host, r.boot_id, r.pid) AS exited_ms
    FROM processes AS r
    WHERE r.ts_ms <= {moment_ms:Int64} + {skew_ms:Int64}
) AS p
WHERE p.ts_ms >= p.exited_ms
GROUP BY p.host, p.boot_id, p.pid
HAVING argMax(p.value, p.place) <> 'exit'
