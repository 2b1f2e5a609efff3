-- Take a step under its fence and return it; no row: somebody else has it, it moved on, its run's deadline
-- has passed, or its browser is not trusted. What is set, and under which condition, is the move's.
UPDATE inference_runstep
SET {set}, attempts = attempts + 1, claimed_at = %s
WHERE {where}
AND EXISTS (SELECT 1 FROM inference_run WHERE inference_run.id = run_id AND deadline_at > %s)
AND NOT EXISTS (
    SELECT 1 FROM browsers_browser
    WHERE browsers_browser.id = inference_runstep.browser AND drain_kind = 'quarantined'
)
RETURNING {columns}
