-- Each wait with the process at the other socket: the one whose addresses are the reversed pair.  Loopback
-- addresses mean the same host only, and so do those that several hosts have (local_hosts, remote_hosts).
-- Where several hosts hold the pair, none is taken (peer_hosts); of several processes of one host, one that
-- waits, else the oldest pid.
SELECT
    w.host, w.boot_id, w.pid, w.comm, w.job_id, w.job_rank,
    w.direction, w.cause, w.duration_ms, w.local_endpoint, w.remote_endpoint,
    w.peer_pid, w.peer_comm, w.peer_state, w.local_hosts, w.remote_hosts,
    count(DISTINCT h.host || ' ' || h.boot_id) AS peer_hosts,
    min(h.host) AS other_host,
    min(h.boot_id) AS other_boot_id,
    coalesce(min(CASE WHEN h.is_waiting THEN h.pid END), min(h.pid)) AS other_pid
FROM (
    SELECT
        a.host AS host, a.boot_id AS boot_id, a.pid AS pid, a.comm AS comm, a.job_id AS job_id,
        a.job_rank AS job_rank, a.direction AS direction, a.cause AS cause, a.duration_ms AS duration_ms,
        a.local_endpoint AS local_endpoint, a.remote_endpoint AS remote_endpoint,
        a.peer_pid AS peer_pid, a.peer_comm AS peer_comm, a.peer_state AS peer_state,
        a.entity_id AS entity_id,
        coalesce(l.hosts, 0) AS local_hosts, coalesce(r.hosts, 0) AS remote_hosts
    FROM waits AS a
    LEFT JOIN (
        SELECT address, count(DISTINCT host || ' ' || boot_id) AS hosts FROM addresses GROUP BY address
    ) AS l ON l.address = regexp_replace(a.local_endpoint, ':[0-9]+$', '')
    LEFT JOIN (
        SELECT address, count(DISTINCT host || ' ' || boot_id) AS hosts FROM addresses GROUP BY address
    ) AS r ON r.address = regexp_replace(a.remote_endpoint, ':[0-9]+$', '')
) AS w
LEFT JOIN holders AS h
  ON h.local_endpoint = w.remote_endpoint AND h.remote_endpoint = w.local_endpoint
 AND (h.host = w.host AND h.boot_id = w.boot_id
      OR NOT (w.remote_endpoint LIKE '127.%' OR w.remote_endpoint LIKE '[::1]%')
         AND w.local_hosts = 1 AND w.remote_hosts = 1)
GROUP BY
    w.host, w.boot_id, w.pid, w.comm, w.job_id, w.job_rank,
    w.direction, w.cause, w.duration_ms, w.local_endpoint, w.remote_endpoint,
    w.peer_pid, w.peer_comm, w.peer_state, w.entity_id, w.local_hosts, w.remote_hosts
ORDER BY w.host, w.boot_id, w.pid, w.remote_endpoint, w.local_endpoint
