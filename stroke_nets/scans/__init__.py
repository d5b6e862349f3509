"""Read scans strictly, validate their geometry and voxels, and write masks on their grid."""
