-- Where the inputs are of each run that is under way for one tenant.
SELECT inputs FROM inference_run WHERE state = 'running' AND tenant = %s
