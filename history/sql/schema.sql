-- What was learned, one row per computation. Times are UTC; latencies in milliseconds; memory in MB.
CREATE TABLE IF NOT EXISTS browser_performance (
    source_id BIGINT PRIMARY KEY,  -- the attempt in the ledger this row was made from
    timestamp TIMESTAMP NOT NULL,
    browser VARCHAR NOT NULL,
    model_type VARCHAR NOT NULL,
    model_name VARCHAR NOT NULL,
    platform VARCHAR,  -- backend that really ran it; NULL when it failed before one was known
    latency_ms DOUBLE,
    throughput_tokens_per_sec DOUBLE,
    memory_mb DOUBLE,
    batch_size INTEGER,
    success BOOLEAN NOT NULL,
    error_type VARCHAR,
    extra JSON
);
-- How far the ledger's attempts have been taken over; committed together with the rows.
CREATE TABLE IF NOT EXISTS high_water_mark (source_id BIGINT NOT NULL);
INSERT INTO high_water_mark SELECT 0 WHERE NOT EXISTS (SELECT 1 FROM high_water_mark);
