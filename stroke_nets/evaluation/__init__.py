"""Metrics of a case, their summary, paired tests, and the comparison of saved masks with truth."""
