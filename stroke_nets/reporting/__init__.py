"""Pages and tables made from result files."""
