-- Warm, successful executions of one model in order of time, the latest of them.
SELECT * FROM (
    SELECT
        timestamp, browser, coalesce(platform, '') AS platform, software, browser_version AS build,
        coalesce(work, '') AS sha256, coalesce(shape, '') AS shape, coalesce(batch_size, 0) AS batch_size,
        latency_ms, throughput_tokens_per_sec, memory_mb
    FROM browser_performance
    WHERE kind = 'execution' AND success AND warm IS NOT FALSE AND latency_ms > 0
      AND ($browser::VARCHAR IS NULL OR browser = $browser)
      AND ($model_type::VARCHAR IS NULL OR model_type = $model_type)
      AND ($model_name::VARCHAR IS NULL OR model_name = $model_name)
      AND ($platform::VARCHAR IS NULL OR platform = $platform)
      AND timestamp >= $since
    ORDER BY timestamp DESC
    LIMIT $most
)
ORDER BY timestamp
