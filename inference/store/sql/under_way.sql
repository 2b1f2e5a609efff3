-- Whether anything of each kind is under way: runs with their steps, batch jobs, comparisons, texts.
SELECT
    EXISTS (SELECT 1 FROM inference_run WHERE state = 'running')
        OR EXISTS (SELECT 1 FROM inference_runstep WHERE state IN ('ready', 'queued', 'running')),
    EXISTS (SELECT 1 FROM inference_batchjob WHERE state = 'running')
        OR EXISTS (SELECT 1 FROM inference_batch WHERE state = 'running'),
    EXISTS (SELECT 1 FROM inference_comparison WHERE state = 'running')
        OR EXISTS (SELECT 1 FROM inference_comparison WHERE state = 'cancelled' AND turn_cell_id IS NOT NULL),
    EXISTS (SELECT 1 FROM inference_generationsession WHERE state = 'running')
