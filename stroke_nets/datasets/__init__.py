"""The public data sets, manifests and folds: from a download to a folder ready for training."""
