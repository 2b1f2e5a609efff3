"""A model in every browser and backend: the same inputs, one run at a time, told with its uncertainty.

1. `asking.create` makes the inputs, has native onnxruntime answer them in the sandbox, and writes down which
   cells there are; one that nobody here can run says why at once.
2. `engine.advance` moves a comparison on: collects the run that ended, starts the next. The control worker's
   `feeder` calls it; any process may.
3. `report.document` is what every door tells: JSON, the pages, the HTML file, JUnit.
"""
