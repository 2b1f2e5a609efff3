-- What was learned. Times are UTC; latencies in milliseconds; memory in MB; NULL: not known.
CREATE TABLE IF NOT EXISTS browser_performance (
    source VARCHAR NOT NULL,      -- who told of it: a ledger's attempts, the outbox, an imported file
    source_id BIGINT NOT NULL,    -- its number there
    kind VARCHAR NOT NULL,        -- execution or load
    timestamp TIMESTAMP NOT NULL, -- when it ended
    browser VARCHAR NOT NULL,     -- kind of browser; the one of the pool is browser_id
    model_type VARCHAR NOT NULL,
    model_name VARCHAR NOT NULL,
    platform VARCHAR,             -- backend that really ran it; NULL when it failed before one was known
    latency_ms DOUBLE,            -- the page's own compute time; NULL for loads
    throughput_tokens_per_sec DOUBLE,
    memory_mb DOUBLE,
    batch_size INTEGER,
    success BOOLEAN NOT NULL,
    error_type VARCHAR,
    blame VARCHAR,                -- what a failure counts against: browser, model or nobody
    browser_id VARCHAR,
    family VARCHAR,
    host VARCHAR,
    browser_version VARCHAR,
    driver_version VARCHAR,
    adapter VARCHAR,
    software BOOLEAN,             -- whether the adapter is software
    work VARCHAR,                 -- SHA-256 of the file computed
    shape VARCHAR,                -- bucket of input shapes
    warm BOOLEAN,                 -- it had run there before
    concurrent INTEGER,           -- other shards the pool computed meanwhile
    bytes_in BIGINT,
    bytes_out BIGINT,
    queue_ms DOUBLE,
    load_ms DOUBLE,
    transfer_ms DOUBLE,
    extra JSON,
    PRIMARY KEY (source, source_id)
);
-- How far the rows of a source have been taken over; committed together with them.
CREATE TABLE IF NOT EXISTS high_water_mark (
    source VARCHAR PRIMARY KEY,
    source_id BIGINT NOT NULL
);
-- What follows from it, as last computed; the same rows are published in the database.
CREATE TABLE IF NOT EXISTS browser_recommendations (
    timestamp TIMESTAMP NOT NULL,
    model_type VARCHAR NOT NULL,
    model_name VARCHAR NOT NULL,  -- empty: any model of the type
    recommended_browser VARCHAR NOT NULL,
    recommended_platform VARCHAR,
    confidence DOUBLE NOT NULL,
    sample_size INTEGER NOT NULL,
    based_on VARCHAR NOT NULL,
    config JSON
);
CREATE TABLE IF NOT EXISTS browser_capability_scores (
    timestamp TIMESTAMP NOT NULL,
    browser VARCHAR NOT NULL,
    model_type VARCHAR NOT NULL,
    score DOUBLE NOT NULL,
    low DOUBLE NOT NULL,
    high DOUBLE NOT NULL,
    confidence DOUBLE NOT NULL,
    sample_size INTEGER NOT NULL,
    metrics JSON
);
-- Executions with what names their work and arm; `load`: the power of two not above `concurrent`, -1 where that is
-- not known. A latency counts when it is of a success that was no warm-up; beyond 1e-6 and 1e12 nothing was measured.
CREATE VIEW IF NOT EXISTS executions AS
SELECT
    model_type, model_name, coalesce(work, '') AS sha256, coalesce(shape, '') AS shape,
    coalesce(batch_size, 0) AS batch_size,
    CASE
        WHEN concurrent IS NULL THEN -1
        WHEN concurrent = 0 THEN 0
        ELSE 1::BIGINT << floor(log2(concurrent))::INTEGER
    END AS load,
    browser, coalesce(platform, '') AS platform, software, coalesce(host, '') AS host,
    coalesce(adapter, '') AS adapter, browser_version AS build, success, blame, timestamp,
    CASE WHEN success AND warm IS NOT FALSE AND latency_ms BETWEEN 1e-6 AND 1e12 THEN latency_ms END AS latency_ms,
    CASE WHEN throughput_tokens_per_sec BETWEEN 1e-6 AND 1e12 THEN throughput_tokens_per_sec END
        AS throughput_tokens_per_sec,
    CASE WHEN memory_mb BETWEEN 1e-6 AND 1e12 THEN memory_mb END AS memory_mb
FROM browser_performance
WHERE kind = 'execution';
