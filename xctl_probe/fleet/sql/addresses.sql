-- The addresses of each host, as the streams show them.
SELECT DISTINCT
    h.host AS host, h.boot_id AS boot_id,
    regexp_replace(h.local_endpoint, ':[0-9]+$', '') AS address
FROM holders AS h
