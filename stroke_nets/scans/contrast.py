"""The contrasts of scans that methods segment, and what BIDS calls them."""

T1W, DIFFUSION = "T1w", "diffusion"  # diffusion: DWI at b = 1000 s/mm2, with or without ADC
SUFFIXES = {T1W: "T1w", DIFFUSION: "dwi"}
FOLDERS = {T1W: "anat", DIFFUSION: "dwi"}
