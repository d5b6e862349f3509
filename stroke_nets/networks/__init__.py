"""Networks, one file per paper method."""
