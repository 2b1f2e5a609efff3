-- Of each tenant the step that has waited longest for a browser, with its run; who waits longest comes first.
-- Of steps that were queued at the same time the message's own goes first.
SELECT step, its_fence, {columns}
FROM (
    SELECT shard.id AS step, shard.fence AS its_fence, shard.run_id AS of_run, shard.queued_at AS since,
        ROW_NUMBER() OVER (
            PARTITION BY run.tenant
            ORDER BY shard.queued_at, CASE WHEN shard.id = %s THEN 0 ELSE 1 END, shard.id
        ) AS place
    FROM inference_runstep AS shard
    JOIN inference_run AS run ON run.id = shard.run_id
    WHERE shard.state IN ('ready', 'queued', 'running') -- as the index has it: SQLite would not find it otherwise
    AND shard.state = 'queued' AND shard.browser = %s AND run.deadline_at > %s
) AS waiting
JOIN inference_run ON inference_run.id = of_run
WHERE place = 1
ORDER BY since, step
