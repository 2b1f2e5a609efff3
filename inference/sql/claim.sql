-- Take a queued shard under its fence and return it; no row: somebody else has it, or it moved on.
UPDATE inference_runshard
SET state = 'running', attempts = attempts + 1, claimed_at = %s
WHERE id = %s AND fence = %s AND state = 'queued'
RETURNING {columns}
