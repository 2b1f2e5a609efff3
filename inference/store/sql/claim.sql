-- Take a queued shard under its fence and return it; no row: somebody else has it, it moved on, or its run's
-- deadline has passed.
UPDATE inference_runshard
SET state = 'running', attempts = attempts + 1, claimed_at = %s
WHERE id = %s AND fence = %s AND state = 'queued'
AND EXISTS (SELECT 1 FROM inference_run WHERE inference_run.id = run_id AND deadline_at > %s)
RETURNING {columns}
