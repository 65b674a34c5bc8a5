-- Which process holds which connection at one moment: those that wait on it, and those that --connections
-- has reported.  A process reports all of its connections at one time, so its latest report counts.
SELECT DISTINCT
    w.host AS host, w.boot_id AS boot_id, w.pid AS pid,
    w.local_endpoint AS local_endpoint, w.remote_endpoint AS remote_endpoint, true AS is_waiting
FROM waits AS w
UNION ALL
SELECT DISTINCT
    c.host AS host, c.boot_id AS boot_id, c.pid AS pid,
    c.local_endpoint AS local_endpoint, c.remote_endpoint AS remote_endpoint, false AS is_waiting
FROM connections AS c
JOIN members AS m
  ON m.host = c.host AND m.boot_id = c.boot_id AND m.pid = c.pid AND m.seen_ms = c.ts_ms
