-- How many runs are under way, texts among them.
SELECT (SELECT COUNT(*) FROM inference_run WHERE state = 'running')
     + (SELECT COUNT(*) FROM inference_generationsession WHERE state = 'running')
