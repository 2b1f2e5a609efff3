-- Executions since a time, one row per arm and work, with the latest 500 latencies in order of time.
WITH numbered AS (
    SELECT *, row_number() OVER (
        PARTITION BY model_type, model_name, sha256, shape, batch_size, load, browser, platform, software
        ORDER BY timestamp DESC
    ) AS age
    FROM executions
    WHERE timestamp >= $since AND blame IS DISTINCT FROM 'nobody'
      AND ($model_type::VARCHAR IS NULL OR model_type = $model_type)
      AND ($model_name::VARCHAR IS NULL OR model_name = $model_name)
)
SELECT
    model_type, model_name, sha256, shape, batch_size, load, browser, platform, software,
    list(latency_ms ORDER BY timestamp) FILTER (latency_ms IS NOT NULL AND age <= 500) AS latencies_ms,
    list(throughput_tokens_per_sec ORDER BY timestamp)
        FILTER (throughput_tokens_per_sec > 0 AND success AND age <= 500) AS throughputs,
    list(memory_mb ORDER BY timestamp) FILTER (memory_mb > 0 AND success AND age <= 500) AS memory_mb,
    count(*) FILTER (success) AS successes,
    count(*) FILTER (blame = 'browser') AS failures,
    count(*) FILTER (blame = 'model') AS model_failures
FROM numbered
GROUP BY ALL
ORDER BY ALL
