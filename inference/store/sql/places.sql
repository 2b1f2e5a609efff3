-- Where the shards of a run were computed, in their order.
SELECT attempt.browser, attempt.backend, attempt.unproved
FROM inference_attempt attempt
JOIN inference_runstep step ON step.id = attempt.shard_id
WHERE step.run_id = %s AND attempt.outcome = 'succeeded'
ORDER BY step."index"
