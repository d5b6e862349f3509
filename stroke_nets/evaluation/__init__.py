"""Per-case metrics, their summary, paired tests, and the evaluation of saved masks."""
