-- Warm latencies of each arm on each work and host by browser build, the latest 500 of each; where there
-- is more than one build.
WITH numbered AS (
    SELECT
        model_type, model_name, sha256, shape, batch_size, load, browser, platform, software, host,
        adapter, build, timestamp, latency_ms,
        row_number() OVER (
            PARTITION BY model_type, model_name, sha256, shape, batch_size, load, browser, platform,
                software, host, adapter, build
            ORDER BY timestamp DESC
        ) AS age
    FROM executions
    WHERE latency_ms IS NOT NULL AND build IS NOT NULL AND timestamp >= $since
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
HAVING count(*) > 1
ORDER BY ALL
