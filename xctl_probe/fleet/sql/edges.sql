-- Each wait with the process at the other socket: the one whose addresses are the reversed pair.  Loopback
-- addresses mean the same host only.  Where several hosts hold the pair, their addresses are not unique,
-- and none is taken (peer_hosts); of several processes of one host, one that waits, else the oldest pid.
SELECT
    w.host, w.boot_id, w.pid, w.comm, w.job_id, w.job_rank,
    w.direction, w.cause, w.duration_ms, w.local_endpoint, w.remote_endpoint,
    w.peer_pid, w.peer_comm, w.peer_state,
    count(DISTINCT h.host || ' ' || h.boot_id) AS peer_hosts,
    min(h.host) AS other_host,
    min(h.boot_id) AS other_boot_id,
    coalesce(min(CASE WHEN h.is_waiting THEN h.pid END), min(h.pid)) AS other_pid
FROM waits AS w
LEFT JOIN holders AS h
  ON h.local_endpoint = w.remote_endpoint AND h.remote_endpoint = w.local_endpoint
 AND (h.host = w.host AND h.boot_id = w.boot_id
      OR NOT (w.remote_endpoint LIKE '127.%' OR w.remote_endpoint LIKE '[::1]%'))
GROUP BY
    w.host, w.boot_id, w.pid, w.comm, w.job_id, w.job_rank,
    w.direction, w.cause, w.duration_ms, w.local_endpoint, w.remote_endpoint,
    w.peer_pid, w.peer_comm, w.peer_state, w.entity_id
ORDER BY w.host, w.boot_id, w.pid, w.remote_endpoint, w.local_endpoint
