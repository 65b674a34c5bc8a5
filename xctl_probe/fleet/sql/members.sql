-- The processes of jobs at one moment, as their latest records have them.
SELECT
    p.host AS host, p.boot_id AS boot_id, p.pid AS pid,
    argMax(p.comm, p.ts_ms) AS comm,
    argMax(p.job_id, p.ts_ms) AS job_id,
    argMax(p.job_rank, p.ts_ms) AS job_rank,
    max(CASE WHEN p.value = 'connected' THEN p.ts_ms END) AS seen_ms,
    argMax(CASE WHEN p.value = 'connected' THEN coalesce(p.state, 'sleeping') END, p.ts_ms) AS state
FROM processes AS p
WHERE p.ts_ms <= {moment_ms:Int64} + {skew_ms:Int64}
GROUP BY p.host, p.boot_id, p.pid
HAVING argMax(p.value, p.ts_ms) <> 'exit'
