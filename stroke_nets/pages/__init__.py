"""HTML pages: the report and viewer of a prediction, and the report of a run."""
