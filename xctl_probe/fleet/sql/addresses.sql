-- The addresses of each host, as the streams show them.  Two hosts may have one address each of their own, as
-- those of containers.  One that a connection of another host leads to is reached from there; not where
-- several hosts have the address of that other side, too: then both sides may be of each of them.
SELECT
    h.host AS host, h.boot_id AS boot_id,
    regexp_replace(h.local_endpoint, ':[0-9]+$', '') AS address,
    max(CASE
        WHEN o.host IS NULL OR o.host = h.host AND o.boot_id = h.boot_id OR t.hosts > 1 THEN 0
        ELSE 1
    END) AS is_reached
FROM holders AS h
LEFT JOIN holders AS o
  ON o.local_endpoint = h.remote_endpoint AND o.remote_endpoint = h.local_endpoint
LEFT JOIN (
    SELECT
        regexp_replace(local_endpoint, ':[0-9]+$', '') AS address,
        count(DISTINCT host || ' ' || boot_id) AS hosts
    FROM holders
    GROUP BY regexp_replace(local_endpoint, ':[0-9]+$', '')
) AS t ON t.address = regexp_replace(h.remote_endpoint, ':[0-9]+$', '')
GROUP BY h.host, h.boot_id, regexp_replace(h.local_endpoint, ':[0-9]+$', '')
