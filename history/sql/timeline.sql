-- Warm, successful executions of one model in order of time, the latest of them.
SELECT * FROM (
    SELECT
        timestamp, browser, platform, software, build, sha256, shape, batch_size, latency_ms,
        throughput_tokens_per_sec, memory_mb
    FROM executions
    WHERE latency_ms IS NOT NULL
      AND ($browser::VARCHAR IS NULL OR browser = $browser)
      AND ($model_type::VARCHAR IS NULL OR model_type = $model_type)
      AND ($model_name::VARCHAR IS NULL OR model_name = $model_name)
      AND ($platform::VARCHAR IS NULL OR platform = $platform)
      AND timestamp >= $since
    ORDER BY timestamp DESC
    LIMIT $most
)
ORDER BY timestamp
