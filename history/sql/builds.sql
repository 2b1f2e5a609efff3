-- Warm latencies of each arm on each work and host by browser build, the latest 500 of each.
WITH executions AS (
    SELECT
        model_type, model_name, coalesce(work, '') AS sha256, coalesce(shape, '') AS shape,
        coalesce(batch_size, 0) AS batch_size,
        CASE
            WHEN concurrent IS NULL THEN -1
            WHEN concurrent = 0 THEN 0
            ELSE 1 << floor(log2(concurrent))::INTEGER
        END AS load,
        browser, coalesce(platform, '') AS platform, software, coalesce(host, '') AS host,
        coalesce(adapter, '') AS adapter, browser_version AS build, timestamp, latency_ms
    FROM browser_performance
    WHERE kind = 'execution' AND success AND warm IS NOT FALSE AND latency_ms > 0
      AND browser_version IS NOT NULL AND timestamp >= $since
), numbered AS (
    SELECT *, row_number() OVER (
        PARTITION BY model_type, model_name, sha256, shape, batch_size, load, browser, platform, software,
            host, adapter, build
        ORDER BY timestamp DESC
    ) AS age
    FROM executions
), by_build AS (
    SELECT
        * EXCLUDE (timestamp, latency_ms, age),
        min(timestamp) AS first_at,
        list(latency_ms ORDER BY timestamp) FILTER (age <= 500) AS latencies_ms
    FROM numbered
    GROUP BY ALL
)
SELECT
    * EXCLUDE (build, first_at, latencies_ms),
    list(build ORDER BY first_at, build) AS builds,
    list(latencies_ms ORDER BY first_at, build) AS latencies_ms
FROM by_build
GROUP BY ALL
HAVING count(*) > 1 OR $all
ORDER BY ALL
