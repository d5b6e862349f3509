"""Open a scan strictly, judge its geometry and voxels, and write masks on its grid."""
