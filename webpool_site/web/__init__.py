"""The process that serves HTTP: uvicorn, with bounds on what a connection may take."""
