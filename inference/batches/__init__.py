"""Batch jobs: thousands of inputs from a file, computed as many runs, resumable, nothing twice.

1. `jobs.create_job` reads the whole file, refuses it with line numbers if anything is wrong, and writes
   each batch's input tensors into the job's folder before its rows exist.
2. `engine.advance` collects runs that ended and starts as many batches as the job may have in flight.
   The control worker's `feeder` calls it; any process may.
3. A batch's result is a file, complete before its row says done. The rows are the truth.
4. `results.write_output` puts the results together in the order of the items, in the format asked for.
"""
